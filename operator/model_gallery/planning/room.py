"""Room for an install: what it needs must be free before the first byte, with a reserve.

What was replaced is kept for a way back, but only while nobody lacks the room.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.planning.install import Plan

__all__ = ["Kept", "check_bytes", "check_free", "check_quota", "given_up", "lacking", "missing"]

_RESERVE = 0.05
_INODES_PER_FILE = 3
"""The staged file, its journal, and the published name where the file system copies."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A content that lies on the volume for a way back alone, and under no other name.

    Attributes:
        until: when its time is over, seconds since the epoch.
    """

    sha256: str
    size_bytes: int
    until: int


def lacking(plan: Plan, staged_bytes: int, free_bytes: int) -> int:
    """Returns how many bytes are missing on the volume.

    Args:
        staged_bytes: what an earlier attempt has fetched already.
    """
    return missing(_needed(plan, staged_bytes), free_bytes)


def missing(needed_bytes: int, free_bytes: int) -> int:
    """Returns how many bytes are missing, with the reserve."""
    return max(0, int(needed_bytes * (1 + _RESERVE)) - free_bytes)


def given_up(kept: Iterable[Kept], missing_bytes: int) -> tuple[str, ...]:
    """Returns the contents that go to make room, those first whose time is over soonest.

    None goes where all of them together would not make the room: they would be lost for nothing.
    """
    kept = sorted(kept, key=lambda content: (content.until, content.sha256))
    if missing_bytes <= 0 or sum(content.size_bytes for content in kept) < missing_bytes:
        return ()
    made, going = 0, []
    for content in kept:
        if made >= missing_bytes:
            break
        made += content.size_bytes
        going.append(content.sha256)
    return tuple(going)


def check_free(plan: Plan, staged_bytes: int, free_bytes: int, free_inodes: int) -> None:
    """Refuses a plan for which the volume has no room.

    Args:
        staged_bytes: what an earlier attempt has fetched already.

    Raises:
        StalledError: NoSpace, with what is needed and what is free.
    """
    check_bytes(_needed(plan, staged_bytes), free_bytes)
    inodes = _INODES_PER_FILE * len(plan.steps)
    if inodes > free_inodes:
        raise StalledError(
            Reason.NO_SPACE,
            f"{inodes} inodes are needed and {free_inodes} are free on the volume",
        )


def check_bytes(needed_bytes: int, free_bytes: int, purpose: str = "") -> None:
    """Refuses what the volume has no room for.

    Args:
        purpose: what it is for, as a part of the sentence.

    Raises:
        StalledError: NoSpace, with what is needed and what is free.
    """
    lacks = missing(needed_bytes, free_bytes)
    if lacks:
        raise StalledError(
            Reason.NO_SPACE,
            f"{needed_bytes} bytes are needed{purpose and f' {purpose}'} and {free_bytes} are free on the"
            f" volume (a reserve of {_RESERVE:.0%} included); free some or enlarge it",
            missing_bytes=lacks,
        )


def check_quota(plan: Plan, quota_bytes: int | None) -> None:
    """Refuses a plan whose files are larger than what the Gallery has left for them.

    Raises:
        StalledError: QuotaExceeded, with both sizes.
    """
    size = sum(step.wanted.size_bytes or 0 for step in plan.steps)
    if quota_bytes is not None and size > quota_bytes:
        raise StalledError(
            Reason.QUOTA_EXCEEDED,
            f"{size} bytes are needed and storage.maxBytes of the Gallery leaves {max(0, quota_bytes)};"
            " raise it or remove a Model",
            missing_bytes=size - max(0, quota_bytes),
        )


def _needed(plan: Plan, staged_bytes: int) -> int:
    known = sum(step.wanted.size_bytes or 0 for step in plan.steps if step.fetch)
    return max(0, known - staged_bytes)
