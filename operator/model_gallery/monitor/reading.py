"""Reads single fields of what backends answer. Nothing here raises: what makes no sense is absent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

__all__ = [
    "MAX_MODELS",
    "added",
    "basename",
    "count",
    "items",
    "mapping",
    "milliseconds",
    "moment",
    "name",
    "number",
    "others",
    "owner",
    "plus",
    "sentence",
]

MAX_MODELS = 512
"""Of one backend; the rest is left out. No pod serves as many, but a hostile one can list them."""
_MAX_NAME = 512
_MAX_SENTENCE = 200
_MAX_ALIASES = 16
_MAX_COUNT = 2**63 - 1
"""What a Kubernetes object can hold as an integer."""
_YEARS = range(1970, 9000)


def mapping(value: Any) -> Mapping[str, Any]:
    """Returns the object, or an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """Returns the first elements of the array, or none."""
    return value[:MAX_MODELS] if isinstance(value, list) else []


def name(value: Any) -> str:
    """Returns a name or path that can be shown and stored, else an empty text; never a part of it."""
    usable = isinstance(value, str) and len(value) <= _MAX_NAME and value.isprintable()
    return value if usable else ""


def others(first: str, values: Iterable[Any]) -> tuple[str, ...]:
    """Returns the usable names among the values, each once, without the first."""
    found = dict.fromkeys(map(name, values))
    return tuple(text for text in found if text not in {"", first})[:_MAX_ALIASES]


def owner(listing: Any) -> str:
    """Returns who owns the first model of OpenAI's `/v1/models`."""
    data = items(mapping(listing).get("data"))
    return name(mapping(data[0]).get("owned_by")) if data else ""


def basename(path: str) -> str:
    """Returns the last part of a path or of an owner/name."""
    return path.rstrip("/").rpartition("/")[2]


def number(value: Any) -> float | None:
    """Returns a finite number that is not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= _MAX_COUNT or not math.isfinite(value):
        return None
    return float(value)


def count(value: Any) -> int | None:
    """Returns a whole number that is not negative and that Kubernetes can hold."""
    if number(value) is None or (isinstance(value, float) and not value.is_integer()):
        return None
    return int(value)


def plus(*parts: int | None) -> int | None:
    """Returns the sum of what is known; None where nothing is, or it is too large to be a count."""
    known = [part for part in parts if part is not None]
    return count(sum(known)) if known else None


def added(*parts: float | None) -> float | None:
    """As `plus`, of any numbers; None also where the sum is too large to be one."""
    known = [part for part in parts if part is not None]
    total = sum(known) if known else math.nan
    return total if math.isfinite(total) else None


def moment(value: Any) -> datetime | None:
    """Returns a time of RFC 3339; one without zone is none."""
    if not isinstance(value, str):
        return None
    try:
        found = datetime.fromisoformat(value)
        if found.tzinfo is None or found.year not in _YEARS:
            return None
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def milliseconds(value: Any) -> datetime | None:
    """Returns the time of a count since 1970; 0 means never."""
    known = count(value)
    if not known:
        return None
    try:
        return datetime.fromtimestamp(known / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def sentence(value: Any) -> str:
    """Returns a text in one line, cut, without anything that cannot be shown."""
    if not isinstance(value, str):
        return ""
    # More than is kept, since what cannot be shown goes first.
    head = value[: 4 * _MAX_SENTENCE]
    shown = "".join(char if char.isprintable() else " " for char in head)
    return " ".join(shown.split())[:_MAX_SENTENCE]
