"""Runs the worker and ends it, or makes it fail, at one point: `failpoint.py POINT WHEN COUNT ACTION`.

The product knows nothing of it: POINT is `module:name`, wrapped before the worker starts. WHEN is
`before` or `after`, COUNT which call of it, ACTION `kill` (SIGKILL, nothing is cleaned up) or the name of
an errno that the call raises instead.
"""

from __future__ import annotations

import errno
import functools
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from model_gallery import cli

__all__ = ["arm", "main"]


def arm(point: str, when: str, count: int, action: str) -> None:
    """Wraps the function or method that the point is named after."""
    module, _, path = point.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for part in classes:
        owner = getattr(owner, part)
    kept = owner.__dict__[name]
    is_class = isinstance(kept, classmethod)
    wrapped = _wrapped(kept.__func__ if is_class else kept, when, count, action)
    setattr(owner, name, classmethod(wrapped) if is_class else wrapped)


def _wrapped(kept: Callable[..., Any], when: str, count: int, action: str) -> Callable[..., Any]:
    calls, lock = [0], threading.Lock()

    @functools.wraps(kept)
    def at_the_point(*arguments: Any, **more: Any) -> Any:
        with lock:
            calls[0] += 1
            hit = calls[0] == count
        if hit and when == "before":
            _act(action)
        result = kept(*arguments, **more)
        if hit and when == "after":
            _act(action)
        return result

    return at_the_point


def _act(action: str) -> None:
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    number = getattr(errno, action)
    raise OSError(number, os.strerror(number))


def main() -> int:
    """Returns the worker's exit code."""
    point, when, count, action = sys.argv[1:5]
    arm(point, when, int(count), action)
    return cli.main(["worker"])


if __name__ == "__main__":
    sys.exit(main())
