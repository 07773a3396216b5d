"""Asks one backend how it is, or to unload a model, whatever kind it is. Nothing here raises.

Called by the controller, one round at a time for each pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.monitor import verdicts
from model_gallery.monitor.asking import Asker, Unanswered
from model_gallery.monitor.backends import (
    kserve,
    llamacpp,
    localai,
    localai_backend,
    ollama,
    openai,
    sglang,
    tei,
    tgi,
    vllm,
)
from model_gallery.protocol.backend import BackendFacts, UnloadResult

__all__ = ["probe", "unload"]


class _Backend(Protocol):
    async def recognise(self, asker: Asker) -> bool: ...
    async def probe(self, asker: Asker, now: datetime) -> BackendFacts: ...
    async def unload(self, asker: Asker, model: str, *, force: bool) -> UnloadResult: ...


_BACKENDS: Mapping[BackendType, _Backend] = {
    BackendType.KSERVE_V2: kserve,
    BackendType.LOCALAI: localai,
    BackendType.LLAMA_CPP: llamacpp,
    BackendType.VLLM: vllm,
    BackendType.SGLANG: sglang,
    BackendType.TGI: tgi,
    BackendType.TEI: tei,
    BackendType.OLLAMA: ollama,
    BackendType.LOCALAI_BACKEND: localai_backend,
    # Last: nearly all the others imitate it.
    BackendType.OPENAI: openai,
}
"""In the order in which they are recognised."""


async def probe(
    asker: Asker, wanted: BackendType, remembered: BackendType | None, now: datetime
) -> BackendFacts:
    """Asks what a backend is, where nobody knows it, and how it is.

    A backend that takes the connection and then does not answer in time is busy or hung; which of them,
    only its progress tells. It is neither live nor ready here, its models are unknown and not unloaded,
    and the message says `no answer in time`; where nothing listens it says that no connection was made.

    Args:
        wanted: what the user says that it is; anything but Auto is believed.
        remembered: the type of the last facts of this container, so that it is recognised once only.

    Returns:
        The facts. Their type is None where it was not recognised, which is worth another try.
    """
    kind = remembered if wanted is BackendType.AUTO else wanted
    try:
        async with asyncio.timeout(asker.limits.round_seconds):
            if kind is None or kind is BackendType.AUTO:
                kind = await _recognised(asker)
            if kind is None:
                return await _stranger(asker, now)
            return await _BACKENDS[kind].probe(asker, now)
    except Unanswered as error:
        message = error.message
    except TimeoutError:
        message = "no answer in time: all requests together took too long"
    known = None if kind is BackendType.AUTO else kind
    return BackendFacts(known, live=False, ready=False, message=message)


async def unload(
    asker: Asker, kind: BackendType | None, model: str, *, force: bool
) -> UnloadResult:
    """Has a backend unload one model, by its name or an alias.

    Args:
        kind: of the last facts.
        force: also where the model is seen to work, which may end its requests.

    Returns:
        How it ended. Done means that the backend took the wish; it may finish its requests first, so
        look again.
    """
    if kind is None or kind is BackendType.AUTO:
        return verdicts.unsupported("what kind of backend it is is not known yet")
    try:
        return await _BACKENDS[kind].unload(asker, model, force=force)
    except Unanswered as error:
        return verdicts.failed(error.message)


async def _recognised(asker: Asker) -> BackendType | None:
    for kind, backend in _BACKENDS.items():
        try:
            if await backend.recognise(asker):
                return kind
        except Unanswered as error:
            # What answers nonsense to one question may answer the next; what does not answer, does not.
            if error.refused or error.timed_out:
                raise
    return None


async def _stranger(asker: Asker, now: datetime) -> BackendFacts:
    """Returns why nothing was recognised, by what most backends answer: often a key is missing."""
    facts = await openai.probe(asker, now)
    message = facts.message or "it answers like no backend that is known; set its type"
    return replace(facts, type=None, ready=False, models=(), message=message)
