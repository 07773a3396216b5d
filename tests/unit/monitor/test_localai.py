"""LocalAI, by the answers that 4.9.0 gave (facts of its run)."""

from __future__ import annotations

import pytest

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor import prometheus
from model_gallery.monitor.backends import localai
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadOutcome

SYSTEM = {
    "backends": ["mock-backend"],
    "loaded_models": [{"id": "tiny-inline", "backend": "mock-backend"}],
}
METRICS = b"""# TYPE api_call histogram
api_call_count{method="POST",otel_scope_name="github.com/mudler/LocalAI",path="/v1/chat/completions"} 3
api_call_count{method="GET",path="/v1/models"} 100
api_call_count{method="GET",path="/system"} 50
"""
ABOUT = {"version": "v4.9.0 (82c191a)", "endpoints": {"models": "/v1/models"}}


def serving(backend, **more) -> None:
    backend.on("GET /readyz", b"")
    backend.on("GET /system", more.get("system", SYSTEM))
    backend.on("GET /.well-known/localai.json", ABOUT)
    backend.on("GET /metrics", METRICS)


@pytest.mark.parametrize(
    ("system", "names"),
    [
        (SYSTEM, ["tiny-inline"]),
        ({"backends": [], "loaded_models": []}, []),
        ({"backends": None, "loaded_models": None}, []),
        ({"loaded_models": [{"id": "a"}, {"id": "a"}, {"id": 5}, "b", {"id": "b\n"}]}, ["a"]),
        ([], []),
    ],
    ids=["4.9.0", "4.9.0 idle", "null", "odd", "other"],
)
def test_loaded_models(system: object, names: list[str]) -> None:
    found = localai.models(system)

    assert [model.name for model in found] == names
    assert all(model.state is ServingState.LOADED for model in found)


@pytest.mark.parametrize(
    ("monitor", "memory"),
    [
        ({"state": 2, "memory": {"total": 104857600, "breakdown": {"mock": 52428800}}}, None),
        (
            {
                "state": 1,
                "memory": {"total": 1604493312, "breakdown": {"gopsutil-RSS": 14761984}},
            },
            14761984,
        ),
        ({"memory": {"breakdown": {"gopsutil-RSS": "14761984"}}}, None),
        ({"memory": [1]}, None),
        (None, None),
    ],
    ids=["4.9.0 own breakdown", "4.9.0 Go backend", "text", "array", "null"],
)
def test_memory_is_resident_and_never_virtual(monitor: object, memory: int | None) -> None:
    assert localai.memory(monitor) == memory


@pytest.mark.parametrize(
    ("metrics", "alone", "activity"),
    [
        (METRICS, True, 3),
        (METRICS, False, None),
        (
            METRICS
            + b'localai_tokens_total{kind="prompt",served_model="m",user="u"} 10\n'
            + b'localai_tokens_total{kind="completion",served_model="m",user="u"} 5\n'
            + b'localai_billed_requests_total{served_model="m"} 2\n'
            + b'localai_billed_requests_total{served_model="other"} 70\n',
            False,
            17,
        ),
        (b"", True, None),
    ],
    ids=["4.9.0 one model", "4.9.0 several models", "4.9.0 billing", "nothing"],
)
def test_use_is_counted_for_the_model(metrics: bytes, alone: bool, activity: float | None) -> None:
    samples = prometheus.parse(
        metrics, {"localai_tokens_total", "localai_billed_requests_total", "api_call_count"}
    )

    assert localai.activity(samples, "m", alone=alone) == activity


async def test_all_that_it_tells(backend, asker, now) -> None:
    serving(backend)
    backend.on(
        "GET /backend/monitor?model=tiny-inline",
        {"state": 1, "memory": {"total": 1604493312, "breakdown": {"gopsutil-RSS": 14761984}}},
    )

    assert await localai.probe(asker, now) == BackendFacts(
        BackendType.LOCALAI,
        live=True,
        ready=True,
        version="v4.9.0 (82c191a)",
        models=(
            LoadedModel("tiny-inline", ServingState.LOADED, memory_bytes=14761984, activity=3.0),
        ),
        unload=True,
    )


async def test_what_is_not_loaded_is_not_asked_for(backend, asker, now) -> None:
    serving(backend, system={"loaded_models": []})

    assert (await localai.probe(asker, now)).models == ()
    assert not [route for route in backend.asked if "monitor" in route]


async def test_a_backend_without_status_has_no_memory(backend, asker, now) -> None:
    """4.9.0 answers 500 where the backend does not implement Status."""
    serving(backend)
    backend.on("GET /backend/monitor?model=tiny-inline", {"error": {"code": 500}}, 500)

    (model,) = (await localai.probe(asker, now)).models

    assert model.memory_bytes is None


async def test_one_hanging_monitor_does_not_cost_the_others(backend, asker, now) -> None:
    serving(backend, system={"loaded_models": [{"id": name} for name in "abcdefgh"]})
    for name in "bcdefgh":
        backend.hang(f"GET /backend/monitor?model={name}")
    usage = {"memory": {"breakdown": {"gopsutil-RSS": 5}}}
    backend.on("GET /backend/monitor?model=a", usage)

    facts = await localai.probe(asker, now)

    assert [model.memory_bytes for model in facts.models] == [5] + [None] * 7
    assert len([route for route in backend.asked if "monitor" in route]) == 2


async def test_only_some_models_are_measured(backend, asker, now) -> None:
    serving(backend, system={"loaded_models": [{"id": f"m{n}"} for n in range(50_000)]})

    facts = await localai.probe(asker, now)

    assert len(facts.models) == 512
    assert len([route for route in backend.asked if "monitor" in route]) == 16


async def test_it_is_not_ready_while_it_preloads(backend, asker, now) -> None:
    backend.on("GET /readyz", b"", 503)
    backend.on("GET /system", SYSTEM)

    facts = await localai.probe(asker, now)

    assert (facts.live, facts.ready) == (True, False)
    assert facts.message == "LocalAI still prepares its models"


async def test_the_missing_key_is_named(backend, asker, now) -> None:
    backend.on("GET /readyz", b"")
    backend.on("GET /system", b"", 401)

    facts = await localai.probe(asker, now)

    assert (facts.type, facts.live, facts.ready) == (BackendType.LOCALAI, True, False)
    assert "GET /system answered 401: the backend wants an API key" in facts.message


@pytest.mark.parametrize("force", [False, True])
async def test_unloading(backend, asker, force: bool) -> None:
    backend.on("GET /system", SYSTEM)
    backend.on("POST /backend/shutdown", {"message": "model stopped"})

    result = await localai.unload(asker, "tiny-inline", force=force)

    assert result.outcome is UnloadOutcome.DONE
    assert backend.bodies == [{"model": "tiny-inline"}]


async def test_unloading_what_is_not_loaded_asks_for_nothing(backend, asker) -> None:
    backend.on("GET /system", SYSTEM)

    result = await localai.unload(asker, "other", force=True)

    assert result.outcome is UnloadOutcome.NOT_LOADED
    assert backend.asked == ["GET /system"]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(404, UnloadOutcome.NOT_LOADED), (500, UnloadOutcome.FAILED), (401, UnloadOutcome.FAILED)],
)
async def test_unloading_that_is_refused(backend, asker, status: int, outcome) -> None:
    backend.on("GET /system", SYSTEM)
    backend.on("POST /backend/shutdown", {"error": {"message": "why"}}, status)

    assert (await localai.unload(asker, "tiny-inline", force=False)).outcome is outcome


async def test_unloading_that_waits_for_requests(backend, asker, monkeypatch) -> None:
    backend.on("GET /system", SYSTEM)
    backend.hang("POST /backend/shutdown")
    monkeypatch.setattr(localai, "_SHUTDOWN", localai.Route("POST", "/backend/shutdown"))

    result = await localai.unload(asker, "tiny-inline", force=False)

    assert result.outcome is UnloadOutcome.BUSY
    assert "waits for running requests" in result.message
