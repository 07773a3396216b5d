"""Text Embeddings Inference: one model, until the server ends.

Never `/health`, which goes through the thread that computes. `/metrics` is open; `/info` wants the key.
How many requests run it does not tell, only how many wait.
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

_MARKS = frozenset({"model_type", "max_batch_tokens"})
_WAITING, _COUNT = "te_queue_size", "te_request_count"


async def recognise(asker: Asker) -> bool:
    """Whether it describes itself as only this server does."""
    info = await asker.ask(_INFO)
    return info.ok and reading.mapping(info.json()).keys() >= _MARKS


async def probe(asker: Asker, now: datetime) -> BackendFacts:  # noqa: ARG001 - one form for all
    """Asks for the model and its work."""
    info = await asker.ask(_INFO)
    if not info.ok:
        return verdicts.unready(BackendType.TEI, info, asker)
    metrics = await asker.try_ask(_METRICS)
    about = info.json()
    found = model(about, metrics.body if metrics else b"")
    version = reading.name(reading.mapping(about).get("version"))
    return BackendFacts(
        BackendType.TEI, live=True, ready=True, version=version, models=(found,) if found else ()
    )


async def unload(asker: Asker, model: str, *, force: bool) -> UnloadResult:  # noqa: ARG001 - one form
    """Refuses: the model goes with its server."""
    return verdicts.unsupported("Text Embeddings Inference serves its model until the server ends")


def model(info: Any, metrics: bytes) -> LoadedModel | None:
    """Returns the model by `/info` and `/metrics`; None where it has no name."""
    about = reading.mapping(info)
    names = [reading.name(about.get(key)) for key in ("served_model_name", "model_id")]
    name = next(filter(None, names), "")
    samples = prometheus.parse(metrics, {_WAITING, _COUNT})
    waiting = reading.count(samples.total(_WAITING))
    found = LoadedModel(
        name,
        verdicts.working(None, waiting),
        aliases=reading.others(name, [*names, *map(reading.basename, names)]),
        waiting=waiting,
        context_length=reading.count(about.get("max_input_length")),
        activity=samples.total(_COUNT),
    )
    return found if name else None
