"""Any other server with OpenAI's API: it names its models, and that is all."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor import reading, verdicts
from model_gallery.monitor.asking import Asker, Route
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadResult

__all__ = ["models", "probe", "recognise", "unload"]

_MODELS = Route("GET", "/v1/models")


async def recognise(asker: Asker) -> bool:
    """Whether it lists models."""
    listing = await asker.ask(_MODELS)
    return listing.ok and isinstance(reading.mapping(listing.json()).get("data"), list)


async def probe(asker: Asker, now: datetime) -> BackendFacts:  # noqa: ARG001 - one form for all
    """Asks for the models."""
    listing = await asker.ask(_MODELS)
    if not listing.ok:
        return verdicts.unready(BackendType.OPENAI, listing, asker)
    return BackendFacts(BackendType.OPENAI, live=True, ready=True, models=models(listing.json()))


async def unload(asker: Asker, model: str, *, force: bool) -> UnloadResult:  # noqa: ARG001 - one form
    """Refuses: the API has no such request."""
    return verdicts.unsupported("OpenAI's API has no request that unloads a model")


def models(listing: Any) -> tuple[LoadedModel, ...]:
    """Returns the models of `/v1/models`, all taken as loaded since nothing tells otherwise."""
    found: dict[str, LoadedModel] = {}
    for item in reading.items(reading.mapping(listing).get("data")):
        entry = reading.mapping(item)
        name, root = reading.name(entry.get("id")), reading.name(entry.get("root"))
        if name:
            found[name] = LoadedModel(
                name,
                ServingState.LOADED,
                aliases=reading.others(name, [root, reading.basename(root)]),
                context_length=_context(entry),
            )
    return tuple(found.values())


def _context(entry: Mapping[str, Any]) -> int | None:
    values = (
        entry.get("max_model_len"),
        reading.mapping(entry.get("meta")).get("n_ctx"),
        entry.get("context_length"),
    )
    return next((known for known in map(reading.count, values) if known is not None), None)
