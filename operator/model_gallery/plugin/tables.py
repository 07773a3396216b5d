"""Tables as kubectl prints them: aligned columns, no boxes, no colours. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

__all__ = ["Table", "age", "cut", "duration", "percent", "render"]

_GAP = "   "
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}
_STEPS = (
    (2 * _SECONDS["m"], "s", ""),
    (10 * _SECONDS["m"], "m", "s"),
    (3 * _SECONDS["h"], "m", ""),
    (8 * _SECONDS["h"], "h", "m"),
    (2 * _SECONDS["d"], "h", ""),
    (8 * _SECONDS["d"], "d", "h"),
    (2 * _SECONDS["y"], "d", ""),
)
"""Below so many seconds, the unit and what follows it, as kubectl rounds."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows below a header; every row has as many cells as the header."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def render(table: Table) -> str:
    """Returns the table's lines, each column as wide as its widest cell."""
    lines = [table.header, *(tuple(map(_printable, row)) for row in table.rows)]
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        _GAP.join(
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def age(then: datetime | None, now: datetime) -> str:
    """Returns how long ago it was, as kubectl's AGE; `<unknown>` without a moment."""
    return "<unknown>" if then is None else duration((now - then).total_seconds())


def duration(seconds: float) -> str:
    """Returns a duration with the precision that people want: `119s`, `5m30s`, `3h`, `2d4h`, `40d`."""
    left = max(0, int(seconds))
    for below, large, small in _STEPS:
        if left < below:
            return _pair(left, large, small)
    return _pair(left, "y", "d")


def percent(part: int, whole: int | None) -> str:
    """Returns the part as whole percent; empty where the whole is not known."""
    return f"{min(100, part * 100 // whole)}%" if whole else ""


def cut(text: str, width: int) -> str:
    """Returns the text as one line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else line[: width - 1].rstrip() + "…"


def _pair(seconds: int, large: str, small: str) -> str:
    text = f"{seconds // _SECONDS[large]}{large}"
    rest = seconds % _SECONDS[large] // _SECONDS[small] if small else 0
    return f"{text}{rest}{small}" if rest else text


def _printable(cell: str) -> str:
    """Names and descriptions come from others; a terminal must not obey them."""
    return "".join(
        character if unicodedata.category(character)[0] != "C" else " " for character in cell
    )


def _width(text: str) -> int:
    """Columns of a terminal: wide characters take two, combining ones none."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )
