"""Which models the files in use belong to, and what that costs. Pure: what was read comes as values.

Files are known by device and inode, since every container sees them under other paths and a published
file is a hard link to its blob. Where the inode says nothing (a file that was replaced under a running
process, a file system without lasting inodes) the path inside the file system does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from model_gallery.monitor.mounts import Place
from model_gallery.protocol.usage import (
    MAX_MODELS,
    MAX_PROCESSES,
    ModelUsage,
    ProcessUsage,
    UsageReport,
)

__all__ = [
    "NOTHING_YET",
    "FileUse",
    "OwnedFiles",
    "Owner",
    "ProcessSample",
    "Snapshot",
    "Tally",
    "owners",
    "report",
]


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """A Model that has files on the volume."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class OwnedFiles:
    """The files of all Models on one volume.

    Attributes:
        device: of the volume, as stat tells it.
        mapped_device: the same as /proc/<pid>/maps writes it, such as `fd:00`; on some file systems
            it is another number.
        folder: where the volume's root lies in its file system; None where that is not known.
        by_inode: who owns a file, by its inode.
        by_path: the same by its path below the root.
    """

    device: int
    mapped_device: str
    folder: Place | None = None
    by_inode: Mapping[int, tuple[Owner, ...]] = field(default_factory=dict)
    by_path: Mapping[str, tuple[Owner, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileUse:
    """One file of the volume that a process uses.

    Attributes:
        path: below the volume's root; empty where the inode is enough.
        mapped: False where it is only open.
        resident_bytes: of its mappings in this process; None where not told.
    """

    inode: int
    path: str = ""
    mapped: bool = False
    resident_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class ProcessSample:
    """One process at one moment.

    Attributes:
        started: seconds since the epoch; with the pid it names a process once and for all.
        cpu_seconds: user and system time since then.
        uses: files of the volume; nothing where it is not visible.
    """

    pid: int
    started: float
    name: str
    resident_bytes: int
    shared_bytes: int
    cpu_seconds: float
    threads: int
    visible: bool = True
    uses: tuple[FileUse, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All processes at one moment.

    Attributes:
        at: seconds of a clock that only goes forward.
        truncated: whether processes were left out.
    """

    time: datetime
    at: float
    processes: tuple[ProcessSample, ...]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """What one report needs of the one before.

    Attributes:
        at: when that was, on the snapshot's clock.
        processes: their CPU seconds, by pid and start.
        models: CPU seconds counted so far, by uid.
    """

    at: float = 0.0
    processes: Mapping[tuple[int, float], float] = field(default_factory=dict)
    models: Mapping[str, float] = field(default_factory=dict)


NOTHING_YET = Tally()


def owners(use: FileUse, owned: OwnedFiles) -> tuple[Owner, ...]:
    """Returns the Models that a file belongs to; contents that several share belong to each."""
    return owned.by_inode.get(use.inode) or owned.by_path.get(use.path, ())


def report(snapshot: Snapshot, owned: OwnedFiles, before: Tally) -> tuple[UsageReport, Tally]:
    """Returns what a snapshot says, and what the next report needs of it."""
    used = {process.pid: _models(process, owned) for process in snapshot.processes}
    spent = {process.pid: _spent(process, before) for process in snapshot.processes}
    counted = _credit(before.models, used, spent, owned)
    told = sorted(snapshot.processes, key=lambda one: (not used[one.pid], -one.resident_bytes))
    told = told[:MAX_PROCESSES]
    interval = snapshot.at - before.at
    models = _model_usages(told, owned, counted)
    answer = UsageReport(
        sampled_time=snapshot.time,
        processes=tuple(
            _process_usage(one, used[one.pid], _milli(spent[one.pid], interval)) for one in told
        ),
        models=models[:MAX_MODELS],
        hidden=sum(not process.visible for process in snapshot.processes),
        truncated=snapshot.truncated
        or len(told) < len(snapshot.processes)
        or len(models) > MAX_MODELS,
    )
    return answer, Tally(
        at=snapshot.at,
        processes={(one.pid, one.started): one.cpu_seconds for one in snapshot.processes},
        models=counted,
    )


def _models(process: ProcessSample, owned: OwnedFiles) -> tuple[Owner, ...]:
    return tuple(sorted({owner for use in process.uses for owner in owners(use, owned)}))


def _spent(process: ProcessSample, before: Tally) -> float | None:
    """Returns CPU seconds since the last report; None for a process that is new."""
    earlier = before.processes.get((process.pid, process.started))
    return None if earlier is None else max(0.0, process.cpu_seconds - earlier)


def _milli(spent: float | None, interval: float) -> int | None:
    return None if spent is None or interval <= 0 else round(spent / interval * 1000)


def _credit(
    before: Mapping[str, float],
    used: Mapping[int, Sequence[Owner]],
    spent: Mapping[int, float | None],
    owned: OwnedFiles,
) -> dict[str, float]:
    """Returns CPU seconds by model; those of models that left the volume are forgotten."""
    known = {owner.uid for group in owned.by_path.values() for owner in group}
    counted = {uid: seconds for uid, seconds in before.items() if uid in known}
    for pid, users in used.items():
        for owner in users:
            counted[owner.uid] = counted.get(owner.uid, 0.0) + (spent[pid] or 0.0)
    return counted


def _process_usage(
    process: ProcessSample, used: Iterable[Owner], cpu_milli: int | None
) -> ProcessUsage:
    return ProcessUsage(
        pid=process.pid,
        name=process.name,
        resident_bytes=process.resident_bytes,
        shared_bytes=process.shared_bytes,
        cpu_milli=cpu_milli,
        threads=process.threads,
        models=tuple(map(str, used)),
        visible=process.visible,
    )


def _model_usages(
    processes: Iterable[ProcessSample], owned: OwnedFiles, counted: Mapping[str, float]
) -> tuple[ModelUsage, ...]:
    """Returns a usage for each Model that any of the processes uses, by namespace and name."""
    found: defaultdict[Owner, list[tuple[int, FileUse]]] = defaultdict(list)
    for process in processes:
        for use in process.uses:
            for owner in owners(use, owned):
                found[owner].append((process.pid, use))
    return tuple(
        ModelUsage(
            namespace=owner.namespace,
            name=owner.name,
            uid=owner.uid,
            state_hint="mapped" if any(use.mapped for _, use in found[owner]) else "open",
            resident_bytes=_resident(use for _, use in found[owner]),
            cpu_seconds=round(counted.get(owner.uid, 0.0), 3),
            processes=tuple(sorted({pid for pid, _ in found[owner]})),
        )
        for owner in sorted(found)
    )


def _resident(uses: Iterable[FileUse]) -> int | None:
    """Returns the pages in memory, each file by the process that has most of it.

    A sum over processes would count pages several times that they share.
    """
    most: dict[int, int] = {}
    for use in uses:
        if use.resident_bytes is not None:
            most[use.inode] = max(most.get(use.inode, 0), use.resident_bytes)
    return sum(most.values()) if most else None
