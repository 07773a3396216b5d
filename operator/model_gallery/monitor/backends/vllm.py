"""vLLM: one base model under one or more names, and adapters; its metrics tell most.

`/health` says nothing of progress, and a sleeping engine answers it well while requests hang: only the
metrics tell. Without the key `/v1/models` is closed; the metrics name the model then.
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

__all__ = ["Engine", "engine", "models", "probe", "recognise", "unload"]

_HEALTH = Route("GET", "/health")
_MODELS = Route("GET", "/v1/models")
_METRICS = Route("GET", "/metrics")
_VERSION = Route("GET", "/version")
_IS_SLEEPING = Route("GET", "/is_sleeping", seconds=1.0)
"""Asks the engine itself, which may be long in answering; it only shows that sleep is offered."""
_SLEEP = Route("POST", "/sleep?level=1&mode=wait", seconds=30.0)
"""Level 2 would lose the weights, and the default mode ends running requests."""

_OWNER = "vllm"
_NOT_FOUND = 404
_RUNNING, _WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
_SUCCESS, _ITERATIONS = "vllm:request_success_total", "vllm:iteration_tokens_total_count"
_SLEEPS = "vllm:engine_sleep_state"
_SERIES = frozenset({_RUNNING, _WAITING, _SUCCESS, _ITERATIONS, _SLEEPS})
_AWAKE = "awake"


@dataclass(frozen=True, slots=True)
class Engine:
    """What the metrics tell.

    Attributes:
        names: of the base model, as served; the first of its names only.
        asleep: how, where any of the engines sleeps.
    """

    names: tuple[str, ...] = ()
    running: int | None = None
    waiting: int | None = None
    activity: float | None = None
    asleep: str = ""


async def recognise(asker: Asker) -> bool:
    """Whether it owns its models as vLLM does, or behind a key counts as vLLM does."""
    listing = await asker.ask(_MODELS)
    if listing.locked:
        metrics = await asker.ask(_METRICS)
        return metrics.ok and bool(prometheus.parse(metrics.body, _SERIES).lines)
    return listing.ok and reading.owner(listing.json()) == _OWNER


async def probe(asker: Asker, now: datetime) -> BackendFacts:  # noqa: ARG001 - one form for all
    """Asks for health, names, and work."""
    health = await asker.ask(_HEALTH)
    listing = await asker.ask(_MODELS)
    metrics = await asker.try_ask(_METRICS)
    work = engine(metrics.body) if metrics else Engine()
    found = _models(listing, work)
    if not found and not listing.ok:
        return verdicts.unready(BackendType.VLLM, listing, asker)
    version = await asker.try_json(_VERSION)
    return BackendFacts(
        BackendType.VLLM,
        live=True,
        ready=health.ok and not work.asleep,
        version=reading.name(reading.mapping(version).get("version")),
        models=found,
        unload=await asker.try_ask(_IS_SLEEPING) is not None,
        message=_message(health, listing, work, asker),
    )


async def unload(asker: Asker, model: str, *, force: bool) -> UnloadResult:
    """Puts the engine to sleep, which frees the accelerator, where the server offers that."""
    listing, metrics = await asker.ask(_MODELS), await asker.ask(_METRICS)
    work = engine(metrics.body) if metrics.ok else Engine()
    found = verdicts.find(_models(listing, work), model)
    if found is None and not listing.ok:
        return verdicts.refusal(listing, asker)
    if found is not None and _is_adapter(listing, found.name):
        return verdicts.unsupported("an adapter goes only with its base model")
    return verdicts.hindrance(found, model, force=force) or await _sleep(asker)


async def _sleep(asker: Asker) -> UnloadResult:
    try:
        answer = await asker.ask(_SLEEP)
    except Unanswered as error:
        if not error.timed_out:
            raise
        return verdicts.busy("vLLM was asked, and still waits for running requests")
    if answer.status == _NOT_FOUND:
        return verdicts.unsupported(
            "vLLM offers sleep only with --enable-sleep-mode and VLLM_SERVER_DEV_MODE=1"
        )
    return verdicts.done() if answer.ok else verdicts.refusal(answer, asker)


def engine(metrics: bytes) -> Engine:
    """Returns what `/metrics` tells, summed over the engines of data parallelism."""
    samples = prometheus.parse(metrics, _SERIES)
    asleep = [
        state
        for state in samples.values(_SLEEPS, "sleep_state")
        if state != _AWAKE and samples.total(_SLEEPS, sleep_state=state)
    ]
    return Engine(
        names=reading.others("", samples.values(_RUNNING, "model_name")),
        running=reading.count(samples.total(_RUNNING)),
        waiting=reading.count(samples.total(_WAITING)),
        activity=reading.added(samples.total(_SUCCESS), samples.total(_ITERATIONS)),
        asleep=reading.sentence(asleep[0]) if asleep else "",
    )


def models(listing: Any, work: Engine) -> tuple[LoadedModel, ...]:
    """Returns the base model under its first name, and the adapters, by `/v1/models`."""
    entries = [reading.mapping(item) for item in reading.items(_data(listing))]
    named = [entry for entry in entries if reading.name(entry.get("id"))]
    bases = [entry for entry in named if not reading.name(entry.get("parent"))]
    adapters = [entry for entry in named if reading.name(entry.get("parent"))]
    made = {}
    if bases:
        base = _described(bases[0], [entry["id"] for entry in bases], work)
        made[base.name] = replace(
            base, running=work.running, waiting=work.waiting, activity=work.activity
        )
    for entry in adapters:
        adapter = _described(entry, [], replace(work, running=None, waiting=None))
        made.setdefault(adapter.name, adapter)
    return tuple(made.values())


def _models(listing: Answer, work: Engine) -> tuple[LoadedModel, ...]:
    if listing.ok:
        return models(listing.json(), work)
    return models({"data": [{"id": name} for name in work.names]}, work)


def _described(entry: Mapping[str, Any], names: list[str], work: Engine) -> LoadedModel:
    name, root = reading.name(entry.get("id")), reading.name(entry.get("root"))
    return LoadedModel(
        name,
        ServingState.UNLOADED if work.asleep else verdicts.working(work.running, work.waiting),
        aliases=reading.others(name, [*names, root, reading.basename(root)]),
        context_length=reading.count(entry.get("max_model_len")),
        message=f"it sleeps ({work.asleep})" if work.asleep else "",
    )


def _message(health: Answer, listing: Answer, work: Engine, asker: Asker) -> str:
    if not health.ok:
        return f"{_HEALTH} answered {health.status}: the engine is dead"
    if work.asleep:
        return "the engine sleeps: requests hang until it is woken"
    return "" if listing.ok else verdicts.key_missing(listing, asker)


def _data(listing: Any) -> Any:
    return reading.mapping(listing).get("data")


def _is_adapter(listing: Answer, name: str) -> bool:
    if not listing.ok:
        return False
    entries = map(reading.mapping, reading.items(_data(listing.json())))
    return any(entry.get("id") == name and entry.get("parent") for entry in entries)
