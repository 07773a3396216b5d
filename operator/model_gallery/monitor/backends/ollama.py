"""Ollama: has neither metrics nor a flag for busy; `expires_at` tells both, to who knows how.

| `expires_at` | means |
| --- | --- |
| stands still in the future | idle; unloaded then |
| another in two answers in a row | first requests since it was loaded: now + keep_alive |
| in the past | its timer is stopped by requests, or it is to go when they are done |
| more than ten years ahead | idle, and never unloaded (`keep_alive: -1` is the year 2319) |
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor import reading, verdicts
from model_gallery.monitor.asking import Answer, Asker, Route
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadResult

__all__ = ["models", "probe", "recognise", "unload"]

_ROOT = Route("GET", "/")
_VERSION = Route("GET", "/api/version")
_RUNNING = Route("GET", "/api/ps")
_GENERATE = Route("POST", "/api/generate")
_EMBED = Route("POST", "/api/embed")

_GREETING = b"Ollama is running"
_BAD_REQUEST = 400
_NOT_FOUND = 404
_NEVER = timedelta(days=3650)
_STOPPING = timedelta(minutes=1)
_LATEST = ":latest"


async def recognise(asker: Asker) -> bool:
    """Whether it greets as Ollama does."""
    greeting = await asker.ask(_ROOT)
    return greeting.ok and greeting.body.strip() == _GREETING


async def probe(asker: Asker, now: datetime) -> BackendFacts:
    """Asks twice for what is loaded, since a time that slides is a sign of work."""
    first = await asker.ask(_RUNNING)
    if not first.ok:
        return verdicts.unready(BackendType.OLLAMA, first, asker)
    version, second = await asker.try_json(_VERSION), await asker.try_ask(_RUNNING)
    return BackendFacts(
        BackendType.OLLAMA,
        live=True,
        ready=True,
        version=reading.name(reading.mapping(version).get("version")),
        models=_judged(first, second or first, now),
        unload=True,
    )


async def unload(asker: Asker, model: str, *, force: bool) -> UnloadResult:
    """Has the model go as soon as its requests are done."""
    first, second = await asker.ask(_RUNNING), await asker.ask(_RUNNING)
    if not (first.ok and second.ok):
        return verdicts.refusal(second if first.ok else first, asker)
    found = verdicts.find(_judged(first, second, None), model)
    why = "the model works on requests, or is to go when they are done"
    return verdicts.hindrance(found, model, force=force, working=why) or await _end(
        asker, found.name if found else model
    )


async def _end(asker: Asker, name: str) -> UnloadResult:
    wish = {"model": name, "keep_alive": 0}
    answer = await asker.ask(_GENERATE, body=wish)
    if answer.status == _BAD_REQUEST:
        # Models that only embed may be refused there.
        answer = await asker.ask(_EMBED, body=wish)
    if answer.status == _NOT_FOUND:
        return verdicts.not_loaded(name)
    return verdicts.done() if answer.ok else verdicts.refusal(answer, asker)


def models(first: Any, second: Any, now: datetime | None) -> tuple[LoadedModel, ...]:
    """Returns the models of `/api/ps`, by two answers that came one after the other.

    Args:
        now: by the backend's clock if possible; without it, times in the past are not seen as such.
    """
    before = _listed(first)
    return tuple(
        _model(name, entry, before.get(name, {}), now) for name, entry in _listed(second).items()
    )


def _judged(first: Answer, second: Answer, now: datetime | None) -> tuple[LoadedModel, ...]:
    # Its times are of its own clock, and so is the header; ours may differ.
    return models(first.json(), second.json(), second.date or now)


def _listed(running: Any) -> dict[str, Mapping[str, Any]]:
    entries = map(reading.mapping, reading.items(reading.mapping(running).get("models")))
    named = {reading.name(entry.get("name")): entry for entry in entries}
    return {name: entry for name, entry in named.items() if name}


def _model(
    name: str, entry: Mapping[str, Any], before: Mapping[str, Any], now: datetime | None
) -> LoadedModel:
    vram = reading.count(entry.get("size_vram"))
    size = reading.count(entry.get("size"))
    ram = size - vram if size is not None and vram is not None and vram <= size else None
    expires = reading.moment(entry.get("expires_at"))
    slides = "expires_at" in before and before.get("expires_at") != entry.get("expires_at")
    past = expires is not None and now is not None and expires <= now
    return LoadedModel(
        name,
        ServingState.BUSY if slides or past else ServingState.LOADED,
        aliases=reading.others(name, [entry.get("model"), name.removesuffix(_LATEST)]),
        memory_bytes=ram,
        vram_bytes=vram,
        context_length=reading.count(entry.get("context_length")),
        # While it works nobody knows when it will go, and a time that moves tells nobody anything.
        expires=None if slides or past else _expiry(expires, now),
        # Every use moves it, so it does as a count.
        activity=expires.timestamp() if expires else None,
        message=_message(expires, now),
    )


def _expiry(expires: datetime | None, now: datetime | None) -> datetime | None:
    if expires is None or now is None or expires - now > _NEVER:
        return None
    return expires


def _message(expires: datetime | None, now: datetime | None) -> str:
    if expires is None or now is None or now - expires < _STOPPING:
        return ""
    return "its time is over: it works on a long request, or does not stop"
