"""The error classes, a leaf that every room may import.

    GalleryError
     +-- TransientError   may pass by itself: backoff, `Reconciling=True`
     +-- WaitingError     something else must happen first; nobody failed
     +-- StalledError     only a person can mend it: `Stalled=True`, no retry

An error is classified once, where it arises, and carries the reason and the sentence that the
object's condition will show. Anything that is none of these is a bug, caught in exactly two places:
`runtime/workqueue` and `worker/main`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from model_gallery.api.conditions import Reason

__all__ = ["GalleryError", "StalledError", "TransientError", "WaitingError"]


class GalleryError(Exception):
    """What all our errors share.

    Attributes:
        reason: member of the one list of reasons.
        message: one sentence that names the thing to change; shown to users as it is.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        # What a source calls something may be half of a surrogate pair, which no JSON text can hold.
        message = message.encode(errors="backslashreplace").decode()
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class TransientError(GalleryError):
    """May pass by itself; retried with backoff.

    Attributes:
        retry_after: seconds that the other side asked us to wait, where it did.
    """

    def __init__(self, reason: Reason, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


class WaitingError(GalleryError):
    """Something else must happen first; not counted as an attempt.

    Attributes:
        retry_after: seconds after which to look again, if no event comes before.
    """

    def __init__(self, reason: Reason, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


class StalledError(GalleryError):
    """Only a person can mend it; not retried before the wish or the named input changes.

    Attributes:
        missing_bytes: the room that is missing, where that is what it is about.
    """

    def __init__(self, reason: Reason, message: str, *, missing_bytes: int | None = None) -> None:
        super().__init__(reason, message)
        self.missing_bytes = missing_bytes
