"""The Open Inference Protocol, by the answers of Triton 2.51.0 and KServe's Python server 0.21.0."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor.backends import kserve
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadOutcome

TRITON = {
    "name": "triton",
    "version": "2.51.0",
    "extensions": ["model_repository", "model_repository(unload_dependents)", "statistics"],
}
KSERVE = {"name": "kserve", "version": "0.21.0", "extensions": ["model_repository_extension"]}
INDEX = [
    {"name": "echo", "version": "1", "state": "READY"},
    {"name": "slow", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"},
    {"name": "never"},
]
STATS = {
    "model_stats": [
        {
            "name": "echo",
            "version": "1",
            "last_inference": 1795348800000,
            "inference_count": 7,
            "execution_count": 6,
            "memory_usage": [
                {"type": "CPU", "id": 0, "byte_size": 10},
                {"type": "CPU_PINNED", "id": 0, "byte_size": 1},
                {"type": "GPU", "id": 0, "byte_size": 20},
                {"type": "GPU", "id": 1, "byte_size": 30},
            ],
        }
    ]
}
ECHO = LoadedModel("echo", ServingState.LOADED)


def serving(backend, index: object = INDEX, about: object = TRITON) -> None:
    backend.on("GET /v2/health/live")
    backend.on("GET /v2", about)
    backend.on("POST /v2/repository/index", index)


@pytest.mark.parametrize(
    ("entry", "state", "message"),
    [
        ({"state": "READY"}, ServingState.LOADED, ""),
        ({"state": "LOADING"}, ServingState.LOADING, ""),
        (
            {"state": "UNLOADING"},
            ServingState.BUSY,
            "it is being unloaded, and finishes its requests",
        ),
        ({"state": "UNAVAILABLE", "reason": "unloaded"}, ServingState.UNLOADED, ""),
        (
            {"state": "UNAVAILABLE", "reason": "Internal:\n Traceback"},
            ServingState.ERROR,
            "Internal: Traceback",
        ),
        ({}, ServingState.UNLOADED, ""),
        ({"state": "NEW"}, ServingState.UNKNOWN, ""),
        ({"state": 5}, ServingState.UNLOADED, ""),
    ],
    ids=str,
)
def test_states_of_triton_2_51_0(entry, state: ServingState, message: str) -> None:
    (model,) = kserve.indexed([{"name": "m"} | entry])

    assert (model.state, model.message) == (state, message)


def test_a_traceback_is_cut() -> None:
    (model,) = kserve.indexed([{"name": "m", "state": "UNAVAILABLE", "reason": "x" * 100_000}])

    assert len(model.message) == 200


@pytest.mark.parametrize("reverse", [False, True])
def test_one_ready_version_makes_a_model_ready(reverse: bool) -> None:
    versions = [
        {"name": "m", "version": "1", "state": "UNAVAILABLE", "reason": "unloaded"},
        {"name": "m", "version": "2", "state": "READY"},
    ]

    (model,) = kserve.indexed(versions[::-1] if reverse else versions)

    assert model.state is ServingState.LOADED


@pytest.mark.parametrize(
    ("stats", "model"),
    [
        (
            STATS,
            LoadedModel(
                "echo",
                ServingState.LOADED,
                memory_bytes=11,
                vram_bytes=50,
                last_used=datetime.fromtimestamp(1795348800, UTC),
                activity=7.0,
            ),
        ),
        (
            {"model_stats": [{"last_inference": 0, "inference_count": 0, "memory_usage": []}]},
            LoadedModel("echo", ServingState.LOADED, activity=0.0),
        ),
        (
            {
                "model_stats": [
                    {"last_inference": 5000, "inference_count": 1},
                    {"last_inference": 9000, "inference_count": 2},
                ]
            },
            LoadedModel(
                "echo", ServingState.LOADED, last_used=datetime.fromtimestamp(9, UTC), activity=3.0
            ),
        ),
        ({"model_stats": {}}, ECHO),
        (None, ECHO),
    ],
    ids=["2.51.0", "2.51.0 never used", "two versions", "odd", "none"],
)
def test_statistics(stats: object, model: LoadedModel) -> None:
    assert kserve.described(ECHO, stats) == model


@pytest.mark.parametrize(
    ("listing", "names"),
    [({"models": ["echo", "slow"]}, ["echo", "slow"]), ({"models": [5, "a", "a"]}, ["a"]), (5, [])],
    ids=["0.21.0", "odd", "other"],
)
def test_the_ready_models_of_kserve(listing: object, names: list[str]) -> None:
    assert [model.name for model in kserve.listed(listing)] == names


async def test_all_that_triton_tells(backend, asker, now) -> None:
    serving(backend)
    backend.on("GET /v2/models/echo/stats", STATS)

    assert await kserve.probe(asker, now) == BackendFacts(
        BackendType.KSERVE_V2,
        live=True,
        ready=True,
        version="2.51.0",
        models=(
            kserve.described(ECHO, STATS),
            LoadedModel("slow", ServingState.UNLOADED),
            LoadedModel("never", ServingState.UNLOADED),
        ),
        unload=True,
    )
    assert "GET /v2/health/ready" not in backend.asked


async def test_statistics_of_loaded_models_only_and_not_of_all(backend, asker, now) -> None:
    serving(backend, [{"name": f"m{n}", "state": "READY"} for n in range(50)] + [{"name": "x"}])

    facts = await kserve.probe(asker, now)

    assert len(facts.models) == 51
    assert len([route for route in backend.asked if route.endswith("/stats")]) == 16


async def test_statistics_that_are_garbage_are_none(backend, asker, now) -> None:
    serving(backend)
    backend.on("GET /v2/models/echo/stats", b"<html>")

    assert (await kserve.probe(asker, now)).models[0] == ECHO


def by_kserve(backend, metrics: bytes | None = None, status: int = 200) -> None:
    """Answers of KServe's Python server 0.21.0 with one model that is ready."""
    backend.on("GET /v2/health/live", {"live": True})
    backend.on("GET /v2", KSERVE)
    backend.on("GET /v2/models", {"models": ["echo"]})
    if metrics is not None:
        backend.on("GET /metrics", metrics, status)


METRICS = b"""\
request_preprocess_seconds_count{model_name="echo"} 7.0
request_predict_seconds_bucket{le="0.005",model_name="echo"} 2.0
request_predict_seconds_count{model_name="echo"} 2.0
request_predict_seconds_count{model_name="other"} 5.0
request_predict_seconds_sum{model_name="echo"} 0.00354973399953451
"""
COUNTERS: dict[str, tuple[bytes | None, int, float | None]] = {
    "no metrics": (None, 404, None),
    "metrics that are closed": (METRICS, 403, None),
    "nothing predicted yet": (b"python_info 1.0\n", 200, 0.0),
    "of another model": (METRICS.replace(b'"echo"', b'"x"'), 200, 0.0),
    "two predictions": (METRICS, 200, 2.0),
}


@pytest.mark.parametrize("case", COUNTERS)
async def test_all_that_kserve_tells(backend, asker, now, case: str) -> None:
    metrics, status, activity = COUNTERS[case]
    by_kserve(backend, metrics, status)

    assert await kserve.probe(asker, now) == BackendFacts(
        BackendType.KSERVE_V2,
        live=True,
        ready=True,
        version="0.21.0",
        models=(replace(ECHO, activity=activity),),
        unload=True,
    )


async def test_a_model_that_went_before_it_was_unloaded_is_unloaded(backend, asker) -> None:
    """KServe 0.21.0's answer."""
    by_kserve(backend)
    gone = {"error": "Model with name echo does not exist."}
    backend.on("POST /v2/repository/models/echo/unload", gone, 404)

    assert (await kserve.unload(asker, "echo", force=False)).outcome is UnloadOutcome.DONE


@pytest.mark.parametrize(
    ("broken", "status", "message"),
    [
        ("GET /v2/health/live", 400, "GET /v2/health/live answered 400"),
        ("POST /v2/repository/index", 403, "wants an API key"),
        ("POST /v2/repository/index", 404, "GET /v2/models answered 404"),
    ],
)
async def test_what_is_refused(backend, asker, now, *, broken, status: int, message: str) -> None:
    serving(backend)
    backend.routes[broken] = [(b"", status, {})]

    facts = await kserve.probe(asker, now)

    assert (facts.live, facts.ready) == (True, False)
    assert message in facts.message


@pytest.mark.parametrize(
    ("state", "force", "outcome"),
    [
        ({"state": "READY"}, False, UnloadOutcome.DONE),
        ({"state": "UNLOADING"}, False, UnloadOutcome.BUSY),
        ({"state": "LOADING"}, False, UnloadOutcome.BUSY),
        ({"state": "LOADING"}, True, UnloadOutcome.DONE),
        ({}, True, UnloadOutcome.NOT_LOADED),
        ({"state": "UNAVAILABLE", "reason": "bad"}, True, UnloadOutcome.NOT_LOADED),
    ],
)
async def test_unloading(backend, asker, *, state, force: bool, outcome) -> None:
    serving(backend, [{"name": "a/b"} | state])
    backend.on("POST /v2/repository/models/a%2Fb/unload")

    assert (await kserve.unload(asker, "a/b", force=force)).outcome is outcome
    assert (backend.asked[-1] == "POST /v2/repository/models/a%2Fb/unload") == (
        outcome is UnloadOutcome.DONE
    )


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (404, b"", UnloadOutcome.UNSUPPORTED),
        (
            400,
            b'{"error":"explicit model load / unload is not allowed"}',
            UnloadOutcome.UNSUPPORTED,
        ),
        (500, b'{"error":"x"}', UnloadOutcome.FAILED),
    ],
)
async def test_unloading_that_is_refused(backend, asker, *, status, body, outcome) -> None:
    serving(backend)
    backend.on("POST /v2/repository/models/echo/unload", body, status)

    assert (await kserve.unload(asker, "echo", force=False)).outcome is outcome


async def test_unloading_where_nothing_is_listed(backend, asker) -> None:
    assert (await kserve.unload(asker, "echo", force=False)).outcome is UnloadOutcome.FAILED
