"""A limit on bytes per second, shared by all connections of a worker."""

from __future__ import annotations

import threading
import time

__all__ = ["Throttle"]

_BURST_SECONDS = 0.5


class Throttle:
    """Tells each connection how long to wait after what it took. Safe to use from several threads.

    Args:
        bytes_per_second: 0: no limit.
    """

    def __init__(self, bytes_per_second: int) -> None:
        self._rate = bytes_per_second
        self._lock = threading.Lock()
        self._paid_until = time.monotonic()

    def seconds_after(self, count: int) -> float:
        """Books `count` bytes; returns for how many seconds their taker must rest."""
        if not self._rate:
            return 0.0
        with self._lock:
            now = time.monotonic()
            self._paid_until = max(self._paid_until, now - _BURST_SECONDS) + count / self._rate
            return max(0.0, self._paid_until - now)

    def take(self, count: int) -> None:
        """Books `count` bytes and rests for as long as that asks for."""
        seconds = self.seconds_after(count)
        if seconds:
            time.sleep(seconds)  # noqa: TID251 - transport may wait
