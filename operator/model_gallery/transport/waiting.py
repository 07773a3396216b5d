"""How long to wait before another try."""

from __future__ import annotations

import random

__all__ = ["LONGEST_ASKED_SECONDS", "seconds_before_try"]

_BASE_SECONDS = 1.0
_CAP_SECONDS = 30.0
LONGEST_ASKED_SECONDS = 60.0
"""A server that asks for more is the business of the Job's own backoff."""


def seconds_before_try(failures: int, asked: float | None) -> float:
    """Returns the seconds to wait after `failures` tries in a row that brought no byte.

    Args:
        asked: what the server asked for, in seconds.
    """
    delay = 0.0
    if failures > 0:
        delay = min(_CAP_SECONDS, _BASE_SECONDS * 2 ** (failures - 1)) * random.uniform(0.8, 1.2)  # noqa: S311
    return max(delay, asked or 0.0)
