"""Sizes as people and as Kubernetes write them."""

from __future__ import annotations

import re

__all__ = ["from_quantity", "to_text"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024
_QUANTITY = re.compile(r"([0-9.]+)([KMGTP]i?|k|m)?\Z")
_FACTORS = {
    "m": 0.001,
    "k": 1000,
    **{f"{unit}i": 1024 ** (power + 1) for power, unit in enumerate("KMGTP")},
    **{unit: 1000 ** (power + 1) for power, unit in enumerate("KMGTP")},
}


def to_text(size_bytes: int) -> str:
    """Returns the size with one decimal in the largest fitting unit, as `4.1 GiB`."""
    size = float(size_bytes)
    for unit in _UNITS:
        if size < _STEP or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _STEP
    raise AssertionError(size_bytes)


def from_quantity(text: str) -> int | None:
    """Returns the bytes of a Kubernetes quantity; None for what is none, as for empty text."""
    match = _QUANTITY.match(text)
    if match is None:
        return None
    return int(float(match[1]) * _FACTORS.get(match[2] or "", 1))
