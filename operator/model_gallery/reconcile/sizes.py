"""Sizes for people."""

from __future__ import annotations

__all__ = ["to_text"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


def to_text(size_bytes: int) -> str:
    """Returns the size with one decimal in the largest fitting unit, as `4.1 GiB`."""
    size = float(size_bytes)
    for unit in _UNITS:
        if size < _STEP or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= _STEP
    raise AssertionError(size_bytes)
