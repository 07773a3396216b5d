"""What objects say, read tolerantly: the operator may be older or newer than this program. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from model_gallery.api.conditions import ConditionType, Reason
from model_gallery.reconcile import sizes, times

__all__ = [
    "Fact",
    "Verdict",
    "condition",
    "created",
    "listed_loose",
    "moment",
    "name_of",
    "progress_text",
    "size_text",
    "spec_of",
    "status_of",
    "verdict",
]

Object = Mapping[str, Any]


class Verdict(Enum):
    """What a wait for a Model comes to."""

    READY = "Ready"
    FAILED = "Failed"
    """It will not become Ready before a person acts: Stalled, held by a wish, being deleted, or gone."""
    PENDING = "Pending"


@dataclass(frozen=True, slots=True)
class Fact:
    """A condition; all fields empty where there is none."""

    status: str = ""
    reason: str = ""
    message: str = ""


def name_of(found: Object) -> str:
    """Returns `metadata.name`."""
    return str(found["metadata"]["name"])


def spec_of(found: Object) -> Object:
    """Returns the spec."""
    return found.get("spec") or {}


def status_of(found: Object) -> Object:
    """Returns the status; empty where nothing was observed yet."""
    return found.get("status") or {}


def created(found: Object) -> datetime | None:
    """Returns when the object was created."""
    return moment(found["metadata"].get("creationTimestamp"))


def moment(text: Any) -> datetime | None:
    """Returns the moment of an API timestamp; None without one."""
    try:
        return times.from_text(str(text)) if text else None
    except ValueError:
        return None


def condition(found: Object, kind: ConditionType) -> Fact:
    """Returns the condition of the type."""
    for entry in status_of(found).get("conditions") or ():
        if entry.get("type") == kind.value:
            return Fact(
                str(entry.get("status", "")),
                str(entry.get("reason", "")),
                str(entry.get("message", "")),
            )
    return Fact()


def verdict(found: Object | None) -> tuple[Verdict, str]:
    """Returns what a Model came to, and why, as one line.

    Args:
        found: None where it is gone.
    """
    if found is None:
        return Verdict.FAILED, "it is not there"
    if found["metadata"].get("deletionTimestamp"):
        return Verdict.FAILED, "it is being deleted"
    observed = status_of(found).get("observedGeneration", -1)
    if observed != found["metadata"].get("generation", observed):
        return Verdict.PENDING, "not observed yet"
    return _concluded(found)


def _concluded(found: Object) -> tuple[Verdict, str]:
    """Returns the verdict over conditions of the present generation."""
    ready, stalled = condition(found, ConditionType.READY), condition(found, ConditionType.STALLED)
    if stalled.status == "True":
        return Verdict.FAILED, _why(stalled)
    if ready.reason == Reason.SUSPENDED and spec_of(found).get("suspend"):
        return Verdict.FAILED, f"Suspended: `kubectl model resume {name_of(found)}` goes on"
    if ready.status == "True":
        return Verdict.READY, "ready"
    if ready.status == "False":
        return Verdict.FAILED, _why(ready)
    return Verdict.PENDING, ready.reason or "not observed yet"


def size_text(found: Object) -> str:
    """Returns the size of a Model's files for people; empty while it is not known."""
    size = status_of(found).get("sizeBytes")
    return sizes.to_text(size) if isinstance(size, int) else ""


def progress_text(found: Object) -> str:
    """Returns a transfer as one phrase, such as `1.2 GiB of 4.0 GiB (30%), 80.0 MiB/s`; else empty."""
    progress = status_of(found).get("progress")
    if not progress:
        return ""
    completed, total = progress.get("completedBytes", 0), progress.get("totalBytes")
    text = sizes.to_text(completed)
    if total:
        text += f" of {sizes.to_text(total)} ({min(100, completed * 100 // total)}%)"
    rate = progress.get("bytesPerSecond")
    return f"{text}, {sizes.to_text(rate)}/s" if rate else text


def listed_loose(gallery: Object) -> Sequence[Object] | None:
    """Returns the loose files that a Gallery lists; None where it lists nothing at all."""
    listing = status_of(gallery).get("listing")
    if not listing:
        return None
    return [model for model in listing.get("models") or () if model.get("kind") == "Loose"]


def _why(fact: Fact) -> str:
    return f"{fact.reason}: {fact.message}" if fact.message else fact.reason
