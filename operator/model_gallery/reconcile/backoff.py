"""From failed attempts to the delay before the next one."""

from __future__ import annotations

__all__ = ["delay_seconds"]

_BASE_SECONDS = 15.0
_CAP_SECONDS = 900.0
_SPREAD = 0.2


def delay_seconds(attempts: int, jitter: float, asked: float | None = None) -> float:
    """Returns how long to wait before the next attempt.

    Args:
        attempts: failed attempts in a row, at least 1.
        jitter: a random number in [0, 1), passed in to keep decisions pure.
        asked: seconds that the source asked for; never undercut, at most an hour. All who were told the
            same moment would come at once then, so they are spread behind it.
    """
    exponent = min(max(attempts, 1) - 1, 10)
    delay = min(_CAP_SECONDS, _BASE_SECONDS * float(1 << exponent))
    return max(delay, min(asked or 0.0, 3600.0)) * (1 + _SPREAD * jitter)
