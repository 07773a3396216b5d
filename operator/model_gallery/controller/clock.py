"""The controller's one look at the clock; decisions get the time as an argument."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["now"]


def now() -> datetime:
    """Returns the present moment, in UTC."""
    return datetime.now(UTC)  # noqa: TID251 - this is the one place
