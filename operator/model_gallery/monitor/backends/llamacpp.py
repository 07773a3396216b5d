"""llama.cpp's server, with one model or as a router of several.

A look can wake a sleeping model and load it anew: so `/props` comes first, and `/slots` and `/metrics` only
where it is awake; of a router's models only those that are loaded are asked, with `autoload=false`.
`/metrics` is preferred: newer servers do not count it as use, and it tells more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor import prometheus, reading, verdicts
from model_gallery.monitor.asking import Answer, Asker, Route, Unanswered
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadResult

__all__ = ["Work", "probe", "processing", "recognise", "routed", "single", "unload", "work"]

_HEALTH = Route("GET", "/health")
_PROPS = Route("GET", "/props")
_MODELS = Route("GET", "/v1/models")
_SLOTS = Route("GET", "/slots")
_METRICS = Route("GET", "/metrics")
_ROUTED = Route("GET", "/models")
_ROUTED_METRICS = Route("GET", "/metrics?model={model}&autoload=false")
_UNLOAD = Route("POST", "/models/unload")

_SERVER = "llama.cpp"
_LOADING = 503
_BAD_REQUEST = 400
_MAX_MEASURED = 16
"""Loaded models of a router that are asked for their work: one request each."""
_RUNNING, _WAITING = "llamacpp:requests_processing", "llamacpp:requests_deferred"
_PREDICTED = "llamacpp:tokens_predicted_total"
_ENDS = "the model is being loaded or works on requests, and unloading ends its process"
_STATES = {
    "downloading": ServingState.UNLOADED,
    "downloaded": ServingState.UNLOADED,
    "unloaded": ServingState.UNLOADED,
    "sleeping": ServingState.UNLOADED,
    "loading": ServingState.LOADING,
    "loaded": ServingState.LOADED,
}


@dataclass(frozen=True, slots=True)
class Work:
    """What a server does now and has done."""

    running: int | None = None
    waiting: int | None = None
    activity: float | None = None


async def recognise(asker: Asker) -> bool:
    """Whether it says so in a header, which even refusals bear."""
    return (await asker.ask(_PROPS)).server == _SERVER


async def probe(asker: Asker, now: datetime) -> BackendFacts:  # noqa: ARG001 - one form for all
    """Asks the server, and where it is a router, its loaded models."""
    props = await asker.ask(_PROPS)
    if not props.ok:
        return _unready(props, asker)
    about = reading.mapping(props.json())
    found = await (_probe_router(asker) if _is_router(about) else _probe_single(asker, about))
    if isinstance(found, Answer):
        return _unready(found, asker)
    health = await asker.ask(_HEALTH)
    return BackendFacts(
        BackendType.LLAMA_CPP,
        live=True,
        ready=health.ok,
        version=reading.name(about.get("build_info")),
        models=found,
        unload=_is_router(about),
        message="" if health.ok else f"{_HEALTH} answered {health.status}",
    )


async def unload(asker: Asker, model: str, *, force: bool) -> UnloadResult:
    """Has a router end the model's process, which ends its requests as well."""
    props = await asker.ask(_PROPS)
    if not props.ok:
        return verdicts.refusal(props, asker)
    if not _is_router(reading.mapping(props.json())):
        return verdicts.unsupported(
            "llama.cpp serves one model until it ends; set --sleep-idle-seconds to free its memory"
        )
    listed = await asker.ask(_ROUTED)
    if not listed.ok:
        return verdicts.refusal(listed, asker)
    found = verdicts.find(routed(listed.json()), model)
    if found is not None and found.state is ServingState.LOADED and not force:
        found = _working(found, await _routed_work(asker, found.name))
    return verdicts.hindrance(found, model, force=force, working=_ENDS) or await _end(
        asker, found.name if found else model
    )


async def _end(asker: Asker, name: str) -> UnloadResult:
    answer = await asker.ask(_UNLOAD, body={"model": name})
    if answer.status == _BAD_REQUEST:
        return verdicts.not_loaded(name)
    return verdicts.done() if answer.ok else verdicts.refusal(answer, asker)


def single(props: Any, listing: Any) -> LoadedModel | None:
    """Returns the one model by `/props` and `/v1/models`, without its work; None where it has no name."""
    about = reading.mapping(props)
    data = reading.items(reading.mapping(listing).get("data"))
    entry = reading.mapping(data[0]) if data else {}
    path = reading.name(about.get("model_path"))
    names = [entry.get("id"), about.get("model_alias"), reading.basename(path)]
    name = next(filter(None, map(reading.name, names)), "")
    asleep = about.get("is_sleeping") is True
    model = LoadedModel(
        name,
        ServingState.UNLOADED if asleep else ServingState.LOADED,
        aliases=reading.others(name, [*names, *reading.items(entry.get("aliases")), path]),
        context_length=_context(reading.mapping(entry.get("meta")), about),
        message="it sleeps; the next request loads it" if asleep else "",
    )
    return model if name else None


def routed(listing: Any) -> tuple[LoadedModel, ...]:
    """Returns a router's models by `/models`, without their work."""
    found: dict[str, LoadedModel] = {}
    for item in reading.items(reading.mapping(listing).get("data")):
        entry = reading.mapping(item)
        name = reading.name(entry.get("id"))
        if name:
            found[name] = _routed(name, entry)
    return tuple(found.values())


def processing(slots: Any) -> int | None:
    """Returns how many slots of `/slots` work; None where there are none."""
    known = [reading.mapping(slot).get("is_processing") for slot in reading.items(slots)]
    flags = [flag for flag in known if isinstance(flag, bool)]
    return sum(flags) if flags else None


def work(metrics: bytes) -> Work:
    """Returns what `/metrics` tells."""
    samples = prometheus.parse(metrics, {_RUNNING, _WAITING, _PREDICTED})
    return Work(
        reading.count(samples.total(_RUNNING)),
        reading.count(samples.total(_WAITING)),
        samples.total(_PREDICTED),
    )


def _is_router(about: Mapping[str, Any]) -> bool:
    return about.get("role") == "router"


def _unready(answer: Answer, asker: Asker) -> BackendFacts:
    facts = verdicts.unready(BackendType.LLAMA_CPP, answer, asker)
    if answer.status == _LOADING:
        return replace(facts, message="llama.cpp is loading its model")
    return facts


def _context(meta: Mapping[str, Any], about: Mapping[str, Any]) -> int | None:
    of_model = reading.count(meta.get("n_ctx"))
    return of_model if of_model is not None else reading.count(about.get("n_ctx"))


def _routed(name: str, entry: Mapping[str, Any]) -> LoadedModel:
    status = reading.mapping(entry.get("status"))
    value = status.get("value")
    state = _STATES.get(value, ServingState.UNKNOWN) if isinstance(value, str) else None
    message = ""
    if status.get("failed") is True:
        code = reading.count(status.get("exit_code"))
        state, message = (
            ServingState.ERROR,
            "its process ended" + ("" if code is None else f" with exit code {code}"),
        )
    elif value == "sleeping":
        message = "it sleeps; the next request loads it"
    return LoadedModel(
        name,
        state or ServingState.UNKNOWN,
        aliases=reading.others(
            name, [reading.basename(name), *reading.items(entry.get("aliases"))]
        ),
        context_length=reading.count(reading.mapping(entry.get("meta")).get("n_ctx")),
        message=message,
    )


async def _probe_single(asker: Asker, about: Mapping[str, Any]) -> tuple[LoadedModel, ...] | Answer:
    listing = await asker.ask(_MODELS)
    if not listing.ok:
        return listing
    model = single(about, listing.json())
    if model is None:
        return ()
    if model.state is ServingState.LOADED:
        model = _working(model, await _work(asker, about))
    return (model,)


async def _work(asker: Asker, about: Mapping[str, Any]) -> Work | None:
    """Returns what an awake server does; None where it is too busy to say so."""
    if about.get("endpoint_metrics") is True:
        metrics = await asker.try_ask(_METRICS)
        if metrics is not None:
            return work(metrics.body)
    if about.get("endpoint_slots") is False:
        return Work()
    try:
        slots = await asker.ask(_SLOTS)
        return Work(running=processing(slots.json()) if slots.ok else None)
    except Unanswered as error:
        # It is answered between two batches of the model's work, which on a CPU take minutes.
        return None if error.timed_out else Work()


async def _probe_router(asker: Asker) -> tuple[LoadedModel, ...] | Answer:
    listing = await asker.ask(_ROUTED)
    if not listing.ok:
        return listing
    found, left = [], _MAX_MEASURED
    for model in routed(listing.json()):
        if model.state is not ServingState.LOADED or not left:
            found.append(model)
            continue
        done = await _routed_work(asker, model.name)
        # After one that does not answer, the others would cost the whole round.
        left = left - 1 if done else 0
        found.append(_working(model, done))
    return tuple(found)


async def _routed_work(asker: Asker, name: str) -> Work | None:
    """Returns what a loaded model of a router does; None where it is too busy to say so."""
    try:
        metrics = await asker.ask(_ROUTED_METRICS, model=name)
    except Unanswered as error:
        return None if error.timed_out else Work()
    return work(metrics.body) if metrics.ok else Work()


def _working(model: LoadedModel, found: Work | None) -> LoadedModel:
    if found is None:
        return replace(model, state=ServingState.BUSY, message="it works on a long batch, or hangs")
    return replace(
        model,
        state=verdicts.working(found.running, found.waiting),
        running=found.running,
        waiting=found.waiting,
        activity=found.activity,
    )
