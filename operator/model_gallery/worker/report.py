"""What the worker tells: JSON lines on stdout, and the result as termination message."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from model_gallery.api.conditions import Reason
from model_gallery.errors import TransientError
from model_gallery.protocol.message import to_json
from model_gallery.protocol.report import (
    AnyLine,
    InventoryLine,
    PlanLine,
    ProgressLine,
    ResultLine,
)

__all__ = ["Out", "Reporter"]

_PERIOD_SECONDS = 1.0
_WINDOW = 10
"""Progress lines over which the rate is taken: about as many seconds."""
_INVENTORY_SECONDS, _RESULT_SECONDS = 30.0, 5.0
"""How long a reader of the log is waited for, where the line matters."""


class Out(Protocol):
    """Where lines go; see `Outlet`."""

    def write(self, text: str, /) -> object:
        """Takes a line without waiting for its reader."""
        ...

    def drain(self, seconds: float) -> bool:
        """Waits for the reader of what was written; returns whether it came."""
        ...


@dataclass(slots=True)
class Reporter:
    """Writes the lines.

    Attributes:
        out: where lines go.
        termination_log: where the result goes once more; a missing folder is no error.
    """

    out: Out
    termination_log: Path
    _total: int | None = None
    _last: float = field(default_factory=time.monotonic)
    _window: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_WINDOW))

    def plan(self, line: PlanLine) -> None:
        """Tells what will be done, before the first byte."""
        self._total = line.total_bytes
        self._say(line)

    def progress(self, completed: int, path: str) -> None:
        """Tells how many bytes are on the volume, at most once a second.

        Args:
            path: of a file in transfer.
        """
        now = time.monotonic()
        if now - self._last < _PERIOD_SECONDS:
            return
        self._last = now
        self._window.append((now, completed))
        self._say(
            ProgressLine(
                completed_bytes=max(0, completed),
                total_bytes=self._total,
                bytes_per_second=self._rate(),
                file=path,
            )
        )

    def inventory(self, line: InventoryLine) -> None:
        """Tells a part of what a scan found; no other place holds it, so its reader is waited for.

        Raises:
            TransientError: Interrupted, where nobody reads it: what is not told would count as gone.
        """
        self._say(line)
        if not self.out.drain(_INVENTORY_SECONDS):
            message = "nobody reads the worker's log, and the inventory has no other place"
            raise TransientError(Reason.INTERRUPTED, message)

    def result(self, line: ResultLine) -> None:
        """Tells the end: first where nobody can hold it up, since it decides."""
        if self.termination_log.parent.is_dir():
            self.termination_log.write_text(line.termination_message(), encoding="utf-8")
        self._say(line)
        self.out.drain(_RESULT_SECONDS)

    def _rate(self) -> int | None:
        (begin, start), (end, now) = self._window[0], self._window[-1]
        if end <= begin or now < start:
            return None
        return int((now - start) / (end - begin))

    def _say(self, line: AnyLine) -> None:
        self.out.write(to_json(line) + "\n")
