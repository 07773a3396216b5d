"""Ollama, by the answers that 0.32.15 gave (facts of its run)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor.backends import ollama
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadOutcome

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DATE = "Sun, 22 Nov 2026 12:00:00 GMT"
LATER = "2026-11-22T12:04:00.157454266Z"
PAST = "2026-11-22T11:59:50Z"


def listing(expires: object = LATER, **more: object) -> dict[str, object]:
    model = {
        "name": "tiny:latest",
        "model": "tiny:latest",
        "size": 4687133,
        "digest": "7ae57",
        "details": {"format": "gguf", "family": "llama"},
        "expires_at": expires,
        "size_vram": 4000000,
        "context_length": 2048,
    }
    return {"models": [model | more]}


def one(first: object, second: object, now: datetime | None = NOW) -> LoadedModel:
    (model,) = ollama.models(first, second, now)
    return model


def test_all_that_0_32_15_tells_of_a_model() -> None:
    expires = datetime(2026, 11, 22, 12, 4, 0, 157454, UTC)

    assert one(listing(), listing()) == LoadedModel(
        "tiny:latest",
        ServingState.LOADED,
        aliases=("tiny",),
        memory_bytes=687133,
        vram_bytes=4000000,
        context_length=2048,
        expires=expires,
        activity=expires.timestamp(),
    )


@pytest.mark.parametrize(
    ("first", "second", "state", "expires"),
    [
        (LATER, LATER, ServingState.LOADED, True),
        ("2026-11-22T12:05:00.1Z", "2026-11-22T12:05:00.2Z", ServingState.BUSY, False),
        (PAST, PAST, ServingState.BUSY, False),
        ("2319-03-04T11:47:16Z", "2319-03-04T11:47:16Z", ServingState.LOADED, False),
        ("2319-03-04T11:47:16.1Z", "2319-03-04T11:47:16.2Z", ServingState.BUSY, False),
        (None, None, ServingState.LOADED, False),
        ("soon", "soon", ServingState.LOADED, False),
    ],
    ids=["idle", "slides", "past", "never", "never and busy", "absent", "garbage"],
)
def test_what_0_32_15_means_by_its_time(first, second, state: ServingState, expires: bool) -> None:
    model = one(listing(first), listing(second))

    assert model.state is state
    assert (model.expires is not None) == expires


def test_a_model_that_does_not_stop_says_so() -> None:
    over = (NOW - timedelta(minutes=2)).isoformat()

    assert "does not stop" in one(listing(over), listing(over)).message
    assert one(listing(PAST), listing(PAST)).message == ""


def test_use_moves_the_count() -> None:
    before = one(listing(), listing()).activity

    assert one(listing("2026-11-22T12:04:30Z"), listing("2026-11-22T12:04:30Z")).activity > before


@pytest.mark.parametrize(
    ("size", "vram", "ram", "on_gpu"),
    [
        (10, 0, 10, 0),
        (10, 10, 0, 10),
        (5, 10, None, 10),
        (None, 10, None, 10),
        ("10", "0", None, None),
    ],
)
def test_memory(size, vram, ram, on_gpu) -> None:
    model = one(listing(), listing(size=size, size_vram=vram))

    assert (model.memory_bytes, model.vram_bytes) == (ram, on_gpu)


def test_a_name_with_a_tag_has_no_shorter_one() -> None:
    assert one({}, listing(name="tiny:7b", model="tiny-7b")).aliases == ("tiny-7b",)


def test_a_model_that_was_just_loaded_does_not_slide() -> None:
    assert one({"models": []}, listing()).state is ServingState.LOADED


async def test_all_that_it_tells(backend, asker, now) -> None:
    backend.on("GET /api/version", {"version": "0.32.15"})
    backend.on("GET /api/ps", listing(), Date=DATE)

    facts = await ollama.probe(asker, now)

    assert facts == BackendFacts(
        BackendType.OLLAMA,
        live=True,
        ready=True,
        version="0.32.15",
        models=(one(listing(), listing()),),
        unload=True,
    )
    assert backend.asked == ["GET /api/ps", "GET /api/version", "GET /api/ps"]


async def test_its_own_clock_counts(backend, asker, now) -> None:
    """Ours is ten minutes ahead: without its own, every model would be seen as busy."""
    backend.on("GET /api/ps", listing(), Date=DATE)

    facts = await ollama.probe(asker, now + timedelta(minutes=10))

    assert facts.models[0].state is ServingState.LOADED


async def test_what_does_not_answer_well_is_not_ready(backend, asker, now) -> None:
    backend.on("GET /api/ps", b"server busy", 503)

    facts = await ollama.probe(asker, now)

    assert (facts.live, facts.ready, facts.message) == (True, False, "GET /api/ps answered 503")


async def test_unloading(backend, asker) -> None:
    backend.on("GET /api/ps", listing(), Date=DATE)
    backend.on("POST /api/generate", {"done": True, "done_reason": "unload"})

    result = await ollama.unload(asker, "tiny", force=False)

    assert result.outcome is UnloadOutcome.DONE
    assert backend.bodies == [{"model": "tiny:latest", "keep_alive": 0}]


async def test_unloading_what_only_embeds(backend, asker) -> None:
    backend.on("GET /api/ps", listing(), Date=DATE)
    backend.on("POST /api/generate", {"error": "does not support generate"}, 400)
    backend.on("POST /api/embed", {"embeddings": []})

    assert (await ollama.unload(asker, "tiny", force=False)).outcome is UnloadOutcome.DONE
    assert backend.bodies[1] == {"model": "tiny:latest", "keep_alive": 0}


@pytest.mark.parametrize(
    ("times", "force", "outcome"),
    [
        ((PAST, PAST), False, UnloadOutcome.BUSY),
        ((PAST, PAST), True, UnloadOutcome.DONE),
        ((LATER, "2026-11-22T12:04:01Z"), False, UnloadOutcome.BUSY),
        ((LATER, "2026-11-22T12:04:01Z"), True, UnloadOutcome.DONE),
    ],
)
async def test_a_busy_model_is_left_alone(backend, asker, times, force: bool, outcome) -> None:
    for time in times:
        backend.on("GET /api/ps", listing(time), Date=DATE)
    backend.on("POST /api/generate", {"done": True})

    assert (await ollama.unload(asker, "tiny", force=force)).outcome is outcome
    assert len(backend.bodies) == (outcome is UnloadOutcome.DONE)


async def test_unloading_what_is_not_loaded_asks_for_nothing(backend, asker) -> None:
    """With a name that is not loaded, an embedding request could load it."""
    backend.on("GET /api/ps", {"models": []})

    result = await ollama.unload(asker, "tiny", force=True)

    assert result.outcome is UnloadOutcome.NOT_LOADED
    assert set(backend.asked) == {"GET /api/ps"}


@pytest.mark.parametrize(
    ("status", "outcome"), [(404, UnloadOutcome.NOT_LOADED), (500, UnloadOutcome.FAILED)]
)
async def test_unloading_that_is_refused(backend, asker, status: int, outcome) -> None:
    backend.on("GET /api/ps", listing(), Date=DATE)
    backend.on("POST /api/generate", {"error": "no"}, status)

    assert (await ollama.unload(asker, "tiny", force=False)).outcome is outcome


async def test_unloading_where_nothing_is_listed(backend, asker) -> None:
    backend.on("GET /api/ps", b"", 403)

    result = await ollama.unload(asker, "tiny", force=False)

    assert result.outcome is UnloadOutcome.FAILED
    assert "API key" in result.message
