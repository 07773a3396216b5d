"""What a serving backend tells of itself, whatever its kind. A fact that it does not tell is None."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState

__all__ = ["BackendFacts", "LoadedModel", "UnloadOutcome", "UnloadResult"]


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """One model as a backend speaks of it.

    Attributes:
        name: as the backend knows it.
        aliases: further names and file names that mean the same model.
        running: requests in work now.
        waiting: requests that wait.
        memory_bytes: resident in RAM, as far as the backend itself tells.
        vram_bytes: resident on accelerators.
        context_length: in tokens.
        last_used: when it last served, where the backend tells it.
        expires: when the backend will unload it by itself; None also for never.
        activity: a number that only grows while the model serves; a change means use.
        message: what went wrong, for `Error`.
    """

    name: str
    state: ServingState
    aliases: tuple[str, ...] = ()
    running: int | None = None
    waiting: int | None = None
    memory_bytes: int | None = None
    vram_bytes: int | None = None
    context_length: int | None = None
    last_used: datetime | None = None
    expires: datetime | None = None
    activity: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class BackendFacts:
    """The answer to one round of requests to one pod.

    Attributes:
        type: what it is, never Auto; None where nothing recognised it.
        live: it answered within the limits.
        ready: it takes requests.
        version: as it says itself; empty where it does not.
        models: those that are loaded, loading or failed; installed but unloaded ones only where
            the backend lists them as such.
        unload: whether it can unload one model on request.
        message: why it is not live or not ready, one sentence.
    """

    type: BackendType | None
    live: bool
    ready: bool
    version: str = ""
    models: tuple[LoadedModel, ...] = ()
    unload: bool = False
    message: str = ""


class UnloadOutcome(StrEnum):
    """How a request to unload ended."""

    DONE = "Done"
    NOT_LOADED = "NotLoaded"
    BUSY = "Busy"
    UNSUPPORTED = "Unsupported"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class UnloadResult:
    """What came of it, with a sentence for people where it was not done."""

    outcome: UnloadOutcome
    message: str = ""
