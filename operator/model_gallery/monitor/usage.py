"""Edge: which processes there are, what they cost, and which files of the volume they use.

What a process costs is readable by everybody. Which files it uses is told only to one who could trace
it: the same user, and no capability that the reader lacks. A process that hides its files is told with
`visible=False`, never left out.
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from model_gallery.monitor import mounts
from model_gallery.monitor.attribution import FileUse, OwnedFiles, ProcessSample, Snapshot

__all__ = ["ProcessReader", "mapped_device", "place_of"]

_MAX_PIDS = 4096
_MAX_MAPPINGS = 262_144
"""Lines of one maps file; four times the kernel's own default limit of mappings."""
_LINES_OF_MAPPING = 32
"""Lines for each mapping in smaps; 25 at present."""
_MAX_DESCRIPTORS = 16_384
_MAX_MOUNTS = 4096
_PAUSE = (1, "pause")
_HEXADECIMAL = frozenset("0123456789abcdef")
_GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.EINVAL})
"""What the kernel answers of a process that has ended; EINVAL for its mounts, until it was waited for."""
_REST = 50
"""The kernel walks page tables for smaps: after t seconds of that, a process has 50 t without."""
_COLUMNS = 5
_KIB = 1024


class _VanishedError(Exception):
    """The process ended while it was looked at."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """Resident bytes by inode, and when they may be asked for again."""

    resident: dict[int, int]
    again_at: float


class ProcessReader:
    """Looks at all processes, again and again; remembers only what is dear to ask for.

    Args:
        clock: seconds, only forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._measured: dict[tuple[int, float], _Measured] = {}

    def read(self, owned: OwnedFiles, budget: float) -> Snapshot:
        """Returns what is to be seen now.

        Args:
            budget: seconds after which no further process is looked at, the largest being first.
        """
        moment, at = datetime.now(UTC), self._clock()  # noqa: TID251 - an edge; the report is dated
        pids = psutil.pids()
        found = [figures for pid in pids[:_MAX_PIDS] if (figures := _figures(pid)) is not None]
        found.sort(key=lambda process: -process.resident_bytes)
        seen: list[ProcessSample] = []
        truncated = len(pids) > _MAX_PIDS
        for process in found:
            if self._clock() - at > budget:
                truncated = True
                break
            try:
                seen.append(self._with_files(process, owned))
            except PermissionError:
                seen.append(replace(process, visible=False))
            except _VanishedError:
                continue
        alive = {(process.pid, process.started) for process in seen}
        self._measured = {key: value for key, value in self._measured.items() if key in alive}
        return Snapshot(moment, at, tuple(seen), truncated)

    def _with_files(self, process: ProcessSample, owned: OwnedFiles) -> ProcessSample:
        with _vanishing():
            mapped = _mapped(process.pid, owned.mapped_device)
            opened = _opened(process.pid, owned, mapped)
            uses = [FileUse(inode, path, mapped=True) for inode, path in mapped.items()]
            uses += [FileUse(inode, path) for inode, path in opened.items()]
            uses = list(_of_models(process.pid, uses, owned))
            if any(use.mapped for use in uses):
                resident = self._resident(process, owned)
                uses = [
                    replace(use, resident_bytes=resident.get(use.inode)) if use.mapped else use
                    for use in uses
                ]
        return replace(process, uses=tuple(uses))

    def _resident(self, process: ProcessSample, owned: OwnedFiles) -> dict[int, int]:
        """Returns resident bytes by inode, maybe those of a while ago."""
        key, began = (process.pid, process.started), self._clock()
        known = self._measured.get(key)
        if known is not None and began < known.again_at:
            return known.resident
        resident = _resident(process.pid, owned.mapped_device)
        ended = self._clock()
        self._measured[key] = _Measured(resident, ended + _REST * (ended - began))
        return resident


def mapped_device(descriptor: int) -> str | None:
    """Returns how /proc/<pid>/maps writes the device of an open file; None where that is not told.

    Some file systems (btrfs, stacked ones) have another number there than stat tells, so the file is
    mapped and looked up.
    """
    wanted = str(os.fstat(descriptor).st_ino)
    try:
        with (
            mmap.mmap(descriptor, 1, prot=mmap.PROT_READ),
            Path("/proc/self/maps").open(errors="replace") as lines,
        ):
            for line in itertools.islice(lines, _MAX_MAPPINGS):
                columns = line.split(None, _COLUMNS)
                if columns[4] == wanted:
                    return columns[3]
    except (OSError, ValueError):
        return None
    return None


def place_of(path: str) -> mounts.Place | None:
    """Returns where a folder of ours lies inside its file system."""
    try:
        return mounts.place(os.path.realpath(path), _mounts("self"))
    except OSError:
        return None


def _figures(pid: int) -> ProcessSample | None:
    """Returns what everybody may know; None for a process that is none of the pod's own.

    That is: this process, the pause process, and what has no memory (a zombie, a thread of the kernel).
    """
    if pid == os.getpid():
        return None
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            memory, cpu = process.memory_info(), process.cpu_times()
            name = process.name()
            if memory.rss == 0 or (pid, name) == _PAUSE:
                return None
            return ProcessSample(
                pid=pid,
                started=process.create_time(),
                name=name,
                resident_bytes=memory.rss,
                shared_bytes=memory.shared,
                cpu_seconds=cpu.user + cpu.system,
                threads=process.num_threads(),
            )
    except psutil.Error:
        return None


@contextmanager
def _vanishing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _GONE:
            raise
        raise _VanishedError from error


def _lines(pid: int | str, name: str, limit: int) -> Iterator[str]:
    with Path(f"/proc/{pid}/{name}").open(errors="replace") as lines:
        yield from itertools.islice(lines, limit)


def _mapped(pid: int, device: str) -> dict[int, str]:
    """Returns path by inode of the device's files in the address space."""
    found: dict[int, str] = {}
    for line in _lines(pid, "maps", _MAX_MAPPINGS):
        columns = line.split(None, _COLUMNS)
        if columns[3] == device and len(columns) > _COLUMNS:
            found[int(columns[4])] = columns[5].rstrip("\n")
    return found


def _opened(pid: int, owned: OwnedFiles, mapped: Iterable[int]) -> dict[int, str]:
    """Returns path by inode of the volume's regular files that are open and not in `mapped`."""
    found: dict[int, str] = {}
    with os.scandir(f"/proc/{pid}/fd") as descriptors:
        for entry in itertools.islice(descriptors, _MAX_DESCRIPTORS):
            try:
                facts = entry.stat()
                ours = stat.S_ISREG(facts.st_mode) and facts.st_dev == owned.device
                if ours and facts.st_ino not in mapped:
                    found[facts.st_ino] = str(Path(entry.path).readlink())
            except OSError:
                continue  # closed meanwhile, or on a file system that does not answer
    return found


def _of_models(pid: int, uses: Iterable[FileUse], owned: OwnedFiles) -> Iterator[FileUse]:
    """Hands out the files that belong to models, those that the inode does not tell by their path."""
    table: tuple[mounts.Mount, ...] | None = None
    for use in uses:
        if use.inode in owned.by_inode:
            yield replace(use, path="")
        elif owned.folder is not None:
            table = _mounts(pid) if table is None else table
            found = mounts.place(use.path, table)
            path = mounts.below(found, owned.folder) if found is not None else ""
            if path in owned.by_path:
                yield replace(use, path=path)


def _mounts(pid: int | str) -> tuple[mounts.Mount, ...]:
    return mounts.parse(_lines(pid, "mountinfo", _MAX_MOUNTS))


def _resident(pid: int, device: str) -> dict[int, int]:
    """Returns resident bytes by inode of the device's files in the address space."""
    found: dict[int, int] = {}
    inode = 0
    for line in _lines(pid, "smaps", _MAX_MAPPINGS * _LINES_OF_MAPPING):
        if line[0] in _HEXADECIMAL:
            columns = line.split(None, _COLUMNS)
            inode = int(columns[4]) if columns[3] == device else 0
        elif inode and line.startswith("Rss:"):
            found[inode] = found.get(inode, 0) + int(line.split()[1]) * _KIB
    return found
