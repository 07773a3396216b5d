"""Waiting between two tries: the one place outside of runtime/ that sleeps."""

from __future__ import annotations

import random
import time

__all__ = ["wait_before_try"]

_BASE_SECONDS = 1.0
_CAP_SECONDS = 30.0
_MAX_ASKED_SECONDS = 60.0


def wait_before_try(failures: int, asked: float | None) -> bool:
    """Waits before the next try.

    Args:
        failures: tries in a row that brought no byte; 0 waits not at all.
        asked: what the server asked for.

    Returns:
        False, at once, where the server asked for more than a minute: that is the Job's business.
    """
    if asked is not None and asked > _MAX_ASKED_SECONDS:
        return False
    delay = 0.0
    if failures > 0:
        delay = min(_CAP_SECONDS, _BASE_SECONDS * 2 ** (failures - 1)) * random.uniform(0.8, 1.2)  # noqa: S311
    time.sleep(max(delay, asked or 0.0))  # noqa: TID251 - this is the place
    return True
