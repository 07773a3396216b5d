"""Outcomes of a step: the first step that is not Done decides.

| outcome | meaning | Ready | beside it |
| --- | --- | --- | --- |
| Done | the world is as wished | True | |
| Act | effects are due; look again after them | Unknown | Reconciling |
| Act beside Done | effects are due that change nothing of what is | True | |
| Wait | something must happen first | Unknown | Reconciling |
| Pause | a person asked to hold still | False | |
| Stall | only a person can mend it | False | Stalled |
"""

from __future__ import annotations

from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.reconcile.actions import Action

__all__ = ["Act", "Done", "Outcome", "Pause", "Stall", "Wait", "recheck_seconds"]


@dataclass(frozen=True, slots=True)
class Done:
    """The world is as wished.

    Attributes:
        message: what holds, for the Ready condition.
        recheck_seconds: when to look again without an event; None: never.
    """

    message: str = ""
    recheck_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """Effects are due. After them the object is observed and decided anew.

    Attributes:
        beside: what holds meanwhile; None: nothing does until they are done.
    """

    actions: tuple[Action, ...]
    reason: Reason
    message: str
    beside: Done | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Something must happen first; an event, or at the latest the time, wakes the object."""

    reason: Reason
    message: str
    retry_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """A person asked to hold still.

    Attributes:
        recheck_seconds: look again after this long, where something is still to be shown.
    """

    reason: Reason
    message: str
    recheck_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Stall:
    """Only a person can mend it.

    Attributes:
        recheck_seconds: try again after this long, where the cause may go by itself.
    """

    reason: Reason
    message: str
    recheck_seconds: float | None = None


Outcome = Done | Act | Wait | Pause | Stall


def recheck_seconds(outcome: Outcome) -> float | None:
    """Returns when to look again without an event; None: never."""
    match outcome:
        case Wait(retry_seconds=seconds):
            return seconds
        case Act():
            return None
        case _:
            return outcome.recheck_seconds
