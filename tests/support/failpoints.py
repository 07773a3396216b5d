"""Runs the worker with one failpoint: `python -m support.failpoints worker`.

The product has no hooks. What it calls is wrapped before it starts: mostly system calls, told apart by the
path below the volume's root that they are about, so that a point means the same whatever the product's
functions are called. The environment says which point, what is to happen there, and where that is noted.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.worker import Worker

__all__ = ["KILL", "POINTS", "Point", "at_point"]

KILL = "kill"
_ENV_POINT, _ENV_ACT, _ENV_BYTES = "FAILPOINT", "FAILPOINT_ACT", "FAILPOINT_BYTES"
_ENV_NOTE, _ENV_ROOT = "FAILPOINT_NOTE", "MODEL_GALLERY_ROOT"

_PART = r"\.modelgallery/staging/.*\.part"
_JOURNAL = r"\.modelgallery/staging/.*\.part\.journal"
_RECEIPT = r"\.modelgallery/receipts/[^.].*"
_BLOB = r"\.modelgallery/blobs/sha256/.*"
_NAME = r"(?!(.*/)?\.modelgallery)[^.].*"
"""What others see: no place of ours, and no temporary name beside a target."""


@dataclass(frozen=True)
class Point:
    """One moment in the worker's life.

    Attributes:
        call: what the worker calls then: a function of `os`, or one of the names in `_wrap`.
        place: pattern of the path that the call is about.
        after: whether the call has been made.
        turn: which of the matching calls, from 1.
    """

    call: str
    place: str = ""
    after: bool = False
    turn: int = 1


POINTS = {
    "W1 before the first request": Point("connect"),
    "W2 after the headers": Point("headers", after=True),
    "W3 in the body": Point("pwrite", _PART),
    "W4 after the write, before the sync": Point("fdatasync", _PART),
    "W4 after the sync, before the journal": Point("write", _JOURNAL),
    "W5 after the journal, before the next sync": Point("write", _JOURNAL, after=True),
    "W6 after the sync, before the digest is compared": Point("judge"),
    "W6 while it is hashed": Point("preadv", _PART),
    "W7 after the digest, before the last sync": Point("fsync", _PART),
    "P02 after the last sync, before the rename": Point("rename", _BLOB),
    "W7 after the rename, before the receipt": Point("write", r"\.modelgallery/receipts/.*"),
    "W7 after the receipt is written, before it is in its place": Point("rename", _RECEIPT),
    "W8 after the receipt, before the first publish": Point("rename", _RECEIPT, after=True),
    "W9 between two publishes": Point("link", _NAME, turn=2),
    "W9 between the temporary name and the published one": Point("rename", _NAME),
    "W9 between two replacements": Point("rename", _NAME, turn=2),
    "W10 after the publish, before the folder's sync": Point("fsync", _NAME),
    "W9 before what loaders begin with": Point("link", r".*/config\.json"),
    "W10 before the configuration is in its place": Point("rename", r"m\.yaml"),
    "W11 after the publish, before the old goes": Point("unlink", _NAME),
    "W11 after the last receipt": Point("rename", _RECEIPT, after=True, turn=2),
    "W11 before the exit": Point("result"),
    "W12 half of the names gone": Point("unlink", _NAME, turn=3),
    "W12 half of the contents gone": Point("unlink", _BLOB, turn=2),
    "W12 before the receipt goes": Point("unlink", _RECEIPT),
    "W13 an old partial was read": Point("pread", _JOURNAL, after=True),
    "W13 a file of somebody else gets its second name": Point("link", _BLOB),
    "W14 in the second block of a published file": Point("preadv", _BLOB, turn=2),
}
"""Every point by its number and meaning; several where one moment has several sides."""


def at_point(worker: Worker, name: str, act: str = KILL, *, wrote: int = 0) -> Callable[[], bool]:
    """Lets a worker's next processes meet a failpoint; returns what tells whether one has.

    Args:
        act: KILL, or the name of the error that the call ends with.
        wrote: of W3, how many bytes are written before.
    """
    note = worker.root.parent / f"reached-{worker.uid}"
    note.unlink(missing_ok=True)
    worker.module = "support.failpoints"
    worker.environment = {
        _ENV_POINT: name,
        _ENV_ACT: act,
        _ENV_BYTES: str(wrote),
        _ENV_NOTE: str(note),
    }
    return lambda: note.exists() and note.read_text() == name


class _Trap:
    """Counts what comes by, and acts once."""

    def __init__(self, name: str, act: str, wrote: int) -> None:
        self.name, self.point, self.act, self.left = name, POINTS[name], act, wrote
        self.turn, self.lock = 0, threading.Lock()
        self.root, self.note = os.path.realpath(os.environ[_ENV_ROOT]), os.environ[_ENV_NOTE]
        self.write, self.matches = os.write, re.compile(self.point.place).fullmatch

    def is_for(self, call: str, place: str) -> bool:
        if call != self.point.call or not self.matches(place):
            return False
        with self.lock:
            self.turn += 1
            return self.turn == self.point.turn

    def spring(self) -> None:
        note = os.open(self.note, os.O_WRONLY | os.O_CREAT, 0o644)
        self.write(note, self.name.encode())
        os.close(note)
        if self.act == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        number = getattr(errno, self.act)
        raise OSError(number, os.strerror(number))

    def around(self, call: str, place: Callable[..., str], real: Callable[..., Any]) -> Any:
        def wrapped(*given: Any, **more: Any) -> Any:
            if not self.is_for(call, place(*given, **more)):
                return real(*given, **more)
            if self.act == KILL and self.point.after:
                real(*given, **more)
            return self.spring()

        return wrapped

    def in_body(self, place: Callable[..., str], real: Callable[..., int]) -> Any:
        """Lets so many bytes of all files in staging pass, to the byte."""

        def wrapped(opened: int, data: memoryview, offset: int) -> int:
            if self.point.call != "pwrite" or not self.matches(place(opened)):
                return real(opened, data, offset)
            with self.lock:
                count = real(opened, data[: self.left], offset) if self.left else 0
                self.left -= count
                if count < len(data) and self.turn == 0:
                    self.turn = 1
                    self.spring()
                return real(opened, data, offset) if self.turn else count

        return wrapped

    def of_descriptor(self, opened: int, *_: Any) -> str:
        return self.below(_path_of(opened))

    def of_name(self, name: str, *, dir_fd: int | None = None) -> str:
        folder = "" if dir_fd is None else _path_of(dir_fd)
        return self.below(f"{folder}/{name}")

    def of_target(
        self, _source: str, target: str, *, dst_dir_fd: int | None = None, **_: Any
    ) -> str:
        return self.of_name(target, dir_fd=dst_dir_fd)

    def below(self, path: str) -> str:
        return os.path.relpath(path, self.root) if path.startswith(self.root) else ".modelgallery"


def _path_of(descriptor: int) -> str:
    return str(Path(f"/proc/self/fd/{descriptor}").readlink())


def _wrap(trap: _Trap) -> None:
    for call in ("write", "fsync", "fdatasync", "pread", "preadv"):
        setattr(os, call, trap.around(call, trap.of_descriptor, getattr(os, call)))
    for call in ("rename", "link"):
        setattr(os, call, trap.around(call, trap.of_target, getattr(os, call)))
    os.unlink = trap.around("unlink", trap.of_name, os.unlink)
    os.pwrite = trap.in_body(trap.of_descriptor, os.pwrite)

    from model_gallery.worker.report import Reporter  # noqa: PLC0415 - after the wrapping of `os`
    from model_gallery.worker.transfer import FileTransfer  # noqa: PLC0415

    def nowhere(*_: Any, **__: Any) -> str:
        return ""

    def of_body(response: http.client.HTTPResponse) -> str:
        # The probe asks for one byte, and is not what is meant.
        begun(response)
        return "" if (response.length or 0) > 1 else "probe"

    begun = http.client.HTTPResponse.begin
    holders: list[tuple[str, Any, str]] = [
        ("connect", socket.socket, "connect"),
        ("judge", FileTransfer, "problem"),
        ("result", Reporter, "result"),
    ]
    for call, holder, name in holders:
        setattr(holder, name, trap.around(call, nowhere, getattr(holder, name)))
    http.client.HTTPResponse.begin = trap.around("headers", of_body, lambda _: None)  # type: ignore[method-assign]


def main() -> int:
    """Sets the trap that the environment describes and becomes the worker."""
    environment = os.environ
    trap = _Trap(environment[_ENV_POINT], environment[_ENV_ACT], int(environment[_ENV_BYTES]))
    _wrap(trap)
    from model_gallery import cli  # noqa: PLC0415 - it must find everything wrapped

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
