"""A stream into the pod's log that never holds anybody up.

Whoever reads the log may stop: a runtime whose disk is full, a kubelet that is busy. A transfer must not
wait for that, so lines are written by a thread of their own and the oldest are lost where too many wait.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque

__all__ = ["Outlet"]

_MOST_LINES = 64
"""That wait: a minute of progress."""


class Outlet:
    """As much of a text stream as lines of a log need. Safe to use from several threads.

    Args:
        descriptor: where bytes go; stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque(maxlen=_MOST_LINES)
        self._is_writing = self._is_stuck = False
        self._changed = threading.Condition()
        threading.Thread(target=self._write_all, name="outlet", daemon=True).start()

    def write(self, text: str) -> int:
        """Takes whole lines; returns at once."""
        with self._changed:
            self._lines.append(text.encode(errors="replace"))
            self._changed.notify_all()
        return len(text)

    def flush(self) -> None:
        """Does nothing: logging asks for it after each line."""

    def drain(self, seconds: float) -> bool:
        """Waits until all lines are written; no longer than that, and not again once it was in vain."""
        with self._changed:
            written = self._changed.wait_for(self._is_idle, 0 if self._is_stuck else seconds)
            self._is_stuck = not written
            return written

    def _is_idle(self) -> bool:
        return not self._lines and not self._is_writing

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._lines)
                line, self._is_writing = self._lines.popleft(), True
            # Nobody is there to be told that nobody reads.
            with contextlib.suppress(OSError):
                while line:
                    line = line[os.write(self._descriptor, line) :]
