"""LocalAI: lists what it has loaded, tells little more of it, and unloads when requests are done.

Not used: the `state` of its monitor (an idle Go backend says busy), `memory.total` (virtual size, a hundred
times too much), `/api/ps` (sizes of 0, an expiry of always tomorrow), `/v1/models` (installed, not loaded).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor import prometheus, reading, verdicts
from model_gallery.monitor.asking import Asker, Route, Unanswered
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadResult

__all__ = ["activity", "memory", "models", "probe", "recognise", "unload"]

_ABOUT = Route("GET", "/.well-known/localai.json")
_READY = Route("GET", "/readyz")
_SYSTEM = Route("GET", "/system")
_MONITOR = Route("GET", "/backend/monitor?model={model}")
_METRICS = Route("GET", "/metrics")
_SHUTDOWN = Route("POST", "/backend/shutdown", seconds=30.0)

_MAX_MONITORED = 16
"""Loaded models whose memory is asked for: one request each."""
_NOT_FOUND = 404
_TOKENS, _BILLED = "localai_tokens_total", "localai_billed_requests_total"
_CALLS = "api_call_count"
_NO_USE = ("/v1/models", "/v1/backend")
"""What clients ask for without using a model."""


async def recognise(asker: Asker) -> bool:
    """Whether it announces LocalAI's endpoints."""
    about = await asker.ask(_ABOUT)
    return about.ok and "endpoints" in reading.mapping(about.json())


async def probe(asker: Asker, now: datetime) -> BackendFacts:  # noqa: ARG001 - one form for all
    """Asks for what is loaded, and of each the memory."""
    ready = await asker.ask(_READY)
    system = await asker.ask(_SYSTEM)
    if not system.ok:
        return verdicts.unready(BackendType.LOCALAI, system, asker)
    about, metrics = await asker.try_json(_ABOUT), await asker.try_ask(_METRICS)
    loaded = await _with_memory(asker, models(system.json()))
    if metrics is not None:
        samples = prometheus.parse(metrics.body, {_TOKENS, _BILLED, _CALLS})
        loaded = tuple(
            replace(model, activity=activity(samples, model.name, alone=len(loaded) == 1))
            for model in loaded
        )
    return BackendFacts(
        BackendType.LOCALAI,
        live=True,
        ready=ready.ok,
        version=reading.name(reading.mapping(about).get("version")),
        models=loaded,
        unload=True,
        message="" if ready.ok else "LocalAI still prepares its models",
    )


async def unload(asker: Asker, model: str, *, force: bool) -> UnloadResult:  # noqa: ARG001 - see below
    """Stops the model's process. LocalAI waits for running requests itself, forced or not."""
    system = await asker.ask(_SYSTEM)
    if not system.ok:
        return verdicts.refusal(system, asker)
    found = verdicts.find(models(system.json()), model)
    if found is None:
        return verdicts.not_loaded(model)
    try:
        answer = await asker.ask(_SHUTDOWN, body={"model": found.name})
    except Unanswered as error:
        if not error.timed_out:
            raise
        return verdicts.busy("LocalAI was asked, and still waits for running requests")
    if answer.status == _NOT_FOUND:
        return verdicts.not_loaded(model)
    return verdicts.done() if answer.ok else verdicts.refusal(answer, asker)


def models(system: Any) -> tuple[LoadedModel, ...]:
    """Returns the loaded models of `/system`. Whether one is busy, LocalAI does not tell."""
    listed = (reading.mapping(item) for item in reading.items(_loaded(system)))
    names = dict.fromkeys(reading.name(item.get("id")) for item in listed)
    return tuple(LoadedModel(name, ServingState.LOADED) for name in names if name)


def memory(monitor: Any) -> int | None:
    """Returns the bytes in RAM of an answer of `/backend/monitor`, where they are measured."""
    breakdown = reading.mapping(reading.mapping(monitor).get("memory")).get("breakdown")
    return reading.count(reading.mapping(breakdown).get("gopsutil-RSS"))


def activity(samples: prometheus.Samples, model: str, *, alone: bool) -> float | None:
    """Returns what was counted for the model; where it is alone, all calls may be its own."""
    parts = (samples.total(name, served_model=model) for name in (_TOKENS, _BILLED))
    counted = [part for part in parts if part is not None]
    if not counted and alone:
        counted = [
            line.value
            for line in samples.lines
            if line.name == _CALLS and _is_use(line.labels.get("path", ""))
        ]
    return reading.added(*counted)


def _is_use(path: str) -> bool:
    return path.startswith("/v1/") and not path.startswith(_NO_USE)


def _loaded(system: Any) -> Any:
    return reading.mapping(system).get("loaded_models")


async def _with_memory(asker: Asker, loaded: tuple[LoadedModel, ...]) -> tuple[LoadedModel, ...]:
    found = list(loaded)
    for index, model in enumerate(loaded[:_MAX_MONITORED]):
        try:
            answer = await asker.ask(_MONITOR, model=model.name)
            if answer.ok:
                found[index] = replace(model, memory_bytes=memory(answer.json()))
        except Unanswered as error:
            if error.timed_out:
                # The others would take as long, and cost the whole round.
                break
    return tuple(found)
