"""The closed set of effects, as data. `controller/apply.py` carries them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = [
    "Action",
    "AddFinalizer",
    "ApplyClaim",
    "ApplyModel",
    "DeleteJob",
    "DeleteModel",
    "LoadIndex",
    "RemoveFinalizer",
    "StartWorker",
]


@dataclass(frozen=True, slots=True)
class AddFinalizer:
    """Put our finalizer on the object."""


@dataclass(frozen=True, slots=True)
class RemoveFinalizer:
    """Let the object go.

    Attributes:
        warning: what was left undone, for an event; empty when all is clean.
    """

    warning: str = ""


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Apply a Job and, where the operation is too large for a variable, its ConfigMap.

    Attributes:
        job: manifest.
        operation: JSON text for the ConfigMap; None where it travels in the Job itself.
    """

    job: dict[str, Any]
    operation: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Delete a Job; it stays visible until its pods have ended (foreground)."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class ApplyClaim:
    """Apply a PersistentVolumeClaim."""

    claim: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApplyModel:
    """Apply a Model that a Gallery owns."""

    model: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteModel:
    """Delete a Model that a Gallery owns; its own finalizer removes the files."""

    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class LoadIndex:
    """Have the index fetched in the background; its arrival wakes the Gallery and its Models."""


Action = (
    AddFinalizer
    | RemoveFinalizer
    | StartWorker
    | DeleteJob
    | ApplyClaim
    | ApplyModel
    | DeleteModel
    | LoadIndex
)
