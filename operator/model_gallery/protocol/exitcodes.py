"""Reason, exit code, class: the one table.

The Job's podFailurePolicy, the worker's exit, docs/reasons.md and the controller's reading of a dead
worker are all made from it. The codes are a stable contract (docs/spec/worker.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from model_gallery.api.conditions import Reason

__all__ = ["OOM_KILLED", "SIGKILLED", "SUCCESS", "TABLE", "Class", "Row", "by_code", "by_reason"]

SUCCESS = 0
SIGKILLED = 137
OOM_KILLED = "OOMKilled"
"""The container status reason that the kubelet gives for a kill by the memory limit."""


class Class(StrEnum):
    """What a failure asks for."""

    TRANSIENT = "transient"
    """May pass: retried with backoff."""
    STALLED = "stalled"
    """Only a person can mend it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        recheck_seconds: a stalled Model is tried again after this long, since the cause may have
            gone without a change of any object (space freed, file uploaded); None: never.
    """

    code: int
    reason: Reason
    klass: Class
    recheck_seconds: int | None = None


_FIVE_MINUTES = 300
_ONE_HOUR = 3600

TABLE: tuple[Row, ...] = (
    Row(10, Reason.UNREACHABLE, Class.TRANSIENT),
    Row(11, Reason.SERVER_ERROR, Class.TRANSIENT),
    Row(12, Reason.RATE_LIMITED, Class.TRANSIENT),
    Row(13, Reason.INTERRUPTED, Class.TRANSIENT),
    Row(14, Reason.TERMINATED, Class.TRANSIENT),
    Row(20, Reason.NOT_FOUND, Class.STALLED, _ONE_HOUR),
    Row(21, Reason.UNAUTHORIZED, Class.STALLED, _FIVE_MINUTES),
    Row(22, Reason.TARGET_NOT_ALLOWED, Class.STALLED),
    Row(23, Reason.CERTIFICATE_INVALID, Class.STALLED, _ONE_HOUR),
    Row(24, Reason.TOO_MANY_REDIRECTS, Class.STALLED),
    Row(25, Reason.SECRET_NOT_ALLOWED, Class.STALLED, _FIVE_MINUTES),
    Row(26, Reason.SOURCE_INVALID, Class.STALLED, _ONE_HOUR),
    Row(30, Reason.CHECKSUM_MISMATCH, Class.STALLED),
    Row(31, Reason.SIZE_MISMATCH, Class.STALLED),
    Row(32, Reason.UNSAFE_FORMAT, Class.STALLED),
    Row(33, Reason.INVALID_FORMAT, Class.STALLED),
    Row(34, Reason.UNSAFE_PATH, Class.STALLED),
    Row(35, Reason.SOURCE_CHANGED, Class.TRANSIENT),
    Row(36, Reason.CHECKSUM_REQUIRED, Class.STALLED),
    Row(37, Reason.SIGNATURE_MISSING, Class.STALLED, _ONE_HOUR),
    Row(38, Reason.SIGNATURE_INVALID, Class.STALLED, _ONE_HOUR),
    Row(40, Reason.NO_SPACE, Class.STALLED, _FIVE_MINUTES),
    Row(41, Reason.READ_ONLY_VOLUME, Class.STALLED, _FIVE_MINUTES),
    Row(42, Reason.VOLUME_IO_ERROR, Class.TRANSIENT),
    Row(43, Reason.PATH_CONFLICT, Class.STALLED, _FIVE_MINUTES),
    Row(44, Reason.QUOTA_EXCEEDED, Class.STALLED, _FIVE_MINUTES),
    Row(50, Reason.INVALID_SPEC, Class.STALLED, _ONE_HOUR),
    Row(60, Reason.INTERNAL_ERROR, Class.TRANSIENT),
)

_BY_CODE = {row.code: row for row in TABLE}
_BY_REASON = {row.reason: row for row in TABLE}


def by_code(code: int) -> Row | None:
    """Returns the row of an exit code, or None for a code that is not ours."""
    return _BY_CODE.get(code)


def by_reason(reason: Reason) -> Row | None:
    """Returns the row of a reason, or None for a reason that no worker gives."""
    return _BY_REASON.get(reason)
