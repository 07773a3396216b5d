"""Whether the event loop still turns: a beat each second, and how old the last one is."""

from __future__ import annotations

import asyncio

__all__ = ["Heartbeat"]

_PERIOD = 1.0


class Heartbeat:
    """Beats in the running event loop.

    Args:
        limit: seconds after which a missing beat means that something blocks the loop.
    """

    def __init__(self, *, limit: float = 10.0) -> None:
        self._limit = limit
        self._last = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins to beat."""
        loop = asyncio.get_running_loop()
        self._last = loop.time()
        self._timer = loop.call_later(_PERIOD, self.start)

    def stop(self) -> None:
        """Beats no more."""
        if self._timer is not None:
            self._timer.cancel()

    def alive(self) -> bool:
        """Tells whether the last beat is young enough."""
        return asyncio.get_running_loop().time() - self._last < self._limit
