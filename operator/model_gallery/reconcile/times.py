"""Times as the API writes them: RFC 3339, UTC, whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["from_text", "to_text"]


def to_text(moment: datetime) -> str:
    """Returns the moment as `2026-01-02T03:04:05Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_text(text: str) -> datetime:
    """Returns the moment of an API timestamp.

    Raises:
        ValueError: the text is no RFC 3339 time.
    """
    return datetime.fromisoformat(text)
