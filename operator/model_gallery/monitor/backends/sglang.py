"""SGLang: one base model and adapters; `/v1/loads` tells all of its work in one answer.

Never `/health`, which generates, nor any other path: some of its actions are plain GET requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.monitor import prometheus, reading, verdicts
from model_gallery.monitor.asking import Asker, Route
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadResult

__all__ = ["Load", "activity", "load", "models", "probe", "recognise", "unload"]

_READY = Route("GET", "/ready")
_MODELS = Route("GET", "/v1/models")
_LOADS = Route("GET", "/v1/loads?include=core,memory")
_METRICS = Route("GET", "/metrics")

_OWNER = "sglang"
_NOT_FOUND = 404
_GB = 2**30
_MEMORY = ("weight_gb", "kv_cache_gb", "graph_gb")
_RUNNING, _REQUESTS = "sglang:num_running_reqs", "sglang:num_requests_total"
_GENERATED = "sglang:generation_tokens_total"


@dataclass(frozen=True, slots=True)
class Load:
    """What all ranks of data parallelism do and hold together."""

    running: int | None = None
    waiting: int | None = None
    vram_bytes: int | None = None


async def recognise(asker: Asker) -> bool:
    """Whether it owns its models as SGLang does, or behind a key counts as SGLang does."""
    listing = await asker.ask(_MODELS)
    if listing.locked:
        metrics = await asker.ask(_METRICS)
        return metrics.ok and bool(prometheus.parse(metrics.body, {_RUNNING}).lines)
    return listing.ok and reading.owner(listing.json()) == _OWNER


async def probe(asker: Asker, now: datetime) -> BackendFacts:  # noqa: ARG001 - one form for all
    """Asks whether it takes requests, for names, and for work."""
    ready = await asker.ask(_READY)
    listing = await asker.ask(_MODELS)
    if not listing.ok:
        return verdicts.unready(BackendType.SGLANG, listing, asker)
    loads, metrics = await asker.try_json(_LOADS), await asker.try_ask(_METRICS)
    found = load(loads)
    # Versions before /ready have no harmless call for it; that they list their models must do.
    takes = ready.ok or ready.status == _NOT_FOUND
    return BackendFacts(
        BackendType.SGLANG,
        live=True,
        ready=takes,
        models=models(listing.json(), found, activity(metrics.body) if metrics else None),
        message="" if takes else f"{_READY} answered {ready.status}: paused or not yet started",
    )


async def unload(asker: Asker, model: str, *, force: bool) -> UnloadResult:  # noqa: ARG001 - one form
    """Refuses: the base model goes with its server."""
    return verdicts.unsupported("SGLang serves its model until the server ends")


def load(loads: Any) -> Load:
    """Returns the sums of `/v1/loads`."""
    ranks = list(map(reading.mapping, reading.items(reading.mapping(loads).get("loads"))))
    return Load(
        reading.plus(*(reading.count(rank.get("num_running_reqs")) for rank in ranks)),
        reading.plus(*(reading.count(rank.get("num_waiting_reqs")) for rank in ranks)),
        reading.plus(*(_memory(reading.mapping(rank.get("memory"))) for rank in ranks)),
    )


def activity(metrics: bytes) -> float | None:
    """Returns what `/metrics` counts, where they are on."""
    samples = prometheus.parse(metrics, {_REQUESTS, _GENERATED})
    return reading.added(samples.total(_REQUESTS), samples.total(_GENERATED))


def models(listing: Any, work: Load, counted: float | None) -> tuple[LoadedModel, ...]:
    """Returns the models of `/v1/models`; work and memory are the first one's, the base model."""
    found: dict[str, LoadedModel] = {}
    for item in reading.items(reading.mapping(listing).get("data")):
        entry = reading.mapping(item)
        name, root = reading.name(entry.get("id")), reading.name(entry.get("root"))
        if name and name not in found:
            own = Load() if found else work
            found[name] = LoadedModel(
                name,
                verdicts.working(work.running, work.waiting),
                aliases=reading.others(
                    name, [root, reading.basename(root), reading.basename(name)]
                ),
                running=own.running,
                waiting=own.waiting,
                vram_bytes=own.vram_bytes,
                context_length=reading.count(entry.get("max_model_len")),
                activity=None if found else counted,
            )
    return tuple(found.values())


def _memory(parts: Mapping[str, Any]) -> int | None:
    total = reading.added(*(reading.number(parts.get(key)) for key in _MEMORY))
    return None if total is None else reading.count(round(total * _GB))
