"""One file on its way: which of its bytes are asked for, written and hashed.

Nothing here waits or touches the network. The engine calls everything under its one lock, except where a
method says otherwise.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import GitBlob, Sha256, short
from model_gallery.errors import StalledError
from model_gallery.planning.intervals import Intervals
from model_gallery.sources.base import RemoteFile
from model_gallery.storage.marks import Marker
from model_gallery.storage.staging import StagedFile
from model_gallery.transport.client import Response

__all__ = ["SMALL_BYTES", "FileTransfer", "Task"]

SMALL_BYTES = 4 * 1024 * 1024
"""Up to this size a file is one request, hashed as it comes, and not worth a journal."""
_LEAST_SHARE = 4 * 1024 * 1024
"""A running stretch with less left than this is not shared with an idle connection."""
_WORTH_SECONDS = 1.0
_HEAD_BYTES = 256
_BLOCK = 1024 * 1024


@dataclass(slots=True, eq=False)
class Task:
    """One stretch in the hands of one connection.

    Attributes:
        position: the next byte to write; only the connection's own thread moves it.
        end: where to stop, may be lowered by others; None: read to the end.
        reading_to: up to where bytes are being read at this moment; no other task gets these.
        epoch: of the file when the task was taken; under another the task's bytes are worth nothing.
        began: seconds of the monotonic clock.
        moved: when the last bytes came.
        through: the address that is asked in the place of the file's URL, which can expire; empty: none.
    """

    file: FileTransfer
    start: int
    position: int
    end: int | None
    epoch: int
    began: float
    moved: float
    reading_to: int = 0
    through: str = ""
    response: Response | None = None

    @property
    def is_over(self) -> bool:
        """Whether all bytes of the stretch are written."""
        return self.end is not None and self.position >= self.end


@dataclass(slots=True, eq=False)
class FileTransfer:
    """One file.

    Attributes:
        number: place of the file in the plan.
        path: where it will be published, for messages.
        remote: what the source says of it.
        pending: stretches that nobody asked for yet, in file order.
        epoch: counts the times that everything was thrown away.
        second_time: whether it was thrown away for wrong content already.
        failures: tries in a row that brought no byte.
        not_before: no connection begins with the file before this moment.
        final_url: where the file's URL redirected to the last time; empty: nowhere yet.
        ended_at: length of what came, where the source told none.
        hashed: how far the digest has come.
        hashing: whether a follower is at it.
        judged: whether somebody is comparing the digest, or has.
        resetting: whether it is to begin at zero when nobody writes any longer.
        marker: digests along the file, for a later repair; of files in stretches only.
    """

    number: int
    path: str
    remote: RemoteFile
    staged: StagedFile | None = None
    written: Intervals = field(default_factory=Intervals)
    pending: deque[tuple[int, int | None]] = field(default_factory=deque)
    active: list[Task] = field(default_factory=list)
    epoch: int = 0
    changes: int = 0
    second_time: bool = False
    failures: int = 0
    failed_at: float = 0.0
    not_before: float = 0.0
    final_url: str = ""
    ended_at: int | None = None
    hashed: int = 0
    hashing: bool = False
    judged: bool = False
    resetting: bool = False
    digest: Sha256 = field(default_factory=Sha256)
    marker: Marker = field(init=False)

    def __post_init__(self) -> None:
        self.marker = Marker.of(self.remote.size_bytes or 0)

    @property
    def size(self) -> int | None:
        """Bytes in all; None while unknown."""
        return self.remote.size_bytes if self.remote.size_bytes is not None else self.ended_at

    @property
    def in_stretches(self) -> bool:
        """Whether several connections may fetch it, hashed by a follower."""
        size = self.remote.size_bytes
        return self.remote.ranges and size is not None and size > SMALL_BYTES

    def open(self, staged: StagedFile) -> None:
        """Begins where an earlier attempt ended."""
        self.staged = staged
        size = self.remote.size_bytes
        if self.in_stretches and size is not None:
            self.written = Intervals(staged.marked)
            self.pending = deque(self.written.missing(size))
        else:
            self.pending = deque([(0, None)])

    def throw_away(self) -> None:
        """Begins at zero once more, as soon as nobody writes any longer.

        A late write of old bytes behind the follower's back would never be found.
        """
        self.epoch += 1
        self.pending.clear()
        self.resetting = True
        self.settle()

    def _reset(self) -> None:
        if self.staged is not None:
            self.staged.restart(self.identity())
        self.written, self.digest, self.hashed = Intervals(), Sha256(), 0
        self.ended_at, self.judged, self.resetting = None, False, False
        size = self.remote.size_bytes
        self.marker = Marker.of(size or 0)
        self.pending = deque([(0, size if self.in_stretches else None)])

    def identity(self) -> list[object]:
        """Returns what staged bytes depend on."""
        remote = self.remote
        return [remote.url, remote.size_bytes, remote.validator, remote.sha256 or remote.git_sha1]

    def settle(self) -> None:
        """Carries out a restart that had to wait for others."""
        if self.resetting and not self.active and not self.hashing:
            self._reset()

    def take(self, most: int, now: float) -> Task:
        """Hands out the first pending stretch, at most `most` bytes of it."""
        start, end = self.pending.popleft()
        if end is not None and end - start > most:
            self.pending.appendleft((start + most, end))
            end = start + most
        return self._begun(start, end, now)

    def share(self, now: float) -> Task | None:
        """Takes the second half of the running stretch that would take longest.

        What its server has sent already is lost, so one that is about to end is left alone.
        """
        running = [task for task in self.active if _left(task) >= _LEAST_SHARE]
        victim = max(running, key=lambda task: _seconds_left(task, now), default=None)
        if victim is None or victim.end is None or _seconds_left(victim, now) < _WORTH_SECONDS:
            return None
        middle = victim.end - _left(victim) // 2
        end, victim.end = victim.end, middle
        return self._begun(middle, end, now)

    def give_back(self, task: Task) -> None:
        """Takes a task back; what it did not fetch is pending again."""
        self.active.remove(task)
        self.settle()
        if task.epoch != self.epoch or task.is_over:
            return
        if self.in_stretches:
            self.pending.appendleft((task.position, task.end))
        elif self.ended_at is None and not self.resetting:
            # Without ranges there is no middle to go on from.
            self.throw_away()

    def wants_hash(self) -> bool:
        """Whether a follower has something to hash."""
        idle = not self.hashing and not self.resetting
        return idle and self.in_stretches and self.written.prefix() > self.hashed

    def claim_whole(self) -> bool:
        """Whether all bytes are written and hashed; True once, for the one who is to judge it."""
        busy = self.active or self.pending or self.hashing or self.resetting
        if self.judged or busy or self.size is None or self.hashed != self.size:
            return False
        self.judged = True
        return True

    def problem(self) -> StalledError | None:
        """Returns what is wrong with the whole file. Reads the volume: not under the lock."""
        staged, size = self.staged, self.remote.size_bytes
        if staged is None:
            return None
        seen = _not_a_model(self._head(staged), self.path)
        promised = self.remote.sha256
        if promised is None and seen:
            return StalledError(Reason.INVALID_FORMAT, f"{self.path} is {seen}; correct the URI")
        if size is not None and self.hashed != size:
            message = f"{self.path} has {self.hashed} bytes, the server announced {size}"
            return StalledError(Reason.SIZE_MISMATCH, message)
        if promised is None and self.remote.git_sha1 is not None:
            return self._git_problem(staged, self.remote.git_sha1)
        found = self.digest.hexdigest()
        if promised is None or promised == found:
            return None
        hint = f" (what came is {seen})" if seen else ""
        return StalledError(
            Reason.CHECKSUM_MISMATCH,
            f"sha256 of {self.path} is {found}, promised was {promised}{hint};"
            f" correct the promised sha256 or the upstream file ({short(found)}...)",
        )

    def _begun(self, start: int, end: int | None, now: float) -> Task:
        task = Task(self, start, start, end, self.epoch, now, now)
        self.active.append(task)
        return task

    def _head(self, staged: StagedFile) -> bytes:
        buffer = memoryview(bytearray(_HEAD_BYTES))
        return bytes(buffer[: staged.read_at(0, buffer)])

    def _git_problem(self, staged: StagedFile, promised: str) -> StalledError | None:
        digest, offset = GitBlob(self.hashed), 0
        buffer = memoryview(bytearray(_BLOCK))
        while count := staged.read_at(offset, buffer):
            digest.update(buffer[:count])
            offset += count
        if digest.hexdigest() == promised:
            return None
        return StalledError(
            Reason.CHECKSUM_MISMATCH,
            f"git blob id of {self.path} is {digest.hexdigest()}, promised was {promised}",
        )


def _left(task: Task) -> int:
    return 0 if task.end is None else task.end - max(task.position, task.reading_to)


def _seconds_left(task: Task, now: float) -> float:
    """Returns how long a stretch will take at the rate that it has had."""
    came = task.position - task.start
    if came == 0:
        return now - task.began
    return _left(task) * (now - task.began) / came


def _not_a_model(head: bytes, path: str) -> str:
    """Returns what the content obviously is instead of a model file; empty if nothing."""
    start = head.lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "a git-LFS pointer"
    is_page = start.startswith((b"<!doctype html", b"<html"))
    if is_page and not path.lower().endswith((".html", ".htm", ".txt", ".md")):
        return "an HTML page"
    return ""
