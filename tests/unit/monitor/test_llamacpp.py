"""llama.cpp's server, by the answers of b10488 and b11549 (facts of their runs)."""

from __future__ import annotations

import pytest

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor.backends import llamacpp
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadOutcome

PROPS = {
    "total_slots": 2,
    "model_path": "/models/dir/tiny.gguf",
    "model_alias": "little",
    "n_ctx": 4096,
    "is_sleeping": False,
    "endpoint_slots": True,
    "endpoint_metrics": True,
    "build_info": "b11549-abc",
}
LISTING = {
    "object": "list",
    "models": [{"name": "", "model": ""}],
    "data": [
        {
            "id": "tiny",
            "object": "model",
            "owned_by": "llamacpp",
            "aliases": ["small"],
            "meta": {"n_ctx": 2048, "n_ctx_train": 2048, "size": 486976},
        }
    ],
}
SLOTS = [{"id": 0, "is_processing": True, "n_ctx": 1024}, {"id": 1, "is_processing": False}]
METRICS = b"""# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total 900
llamacpp:requests_processing 2
llamacpp:requests_deferred 4
"""
ROUTER = {"role": "router", "max_instances": 2, "models_autoload": True, "build_info": "b10488-x"}
ALIASES = ("little", "tiny.gguf", "small", "/models/dir/tiny.gguf")


def serving(backend, props=PROPS, *, metrics: bytes = METRICS, slots: object = SLOTS) -> None:
    backend.on("GET /props", props, Server="llama.cpp")
    backend.on("GET /health", {"status": "ok"})
    backend.on("GET /v1/models", LISTING)
    backend.on("GET /metrics", metrics)
    backend.on("GET /slots", slots)


def entry(name: str, value: object, **more: object) -> dict[str, object]:
    return {"id": name, "status": {"value": value, **more}, "meta": {"n_ctx": 1024}}


@pytest.mark.parametrize(
    ("props", "listing", "model"),
    [
        (
            PROPS,
            LISTING,
            LoadedModel("tiny", ServingState.LOADED, aliases=ALIASES, context_length=2048),
        ),
        (
            PROPS | {"is_sleeping": True},
            LISTING,
            LoadedModel(
                "tiny",
                ServingState.UNLOADED,
                aliases=ALIASES,
                context_length=2048,
                message="it sleeps; the next request loads it",
            ),
        ),
        (
            PROPS,
            {},
            LoadedModel(
                "little",
                ServingState.LOADED,
                aliases=("tiny.gguf", "/models/dir/tiny.gguf"),
                context_length=4096,
            ),
        ),
        (
            {"model_path": "/m/a.gguf"},
            {"data": [5]},
            LoadedModel("a.gguf", ServingState.LOADED, aliases=("/m/a.gguf",)),
        ),
        ({}, {}, None),
        ([], None, None),
    ],
    ids=["b11549", "b11549 asleep", "no listing", "path only", "nothing", "other"],
)
def test_the_one_model(props, listing, model) -> None:
    assert llamacpp.single(props, listing) == model


@pytest.mark.parametrize(
    ("slots", "running"),
    [
        (SLOTS, 1),
        ([{"is_processing": False}], 0),
        ([], None),
        ([{"is_processing": 1}, {}, 7], None),
        ({"error": {}}, None),
    ],
    ids=["b10488", "idle", "none", "odd", "other"],
)
def test_slots(slots: object, running: int | None) -> None:
    assert llamacpp.processing(slots) == running


@pytest.mark.parametrize(
    ("metrics", "work"),
    [(METRICS, llamacpp.Work(2, 4, 900.0)), (b"", llamacpp.Work())],
    ids=["b10488", "nothing"],
)
def test_metrics(metrics: bytes, work: llamacpp.Work) -> None:
    assert llamacpp.work(metrics) == work


@pytest.mark.parametrize(
    ("status", "state", "message"),
    [
        ({"value": "loaded"}, ServingState.LOADED, ""),
        ({"value": "loading"}, ServingState.LOADING, ""),
        ({"value": "unloaded"}, ServingState.UNLOADED, ""),
        ({"value": "downloaded"}, ServingState.UNLOADED, ""),
        ({"value": "downloading"}, ServingState.UNLOADED, ""),
        ({"value": "sleeping"}, ServingState.UNLOADED, "it sleeps; the next request loads it"),
        (
            {"value": "unloaded", "failed": True, "exit_code": 1},
            ServingState.ERROR,
            "its process ended with exit code 1",
        ),
        ({"value": "unloaded", "failed": True}, ServingState.ERROR, "its process ended"),
        ({"value": "new"}, ServingState.UNKNOWN, ""),
        ({"value": ["loaded"]}, ServingState.UNKNOWN, ""),
        ("loaded", ServingState.UNKNOWN, ""),
    ],
    ids=str,
)
def test_states_of_a_router_of_b10488(status, state: ServingState, message: str) -> None:
    (model,) = llamacpp.routed({"data": [{"id": "o/a", "status": status, "meta": {"n_ctx": 1024}}]})

    assert (model.state, model.message) == (state, message)
    assert (model.aliases, model.context_length) == (("a",), 1024)


async def test_all_that_it_tells(backend, asker, now) -> None:
    serving(backend)

    assert await llamacpp.probe(asker, now) == BackendFacts(
        BackendType.LLAMA_CPP,
        live=True,
        ready=True,
        version="b11549-abc",
        models=(
            LoadedModel(
                "tiny",
                ServingState.BUSY,
                aliases=ALIASES,
                running=2,
                waiting=4,
                context_length=2048,
                activity=900.0,
            ),
        ),
    )
    assert backend.asked[0] == "GET /props"


@pytest.mark.parametrize(
    ("props", "slots", "state", "running"),
    [
        ({"endpoint_metrics": False}, SLOTS, ServingState.BUSY, 1),
        ({"endpoint_metrics": False}, [{"is_processing": False}], ServingState.LOADED, 0),
        ({"endpoint_metrics": False, "endpoint_slots": False}, SLOTS, ServingState.LOADED, None),
    ],
)
async def test_without_metrics_the_slots_tell(
    backend, asker, now, *, props, slots, state, running
) -> None:
    serving(backend, PROPS | props, slots=slots)

    (model,) = (await llamacpp.probe(asker, now)).models

    assert (model.state, model.running, model.waiting) == (state, running, None)
    assert "GET /metrics" not in backend.asked


async def test_metrics_make_slots_needless(backend, asker, now) -> None:
    serving(backend)

    await llamacpp.probe(asker, now)

    assert "GET /slots" not in backend.asked


async def test_a_sleeping_model_is_not_woken(backend, asker, now) -> None:
    serving(backend, PROPS | {"is_sleeping": True})

    (model,) = (await llamacpp.probe(asker, now)).models

    assert model.state is ServingState.UNLOADED
    assert not {"GET /slots", "GET /metrics"} & set(backend.asked)


async def test_slots_that_hang_are_work(backend, asker, now) -> None:
    serving(backend, PROPS | {"endpoint_metrics": False})
    backend.hang("GET /slots")

    facts = await llamacpp.probe(asker, now)

    assert facts.live
    assert facts.models[0].state is ServingState.BUSY
    assert facts.models[0].running is None


@pytest.mark.parametrize("status", [404, 501])
async def test_slots_that_are_off(backend, asker, now, status: int) -> None:
    backend.on("GET /slots", b"", status)
    serving(backend, PROPS | {"endpoint_metrics": False})
    backend.routes["GET /slots"] = backend.routes["GET /slots"][:1]

    (model,) = (await llamacpp.probe(asker, now)).models

    assert (model.state, model.running) == (ServingState.LOADED, None)


async def test_it_is_not_ready_while_it_loads(backend, asker, now) -> None:
    loading = {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}
    backend.on("GET /props", loading, 503, Server="llama.cpp")

    facts = await llamacpp.probe(asker, now)

    assert (facts.live, facts.ready, facts.models) == (True, False, ())
    assert facts.message == "llama.cpp is loading its model"


@pytest.mark.parametrize("route", ["/props", "/v1/models"])
async def test_the_missing_key_is_named(backend, asker, now, route: str) -> None:
    backend.on(f"GET {route}", b"", 401)
    serving(backend)
    backend.routes[f"GET {route}"] = backend.routes[f"GET {route}"][:1]

    facts = await llamacpp.probe(asker, now)

    assert (facts.live, facts.ready) == (True, False)
    assert f"GET {route} answered 401: the backend wants an API key" in facts.message


async def test_health_that_fails(backend, asker, now) -> None:
    serving(backend)
    backend.routes["GET /health"] = [(b"", 500, {})]

    facts = await llamacpp.probe(asker, now)

    assert (facts.ready, facts.message) == (False, "GET /health answered 500")


async def test_a_router_loads_and_wakes_nothing(backend, asker, now) -> None:
    backend.on("GET /props", ROUTER)
    backend.on("GET /health", {"status": "ok"})
    states = ["loaded", "sleeping", "unloaded", "loading", "downloading"]
    backend.on("GET /models", {"data": [entry(f"o/{state}", state) for state in states]})
    backend.on("GET /metrics?model=o%2Floaded&autoload=false", METRICS)

    facts = await llamacpp.probe(asker, now)

    assert facts.unload
    assert facts.version == "b10488-x"
    assert facts.models[0].state is ServingState.BUSY
    assert (facts.models[0].waiting, facts.models[0].activity) == (4, 900.0)
    assert [route for route in backend.asked if "metrics" in route or "slots" in route] == [
        "GET /metrics?model=o%2Floaded&autoload=false"
    ]


async def test_a_router_with_many_models_is_not_asked_of_all(backend, asker, now) -> None:
    backend.on("GET /props", ROUTER)
    backend.on("GET /models", {"data": [entry(f"m{n}", "loaded") for n in range(40)]})

    facts = await llamacpp.probe(asker, now)

    assert len(facts.models) == 40
    assert len([route for route in backend.asked if "metrics" in route]) == 16


async def test_a_hanging_model_of_a_router_is_the_last_that_is_asked(backend, asker, now) -> None:
    backend.on("GET /props", ROUTER)
    backend.on("GET /models", {"data": [entry(f"m{n}", "loaded") for n in range(10)]})
    backend.hang("GET /metrics?model=m0&autoload=false")

    facts = await llamacpp.probe(asker, now)

    assert [model.state for model in facts.models] == [ServingState.BUSY] + [
        ServingState.LOADED
    ] * 9
    assert len([route for route in backend.asked if "metrics" in route]) == 1


async def test_a_router_that_does_not_list(backend, asker, now) -> None:
    backend.on("GET /props", ROUTER)
    backend.on("GET /models", b"", 500)

    assert (await llamacpp.probe(asker, now)).message == "GET /models answered 500"


@pytest.mark.parametrize(
    ("value", "metrics", "force", "outcome"),
    [
        ("loaded", b"llamacpp:requests_processing 0\n", False, UnloadOutcome.DONE),
        ("loaded", METRICS, False, UnloadOutcome.BUSY),
        ("loaded", b"llamacpp:requests_deferred 1\n", False, UnloadOutcome.BUSY),
        ("loaded", METRICS, True, UnloadOutcome.DONE),
        ("loading", METRICS, False, UnloadOutcome.BUSY),
        ("loading", METRICS, True, UnloadOutcome.DONE),
        ("unloaded", METRICS, True, UnloadOutcome.NOT_LOADED),
        ("sleeping", METRICS, False, UnloadOutcome.NOT_LOADED),
    ],
)
async def test_unloading_from_a_router(backend, asker, *, value, metrics, force, outcome) -> None:
    backend.on("GET /props", ROUTER)
    backend.on("GET /models", {"data": [entry("o/m", value)]})
    backend.on("GET /metrics?model=o%2Fm&autoload=false", metrics)
    backend.on("POST /models/unload", {"success": True})

    assert (await llamacpp.unload(asker, "m", force=force)).outcome is outcome
    assert backend.bodies == ([{"model": "o/m"}] if outcome is UnloadOutcome.DONE else [])


async def test_a_model_too_busy_to_tell_is_left_alone(backend, asker) -> None:
    backend.on("GET /props", ROUTER)
    backend.on("GET /models", {"data": [entry("m", "loaded")]})
    backend.hang("GET /metrics?model=m&autoload=false")

    assert (await llamacpp.unload(asker, "m", force=False)).outcome is UnloadOutcome.BUSY


@pytest.mark.parametrize(
    ("status", "outcome"), [(400, UnloadOutcome.NOT_LOADED), (500, UnloadOutcome.FAILED)]
)
async def test_unloading_that_is_refused(backend, asker, status: int, outcome) -> None:
    backend.on("GET /props", ROUTER)
    backend.on("GET /models", {"data": [entry("m", "loaded")]})
    backend.on("POST /models/unload", {"error": {"message": "model is not running"}}, status)

    assert (await llamacpp.unload(asker, "m", force=True)).outcome is outcome


async def test_one_model_cannot_be_unloaded(backend, asker) -> None:
    serving(backend)

    result = await llamacpp.unload(asker, "tiny", force=True)

    assert result.outcome is UnloadOutcome.UNSUPPORTED
    assert backend.bodies == []


@pytest.mark.parametrize("locked", ["/props", "/models"])
async def test_unloading_without_the_key(backend, asker, locked: str) -> None:
    if locked == "/models":
        backend.on("GET /props", ROUTER)
    backend.on(f"GET {locked}", b"", 401)

    result = await llamacpp.unload(asker, "m", force=True)

    assert result.outcome is UnloadOutcome.FAILED
    assert "API key" in result.message
