"""Text Generation Inference: one model, until the server ends.

Never `/health`: after a failure it runs a real prefill to find out. `/info` is answered only when the
shards are up, so it stands for ready.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.monitor import prometheus, reading, verdicts
from model_gallery.monitor.asking import Asker, Route
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadResult

__all__ = ["model", "probe", "recognise", "unload"]

_INFO = Route("GET", "/info")
_METRICS = Route("GET", "/metrics")

_ROUTER = "text-generation-router"
_RUNNING, _WAITING, _COUNT = "tgi_batch_current_size", "tgi_queue_size", "tgi_request_count"


async def recognise(asker: Asker) -> bool:
    """Whether it names its router."""
    info = await asker.ask(_INFO)
    return info.ok and reading.mapping(info.json()).get("router") == _ROUTER


async def probe(asker: Asker, now: datetime) -> BackendFacts:  # noqa: ARG001 - one form for all
    """Asks for the model and its work."""
    info = await asker.ask(_INFO)
    if not info.ok:
        return verdicts.unready(BackendType.TGI, info, asker)
    metrics = await asker.try_ask(_METRICS)
    about = info.json()
    found = model(about, metrics.body if metrics else b"")
    version = reading.name(reading.mapping(about).get("version"))
    return BackendFacts(
        BackendType.TGI, live=True, ready=True, version=version, models=(found,) if found else ()
    )


async def unload(asker: Asker, model: str, *, force: bool) -> UnloadResult:  # noqa: ARG001 - one form
    """Refuses: the model goes with its server."""
    return verdicts.unsupported("Text Generation Inference serves its model until the server ends")


def model(info: Any, metrics: bytes) -> LoadedModel | None:
    """Returns the model by `/info` and `/metrics`; None where it has no name."""
    about = reading.mapping(info)
    name = reading.name(about.get("model_id"))
    samples = prometheus.parse(metrics, {_RUNNING, _WAITING, _COUNT})
    running = reading.count(samples.total(_RUNNING))
    waiting = reading.count(samples.total(_WAITING))
    found = LoadedModel(
        name,
        verdicts.working(running, waiting),
        aliases=reading.others(name, [reading.basename(name)]),
        running=running,
        waiting=waiting,
        context_length=reading.count(about.get("max_total_tokens")),
        activity=samples.total(_COUNT),
    )
    return found if name else None
