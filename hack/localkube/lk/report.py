"""What the person at the terminal sees: steps with their times, and failures."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TAIL_LINES = 15


class LocalkubeError(Exception):
    """A failure that is told to the user in words, with the log to read."""

    def __init__(self, message: str, log: Path | None = None, code: int = 1) -> None:
        super().__init__(message)
        self.log = log
        self.code = code


def say(message: str) -> None:
    """Print one line of progress; standard output is kept for answers."""
    print(message, file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Announce a step and say how long it took."""
    started = time.monotonic()
    say(f"localkube: {what} ...")
    yield
    say(f"localkube: {what}: done in {time.monotonic() - started:.1f} s")


def tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, or an empty string."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def report_failure(error: LocalkubeError) -> int:
    """Print a failure with the log to read and its last lines; return the exit code."""
    say(f"localkube: error: {error}")
    if error.log is not None:
        say(f"localkube: see {error.log}; its last lines:")
        say(tail(error.log))
    return error.code
