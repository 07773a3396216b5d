"""The Open Inference Protocol (KServe v2): Triton, KServe's Python server, MLServer.

Never `/v2/health/ready`: Triton's fails for one model of many, KServe's and MLServer's never fail. What
Triton works on cannot be seen: its counters move when a request is done, and its queue leaves out the one
that runs. So the number of requests is unknown, not 0. KServe's Python server has no statistics; its
metrics count what was predicted, from the first time on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor import prometheus, reading, verdicts
from model_gallery.monitor.asking import Answer, Asker, Route
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadResult

__all__ = ["counted", "described", "indexed", "listed", "probe", "recognise", "unload"]

_ABOUT = Route("GET", "/v2")
_LIVE = Route("GET", "/v2/health/live")
_INDEX = Route("POST", "/v2/repository/index")
"""A POST that only lists."""
_MODELS = Route("GET", "/v2/models")
_STATS = Route("GET", "/v2/models/{model}/stats")
_METRICS = Route("GET", "/metrics")
_PREDICTED = "request_predict_seconds_count"
_UNLOAD = Route("POST", "/v2/repository/models/{model}/unload")

_KSERVE = "kserve"
_SERVERS = frozenset({"triton", _KSERVE, "mlserver"})
_NOT_FOUND = 404
_MAX_DESCRIBED = 16
"""Loaded models whose statistics are asked for: one request each."""
_NEVER_LOADED = "unloaded"
_STATES = {
    "READY": ServingState.LOADED,
    "UNLOADING": ServingState.BUSY,
    "LOADING": ServingState.LOADING,
    "UNAVAILABLE": ServingState.ERROR,
}
_ORDER = (
    ServingState.LOADED,
    ServingState.BUSY,
    ServingState.LOADING,
    ServingState.ERROR,
    ServingState.UNKNOWN,
    ServingState.UNLOADED,
)
"""Of several versions of a model, the first of these is what the model is."""


async def recognise(asker: Asker) -> bool:
    """Whether it gives one of the servers' names."""
    about = await asker.ask(_ABOUT)
    name = reading.name(reading.mapping(about.json()).get("name")) if about.ok else ""
    return name.lower() in _SERVERS


async def probe(asker: Asker, now: datetime) -> BackendFacts:  # noqa: ARG001 - one form for all
    """Asks for life, the models' states, and where there are statistics, for those."""
    live = await asker.ask(_LIVE)
    if not live.ok:
        return verdicts.unready(BackendType.KSERVE_V2, live, asker)
    found = await _found(asker)
    if isinstance(found, Answer):
        return verdicts.unready(BackendType.KSERVE_V2, found, asker)
    about = reading.mapping(await asker.try_json(_ABOUT))
    extensions = map(reading.name, reading.items(about.get("extensions")))
    return BackendFacts(
        BackendType.KSERVE_V2,
        live=True,
        ready=True,
        version=reading.name(about.get("version")),
        models=await _with_statistics(asker, found, about),
        unload=any(extension.startswith("model_repository") for extension in extensions),
    )


async def unload(asker: Asker, model: str, *, force: bool) -> UnloadResult:
    """Takes the model out of the repository's loaded ones; its queue is finished first."""
    found = await _found(asker)
    if isinstance(found, Answer):
        return verdicts.refusal(found, asker)
    loaded = verdicts.find(found, model)
    return verdicts.hindrance(loaded, model, force=force) or await _end(
        asker, loaded.name if loaded else model
    )


async def _end(asker: Asker, name: str) -> UnloadResult:
    answer = await asker.ask(_UNLOAD, model=name, body={})
    if answer.ok:
        return verdicts.done()
    if answer.status == _NOT_FOUND and b"does not exist" in answer.body:
        return verdicts.done()
    if answer.status == _NOT_FOUND or b"not allowed" in answer.body:
        return verdicts.unsupported(
            "the server does not let models be unloaded; Triton needs --model-control-mode=explicit"
        )
    return verdicts.refusal(answer, asker)


def indexed(index: Any) -> tuple[LoadedModel, ...]:
    """Returns the models of the repository's index, each once with the best state of its versions."""
    found: dict[str, LoadedModel] = {}
    for item in reading.items(index):
        entry = reading.mapping(item)
        name = reading.name(entry.get("name"))
        if not name:
            continue
        version = _version(name, entry)
        if name not in found or _rank(version) < _rank(found[name]):
            found[name] = version
    return tuple(found.values())


def listed(listing: Any) -> tuple[LoadedModel, ...]:
    """Returns the models of `/v2/models`, where KServe's Python server lists those that are ready."""
    names = map(reading.name, reading.items(reading.mapping(listing).get("models")))
    return tuple(LoadedModel(name, ServingState.LOADED) for name in dict.fromkeys(names) if name)


def described(model: LoadedModel, stats: Any) -> LoadedModel:
    """Returns the model with its statistics, summed over its versions."""
    entries = list(map(reading.mapping, reading.items(reading.mapping(stats).get("model_stats"))))
    used = [reading.milliseconds(entry.get("last_inference")) for entry in entries]
    counts = reading.plus(*(reading.count(entry.get("inference_count")) for entry in entries))
    memory = [
        reading.mapping(usage)
        for entry in entries
        for usage in reading.items(entry.get("memory_usage"))
    ]
    return replace(
        model,
        last_used=max((moment for moment in used if moment), default=None),
        activity=None if counts is None else float(counts),
        memory_bytes=_bytes(usage for usage in memory if usage.get("type") != "GPU"),
        vram_bytes=_bytes(usage for usage in memory if usage.get("type") == "GPU"),
    )


def counted(models: tuple[LoadedModel, ...], metrics: bytes) -> tuple[LoadedModel, ...]:
    """Returns the models with what the metrics of KServe's Python server say of their work.

    A model that has no counter yet was never asked: 0, so that the first prediction is a change.
    """
    samples = prometheus.parse(metrics, {_PREDICTED})
    return tuple(
        replace(model, activity=samples.total(_PREDICTED, model_name=model.name) or 0.0)
        for model in models
    )


def _bytes(usages: Iterable[Mapping[str, Any]]) -> int | None:
    return reading.plus(*(reading.count(usage.get("byte_size")) for usage in usages))


def _version(name: str, entry: Mapping[str, Any]) -> LoadedModel:
    state, reason = reading.name(entry.get("state")), reading.sentence(entry.get("reason"))
    if not state or (state == "UNAVAILABLE" and reason == _NEVER_LOADED):
        return LoadedModel(name, ServingState.UNLOADED)
    if state == "UNLOADING":
        reason = "it is being unloaded, and finishes its requests"
    return LoadedModel(name, _STATES.get(state, ServingState.UNKNOWN), message=reason)


def _rank(model: LoadedModel) -> int:
    return _ORDER.index(model.state)


async def _found(asker: Asker) -> tuple[LoadedModel, ...] | Answer:
    index = await asker.ask(_INDEX, body={})
    if index.ok:
        return indexed(index.json())
    if index.status != _NOT_FOUND:
        return index
    listing = await asker.ask(_MODELS)
    return listed(listing.json()) if listing.ok else listing


async def _with_statistics(
    asker: Asker, models: tuple[LoadedModel, ...], about: Mapping[str, Any]
) -> tuple[LoadedModel, ...]:
    if "statistics" not in map(reading.name, reading.items(about.get("extensions"))):
        return await _with_counters(asker, models) if about.get("name") == _KSERVE else models
    found, left = [], _MAX_DESCRIBED
    for model in models:
        ask = model.state is ServingState.LOADED and left > 0
        stats = await asker.try_json(_STATS, model=model.name) if ask else None
        found.append(described(model, stats))
        left -= ask
    return tuple(found)


async def _with_counters(asker: Asker, models: tuple[LoadedModel, ...]) -> tuple[LoadedModel, ...]:
    metrics = await asker.try_ask(_METRICS)
    return counted(models, metrics.body) if metrics else models
