"""How models are served: the states that a model can have in a backend."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["ServingState"]


class ServingState(StrEnum):
    """Where a model stands in a backend, or in all of them together."""

    UNLOADED = "Unloaded"
    """No backend holds it in memory."""
    LOADING = "Loading"
    """It is being read into memory."""
    LOADED = "Loaded"
    """It is in memory and has no request."""
    BUSY = "Busy"
    """It is in memory and works on a request."""
    ERROR = "Error"
    """The backend failed to load it."""
    UNKNOWN = "Unknown"
    """The backend does not answer, or does not tell."""
