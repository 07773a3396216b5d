"""A backend of LocalAI as a pod of its own: gRPC, one process, one model that it does not name.

`Health` says that it lives. `Status` is not in every backend, and its states Busy and Ready stand the wrong
way round in those of Go that work on one request at a time: which of the two it is tells nothing, only
that a model is loaded. Of its memory the total counts in other units than the breakdown; the breakdown's
resident set is right. Never `Free`: the core that loaded the model would go on calling it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor import protobuf, rpc, verdicts
from model_gallery.monitor.asking import Asker, Unanswered
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadResult

__all__ = ["is_well", "probe", "recognise", "status", "unload"]

_HEALTH, _STATUS = "/backend.Backend/Health", "/backend.Backend/Status"
_WELL = b"OK"
_RESIDENT = b"gopsutil-RSS"
_STATES: Mapping[int, ServingState] = {
    -1: ServingState.ERROR,
    0: ServingState.UNLOADED,
    1: ServingState.LOADED,
    2: ServingState.LOADED,
}
_MAX_BYTES = 1 << 60


async def recognise(asker: Asker) -> bool:  # noqa: ARG001 - one form for all
    """Never: nobody who was not named is spoken to in gRPC."""
    return False


async def probe(asker: Asker, now: datetime) -> BackendFacts:  # noqa: ARG001 - one form for all
    """Asks for life, and for the state and memory of the model that the Gallery says it serves."""
    health = await rpc.call(asker, _HEALTH)
    kind = BackendType.LOCALAI_BACKEND
    if health.code != rpc.OK or not is_well(health.message):
        message = f"{_HEALTH} answered {health.code} and not OK"
        return BackendFacts(kind, live=True, ready=False, message=message)
    answer = await rpc.call(asker, _STATUS)
    state, memory = ServingState.UNKNOWN, None
    if answer.code == rpc.OK:
        state, memory = status(answer.message)
    model = LoadedModel(asker.served, state, memory_bytes=memory)
    return BackendFacts(kind, live=True, ready=True, models=(model,) if asker.served else ())


async def unload(asker: Asker, model: str, *, force: bool) -> UnloadResult:  # noqa: ARG001 - one form
    """Refuses: the core that loaded the model would not know."""
    return verdicts.unsupported("only the LocalAI core that loaded the model may have it freed")


def is_well(reply: bytes) -> bool:
    """Whether a `Reply` says OK.

    Raises:
        Unanswered: it is no message.
    """
    return dict(_read(reply)).get(1) == _WELL


def status(response: bytes) -> tuple[ServingState, int | None]:
    """Returns what a `StatusResponse` tells that can be relied on: the state, and resident bytes.

    Raises:
        Unanswered: it is no message.
    """
    known = dict(_read(response))
    told, memory = known.get(1, 0), known.get(2, b"")
    state = _STATES.get(protobuf.signed(told)) if isinstance(told, int) else None
    resident = None
    for number, entry in _read(memory) if isinstance(memory, bytes) else ():
        pair = dict(_read(entry)) if number == 2 and isinstance(entry, bytes) else {}  # noqa: PLR2004
        value = pair.get(2)
        if pair.get(1) == _RESIDENT and isinstance(value, int) and 0 < value <= _MAX_BYTES:
            resident = value
    return state or ServingState.UNKNOWN, resident


def _read(message: bytes) -> list[tuple[int, int | bytes]]:
    try:
        return list(protobuf.fields(message))
    except protobuf.MalformedError as error:
        raise Unanswered(f"it answered with a message that is none: {error}") from error
