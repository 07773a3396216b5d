"""vLLM, by the answers of 0.32.0 (facts of its run)."""

from __future__ import annotations

import pytest

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor.backends import vllm
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadOutcome

LISTING = {
    "object": "list",
    "data": [
        {
            "id": "tiny",
            "owned_by": "vllm",
            "root": "/models/hf/tiny-llama",
            "parent": None,
            "max_model_len": 1024,
        },
        {
            "id": "small",
            "owned_by": "vllm",
            "root": "/models/hf/tiny-llama",
            "parent": None,
            "max_model_len": 1024,
        },
        {"id": "lora", "owned_by": "vllm", "root": "/models/lora-1", "parent": "tiny"},
    ],
}


def metrics(running: int = 0, waiting: int = 0, asleep: str = "") -> bytes:
    lines = [
        f'vllm:num_requests_running{{engine="0",model_name="tiny"}} {running}',
        f'vllm:num_requests_waiting{{engine="0",model_name="tiny"}} {waiting}',
        'vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 9',
        'vllm:request_success_total{engine="0",finished_reason="stop",model_name="tiny"} 5',
        'vllm:request_success_total{engine="0",finished_reason="length",model_name="tiny"} 2',
        'vllm:iteration_tokens_total_count{engine="0",model_name="tiny"} 100',
        'vllm:iteration_tokens_total_sum{engine="0",model_name="tiny"} 900',
    ]
    lines += [
        f'vllm:engine_sleep_state{{engine="0",sleep_state="{state}"}} {int(state == (asleep or "awake"))}'
        for state in ("awake", "weights_offloaded", "discard_all")
    ]
    return "\n".join(lines).encode()


def serving(
    backend, text: bytes | None = None, *, listing: object = LISTING, health: int = 200
) -> None:
    backend.on("GET /health", b"", health)
    backend.on("GET /v1/models", listing)
    backend.on("GET /metrics", metrics() if text is None else text)
    backend.on("GET /version", {"version": "0.32.0"})


BASE = LoadedModel(
    "tiny",
    ServingState.LOADED,
    aliases=("small", "/models/hf/tiny-llama", "tiny-llama"),
    running=0,
    waiting=0,
    context_length=1024,
    activity=107.0,
)
ADAPTER = LoadedModel("lora", ServingState.LOADED, aliases=("/models/lora-1", "lora-1"))


@pytest.mark.parametrize(
    ("text", "engine"),
    [
        (metrics(1, 2), vllm.Engine(("tiny",), 1, 2, 107.0)),
        (
            metrics(asleep="weights_offloaded"),
            vllm.Engine(("tiny",), 0, 0, 107.0, "weights_offloaded"),
        ),
        (
            metrics(1, 2)
            + b"\n"
            + metrics(3, 4, "discard_all").replace(b'engine="0"', b'engine="1"'),
            vllm.Engine(("tiny",), 4, 6, 214.0, "discard_all"),
        ),
        (b"", vllm.Engine()),
    ],
    ids=["0.32.0", "0.32.0 asleep", "two engines, one asleep", "nothing"],
)
def test_metrics(text: bytes, engine: vllm.Engine) -> None:
    assert vllm.engine(text) == engine


@pytest.mark.parametrize(
    ("listing", "names"),
    [
        (LISTING, ["tiny", "lora"]),
        ({"data": []}, []),
        ({"data": [{"id": 5}, {"id": "a", "parent": 7, "root": []}, {"id": "a"}]}, ["a"]),
        (None, []),
    ],
    ids=["0.32.0", "none", "odd", "other"],
)
def test_names(listing: object, names: list[str]) -> None:
    assert [model.name for model in vllm.models(listing, vllm.Engine())] == names


async def test_all_that_it_tells(backend, asker, now) -> None:
    serving(backend)

    assert await vllm.probe(asker, now) == BackendFacts(
        BackendType.VLLM, live=True, ready=True, version="0.32.0", models=(BASE, ADAPTER)
    )


@pytest.mark.parametrize(("running", "waiting"), [(1, 0), (0, 1)])
async def test_requests_are_work(backend, asker, now, running: int, waiting: int) -> None:
    serving(backend, metrics(running, waiting))

    model = (await vllm.probe(asker, now)).models[0]

    assert (model.state, model.running, model.waiting) == (ServingState.BUSY, running, waiting)


async def test_a_sleeping_engine_is_not_ready_whatever_its_health(backend, asker, now) -> None:
    serving(backend, metrics(asleep="weights_offloaded"))

    facts = await vllm.probe(asker, now)

    assert (facts.live, facts.ready) == (True, False)
    assert "requests hang until it is woken" in facts.message
    assert {model.state for model in facts.models} == {ServingState.UNLOADED}
    assert facts.models[0].message == "it sleeps (weights_offloaded)"


async def test_a_dead_engine(backend, asker, now) -> None:
    serving(backend, health=503)

    facts = await vllm.probe(asker, now)

    assert (facts.live, facts.ready) == (True, False)
    assert facts.message == "GET /health answered 503: the engine is dead"


async def test_without_the_key_the_metrics_name_the_model(backend, asker, now) -> None:
    serving(backend, metrics(1))
    backend.routes["GET /v1/models"] = [(b"", 401, {})]

    facts = await vllm.probe(asker, now)

    assert (facts.live, facts.ready) == (True, True)
    assert [(model.name, model.state) for model in facts.models] == [("tiny", ServingState.BUSY)]
    assert "GET /v1/models answered 401: the backend wants an API key" in facts.message


async def test_without_the_key_and_metrics_nothing_is_known(backend, asker, now) -> None:
    backend.on("GET /health")
    backend.on("GET /v1/models", b"", 401)

    facts = await vllm.probe(asker, now)

    assert (facts.live, facts.ready, facts.models) == (True, False, ())
    assert "API key" in facts.message


async def test_without_metrics_work_is_unknown(backend, asker, now) -> None:
    serving(backend)
    backend.routes["GET /metrics"] = [(b"", 404, {})]

    model = (await vllm.probe(asker, now)).models[0]

    assert (model.running, model.waiting, model.activity) == (None, None, None)


async def test_sleep_is_offered_in_dev_mode_only(backend, asker, now) -> None:
    serving(backend)
    assert not (await vllm.probe(asker, now)).unload

    backend.on("GET /is_sleeping", {"is_sleeping": False})
    assert (await vllm.probe(asker, now)).unload


@pytest.mark.parametrize(
    ("text", "model", "force", "outcome"),
    [
        (metrics(), "tiny", False, UnloadOutcome.DONE),
        (metrics(), "tiny-llama", False, UnloadOutcome.DONE),
        (metrics(1), "tiny", False, UnloadOutcome.BUSY),
        (metrics(1), "tiny", True, UnloadOutcome.DONE),
        (metrics(asleep="discard_all"), "tiny", True, UnloadOutcome.NOT_LOADED),
        (metrics(), "other", True, UnloadOutcome.NOT_LOADED),
        (metrics(), "lora", True, UnloadOutcome.UNSUPPORTED),
    ],
)
async def test_unloading_is_sleep(backend, asker, *, text, model, force, outcome) -> None:
    serving(backend, text)
    backend.on("POST /sleep?level=1&mode=wait")

    assert (await vllm.unload(asker, model, force=force)).outcome is outcome
    assert ("POST /sleep?level=1&mode=wait" in backend.asked) == (outcome is UnloadOutcome.DONE)


@pytest.mark.parametrize(
    ("status", "outcome"), [(404, UnloadOutcome.UNSUPPORTED), (500, UnloadOutcome.FAILED)]
)
async def test_sleep_that_is_not_to_be_had(backend, asker, status: int, outcome) -> None:
    serving(backend)
    backend.on("POST /sleep?level=1&mode=wait", b"", status)

    assert (await vllm.unload(asker, "tiny", force=False)).outcome is outcome


async def test_sleep_that_waits_for_requests(backend, asker, monkeypatch) -> None:
    serving(backend)
    backend.hang("POST /sleep?level=1&mode=wait")
    monkeypatch.setattr(vllm, "_SLEEP", vllm.Route("POST", "/sleep?level=1&mode=wait"))

    assert (await vllm.unload(asker, "tiny", force=True)).outcome is UnloadOutcome.BUSY


async def test_unloading_without_the_key(backend, asker) -> None:
    backend.on("GET /v1/models", b"", 401)

    result = await vllm.unload(asker, "tiny", force=True)

    assert result.outcome is UnloadOutcome.FAILED
    assert "API key" in result.message


async def test_unloading_without_the_key_by_the_metrics_name(backend, asker) -> None:
    serving(backend)
    backend.routes["GET /v1/models"] = [(b"", 401, {})]
    backend.on("POST /sleep?level=1&mode=wait")

    assert (await vllm.unload(asker, "tiny", force=False)).outcome is UnloadOutcome.DONE
