"""Plain YAML scalars, read as go-yaml reads them.

Galleries are written for LocalAI, which reads them with go-yaml v3. PyYAML's own rules are those of
YAML 1.1, where `on`, `12:30` and dates are no text and `1e-5` is; a configuration read by them and
written back would say something else to LocalAI.
"""

from __future__ import annotations

import math
import re

__all__ = ["FLOAT", "INTEGER", "Scalar", "resolve"]

Scalar = str | int | float | bool | None

INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)\Z")
FLOAT = re.compile(r"[-+]?(?:\.[0-9][0-9_]*|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?\Z")

_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")
_NUMBER_STARTS = frozenset("0123456789+-.")
_MAX_NUMBER_LENGTH = 400
"""Longer ones are out of every number's range; Python refuses to read integers of 4,300 digits."""
_BASES = {"0b": 2, "0o": 8, "0x": 16}


def resolve(text: str) -> Scalar:
    """Returns the value that an unquoted scalar stands for.

    Raises:
        ValueError: infinities and NaN, which JSON and thus the API server cannot hold.
    """
    if text[:1] in _NUMBER_STARTS and len(text) <= _MAX_NUMBER_LENGTH:
        return _number(text)
    return _CONSTANTS.get(text, text)


def _number(text: str) -> Scalar:
    if not text:
        return None
    if INTEGER.match(text):
        value = _integer(text.replace("_", ""))
        return value if -(2**63) <= value < 2**64 else float(value)
    if FLOAT.match(text):
        number = float(text.replace("_", ""))
        return number if math.isfinite(number) else text
    if _NOT_FINITE.match(text):
        raise ValueError("must be a finite number")
    return text


def _integer(text: str) -> int:
    negative = text[0] == "-"
    digits = text.lstrip("+-")
    base = _BASES.get(digits[:2])
    if base is None:
        base = 8 if digits[0] == "0" else 10
    else:
        digits = digits[2:]
    value = int(digits or "0", base)
    return -value if negative else value
