"""Brings files into staging, whole and verified, over as many connections as pay.

Threads: connections write stretches, followers hash the prefix behind them, the caller's thread measures,
watches and reports. They share one lock, held for bookkeeping only; bytes are read, written and hashed
outside of it. Files are taken in order, so that the followers always have work and a resumed prefix is
long. See docs/performance.md for what was measured.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from model_gallery.api.conditions import Reason
from model_gallery.errors import GalleryError, StalledError, TransientError
from model_gallery.planning import connections
from model_gallery.planning.connections import Connections
from model_gallery.sources import http
from model_gallery.sources.base import RemoteFile
from model_gallery.storage.staging import MARK_BYTES, StagedFile
from model_gallery.transport.client import HttpClient
from model_gallery.transport.throttle import Throttle
from model_gallery.transport.waiting import LONGEST_ASKED_SECONDS, seconds_before_try
from model_gallery.worker.report import Reporter
from model_gallery.worker.transfer import FileTransfer, Task

__all__ = ["Engine"]

_BUFFER_BYTES = 512 * 1024
_CAREFUL_BYTES = 16 * 1024
"""What a read that breaks off can lose, once one has: the library drops a buffer that it did not fill."""
_HASH_BLOCK = 1024 * 1024
_HASH_EVERY = 4 * 1024 * 1024
"""A follower is woken for this many bytes, not for each block."""
_FOLLOWERS = 2
_STEP_SECONDS = 0.15
_LEAST_RANGE, _FIRST_RANGE = 4 * 1024 * 1024, 8 * 1024 * 1024
_SHORTEST_RANGE, _LONGEST_RANGE = 8 * 1024 * 1024, 64 * 1024 * 1024
_ROUND_TRIPS = 6
"""A range lasts as long as this many round trips, within the bounds above."""
_SMOOTHING = 0.2
_MAX_FAILURES = 5
"""Tries in a row that bring no byte before the Job's own backoff takes over."""
_MAX_CHANGES = 1
_STALL_SECONDS = 300.0
"""A connection that did not fill one buffer in this time (1.7 KiB/s) is dropped."""
_END_SECONDS = 3.0
_ABOUT_THE_URL = frozenset({Reason.UNAUTHORIZED, Reason.NOT_FOUND})


@dataclass(slots=True)
class _Line:
    """One connection's thread and what it received."""

    index: int
    received: int = 0
    task: Task | None = None


@dataclass(slots=True)
class Engine:
    """Fetches a list of files. Used once.

    Attributes:
        stage: opens the staged file of a number, for that state of the remote file.
        resolve: asks the source anew for a file that changed.
        done: told each file when it is whole and verified; called from the engine's threads.
    """

    client: HttpClient
    reporter: Reporter
    throttle: Throttle
    stage: Callable[[FileTransfer], StagedFile]
    resolve: Callable[[FileTransfer], RemoteFile]
    done: Callable[[FileTransfer], None]
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _lines: list[_Line] = field(default_factory=list)
    _queue: deque[FileTransfer] = field(default_factory=deque)
    _open: list[FileTransfer] = field(default_factory=list)
    _left: int = 0
    _finished_bytes: int = 0
    _failure: BaseException | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)
    _connections: Connections = field(default_factory=Connections)
    _range_bytes: int = _FIRST_RANGE
    _latency: float = 0.0
    _work: threading.Condition = field(init=False)
    _hash: threading.Condition = field(init=False)
    _tick: threading.Condition = field(init=False)

    def __post_init__(self) -> None:
        self._work = threading.Condition(self._lock)
        self._hash = threading.Condition(self._lock)
        self._tick = threading.Condition(self._lock)

    def run(self, files: Sequence[FileTransfer]) -> None:
        """Returns when every file was handed to `done`.

        Raises:
            StalledError: ChecksumMismatch or SizeMismatch after a second time from zero,
                InvalidFormat, or what the source refuses.
            TransientError: what the engine's own tries did not get past.
        """
        if not files:
            return
        self._queue.extend(files)
        self._left = len(files)
        threads = self._threads()
        for thread in threads:
            thread.start()
        try:
            self._watch()
        finally:
            self._end(threads)
        if self._failure is not None:
            raise self._failure

    def _threads(self) -> list[threading.Thread]:
        self._lines = [_Line(index) for index in range(connections.MOST)]
        lines = [
            threading.Thread(target=self._guarded, args=(self._fetch_all, line), daemon=True)
            for line in self._lines
        ]
        followers = [
            threading.Thread(target=self._guarded, args=(self._hash_all,), daemon=True)
            for _ in range(_FOLLOWERS)
        ]
        return lines + followers

    def _guarded(self, work: Callable[..., None], *args: object) -> None:
        try:
            work(*args)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self._fail(error)

    # The caller's thread

    def _watch(self) -> None:
        before, then = 0, time.monotonic()
        while True:
            with self._lock:
                if self._left == 0 or self._failure is not None:
                    return
                self._tick.wait(_STEP_SECONDS)
            now = time.monotonic()
            if now - then < _STEP_SECONDS:
                continue
            received = sum(line.received for line in self._lines)
            self._adapt((received - before) / (now - then))
            before, then = received, now
            self._drop_stalled(now)
            self._report()

    def _adapt(self, rate: float) -> None:
        with self._lock:
            busy = sum(1 for line in self._lines if line.task is not None)
            if rate and busy == self._connections.allowed:
                self._connections = connections.after_step(self._connections, rate)
            # Short ranges keep the followers close; a round trip should still cost little of each.
            worth = rate / max(1, busy) * _ROUND_TRIPS * self._latency
            self._range_bytes = int(min(_LONGEST_RANGE, max(_SHORTEST_RANGE, worth)))
            self._work.notify_all()

    def _drop_stalled(self, now: float) -> None:
        for task in self._tasks():
            if task.response is not None and now - task.moved > _STALL_SECONDS:
                task.response.abort()

    def _report(self) -> None:
        with self._lock:
            arrived = sum(file.written.total() for file in self._open)
            path = self._open[0].path if self._open else ""
        self.reporter.progress(self._finished_bytes + arrived, path)

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        """Lets every connection claim what it has written, and go."""
        self._stopping.set()
        with self._lock:
            for condition in (self._work, self._hash):
                condition.notify_all()
        for task in self._tasks():
            if task.response is not None:
                task.response.abort()
        deadline = time.monotonic() + _END_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in threads):
            # Its descriptors must stay as they are: the process ends soon.
            return
        for file in self._open:
            if file.staged is not None:
                file.staged.close()

    def _tasks(self) -> list[Task]:
        return [task for line in self._lines if (task := line.task) is not None]

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._failure is None:
                self._failure = error
            self._stopping.set()
            for condition in (self._tick, self._work, self._hash):
                condition.notify_all()

    # Connections

    def _fetch_all(self, line: _Line) -> None:
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        while (task := self._next(line)) is not None:
            line.task = task
            try:
                self._fetch(line, task, buffer)
            except GalleryError as error:
                self._take_back(task, error)
            else:
                self._take_back(task, None)
            finally:
                line.task = None

    def _next(self, line: _Line) -> Task | None:
        """Waits for something to do; None when there will be nothing any more."""
        with self._lock:
            while not self._stopping.is_set() and self._left:
                now = time.monotonic()
                task = self._found(now) if line.index < self._connections.allowed else None
                if task is not None:
                    return task
                self._work.wait(_STEP_SECONDS)
            return None

    def _found(self, now: float) -> Task | None:
        for file in self._queue:
            if file.not_before > now:
                continue
            if file.staged is None:
                self._begin(file)
            if not file.pending:
                # Everything of it was there already: only the hash is left to do.
                self._queue.remove(file)
                self._hash.notify()
                return self._found(now)
            task = file.take(self._share_of(file), now)
            if not file.pending:
                self._queue.remove(file)
            return task
        for file in self._open:
            shared = file.share(now) if file.not_before <= now else None
            if shared is not None:
                return shared
        return None

    def _share_of(self, file: FileTransfer) -> int:
        """Returns how much of a file one connection takes: all of them shall have something to do."""
        if len(self._queue) > 1:
            return self._range_bytes
        left = sum(end - start for start, end in file.pending if end is not None)
        return min(self._range_bytes, max(_LEAST_RANGE, left // self._connections.allowed))

    def _begin(self, file: FileTransfer) -> None:
        file.open(self.stage(file))
        self._open.append(file)

    def _fetch(self, line: _Line, task: Task, buffer: memoryview) -> None:
        """Writes the task's stretch; returns early when the engine stops or the file was restarted."""
        file, staged = task.file, task.file.staged
        if staged is None:
            return
        marked = task.start
        try:
            with self._response(task) as readinto:
                while not task.is_over and self._goes_on(task):
                    count = readinto(buffer[: self._room(task)])
                    if count == 0:
                        self._at_end(task)
                        break
                    self._take_in(task, staged, buffer[:count])
                    line.received += count
                    if file.in_stretches and task.position - marked >= MARK_BYTES:
                        staged.mark(marked, task.position)
                        marked = task.position
                    if pause := self.throttle.seconds_after(count):
                        self._stopping.wait(pause)
        finally:
            if file.in_stretches and marked < task.position and task.epoch == file.epoch:
                staged.mark(marked, task.position)

    def _room(self, task: Task) -> int:
        with self._lock:
            most = _CAREFUL_BYTES if task.file.failures else _BUFFER_BYTES
            left = most if task.end is None else task.end - task.position
            task.reading_to = task.position + min(most, left)
            return task.reading_to - task.position

    @contextlib.contextmanager
    def _response(self, task: Task) -> Iterator[Callable[[memoryview], int]]:
        file, asked = task.file, time.monotonic()
        if file.remote.locator is not None and not file.final_url:
            file.final_url = file.remote.place()
        task.through = file.final_url
        with http.read(
            self.client, file.remote, task.start, task.end, url=task.through
        ) as response:
            self._latency += _SMOOTHING * (time.monotonic() - asked - self._latency)
            if response.trail and not task.through:
                file.final_url = response.url
            task.response = response
            try:
                yield response.readinto
            finally:
                task.response = None

    def _goes_on(self, task: Task) -> bool:
        return not self._stopping.is_set() and task.epoch == task.file.epoch

    def _take_in(self, task: Task, staged: StagedFile, data: memoryview) -> None:
        file, position = task.file, task.position
        staged.write_at(position, data)
        if not file.in_stretches:
            file.digest.update(data)
        with self._lock:
            if task.epoch != file.epoch:
                return
            task.position += len(data)
            task.moved = time.monotonic()
            file.failures = 0 if file.remote.ranges else file.failures
            file.written.add(position, task.position)
            if not file.in_stretches:
                file.hashed = task.position
            elif file.written.prefix() - file.hashed >= _HASH_EVERY:
                self._hash.notify()
        size = file.remote.size_bytes
        if size is not None and task.position > size:
            message = f"{file.path}: the server sent more than the {size} bytes it announced"
            raise StalledError(Reason.SIZE_MISMATCH, message)

    def _at_end(self, task: Task) -> None:
        size = task.file.remote.size_bytes
        if task.end is not None or (size is not None and task.position < size):
            message = f"{task.file.path}: the server ended after {task.position} of {size} bytes"
            raise TransientError(Reason.INTERRUPTED, message)
        task.file.ended_at = task.position

    def _take_back(self, task: Task, error: GalleryError | None) -> None:
        file = task.file
        with self._lock:
            was_current = task.epoch == file.epoch
            file.give_back(task)
            if error is not None and was_current and not self._stopping.is_set():
                self._judge(task, error)
            self._requeue(file)
            if file.in_stretches:
                self._hash.notify()
            whole = file.claim_whole()
        if whole:
            self._complete(file)

    def _requeue(self, file: FileTransfer) -> None:
        if file.pending:
            if file not in self._queue:
                self._queue.appendleft(file)
            self._work.notify_all()

    def _judge(self, task: Task, error: GalleryError) -> None:
        """Decides what an error costs: nothing, a pause, a second time from zero, or everything."""
        file = task.file
        if error.reason is Reason.SOURCE_CHANGED:
            self._changed(file, error)
        elif error.reason in _ABOUT_THE_URL and task.through:
            self._renew(task, error)
        elif error.reason is Reason.SIZE_MISMATCH and not file.second_time:
            file.second_time = True
            file.throw_away()
        elif not isinstance(error, TransientError) or error.reason is Reason.VOLUME_IO_ERROR:
            # After an error of the disk only another process, with what the journal claims, is believed.
            self._fail(error)
        else:
            self._pause(task, error)

    def _renew(self, task: Task, error: GalleryError) -> None:
        """Begins again from the file's own URL, or its locator: a signed address has expired."""
        file = task.file
        if task.began < file.failed_at:
            # Of the connections that find it so at the same time one is enough.
            return
        file.failures, file.failed_at, file.final_url = file.failures + 1, time.monotonic(), ""
        file.remote.refused()
        if file.failures > _MAX_FAILURES:
            self._fail(error)

    def _pause(self, task: Task, error: TransientError) -> None:
        file, now = task.file, time.monotonic()
        if error.reason is Reason.RATE_LIMITED:
            self._connections = connections.after_refusal(self._connections)
        progressed = task.position > task.start and file.remote.ranges
        if progressed and error.retry_after is None:
            return
        if not progressed and task.began >= file.failed_at:
            # Connections that fail together count once.
            file.failures, file.failed_at = file.failures + 1, now
        if file.failures > _MAX_FAILURES or (error.retry_after or 0.0) > LONGEST_ASKED_SECONDS:
            self._fail(error)
        file.not_before = now + seconds_before_try(file.failures, error.retry_after)

    def _changed(self, file: FileTransfer, error: GalleryError) -> None:
        file.changes += 1
        if file.changes > _MAX_CHANGES:
            self._fail(error)
            return
        file.final_url = ""
        file.remote = self.resolve(file)
        file.throw_away()

    # Followers

    def _hash_all(self) -> None:
        buffer = memoryview(bytearray(_HASH_BLOCK))
        while (claimed := self._to_hash()) is not None:
            file, epoch, end = claimed
            hashed = self._hash_up_to(file, end, buffer)
            with self._lock:
                file.hashing = False
                file.settle()
                if epoch != file.epoch:
                    self._requeue(file)
                    continue
                file.hashed = hashed
                whole = file.claim_whole()
            if whole:
                self._complete(file)

    def _to_hash(self) -> tuple[FileTransfer, int, int] | None:
        with self._lock:
            while not self._stopping.is_set() and self._left:
                for file in self._open:
                    if file.wants_hash():
                        file.hashing = True
                        return file, file.epoch, file.written.prefix()
                self._hash.wait(_STEP_SECONDS)
            return None

    def _hash_up_to(self, file: FileTransfer, end: int, buffer: memoryview) -> int:
        digest, staged, position = file.digest, file.staged, file.hashed
        epoch = file.epoch
        while staged is not None and position < end and epoch == file.epoch:
            if self._stopping.is_set():
                break
            room = min(end - position, file.marker.room(position))
            count = staged.read_at(position, buffer[:room])
            if count == 0:
                break
            digest.update(buffer[:count])
            position += count
            file.marker.hashed(position, digest)
        return position

    # Whole files

    def _complete(self, file: FileTransfer) -> None:
        problem = file.problem()
        if problem is None:
            self.done(file)
            with self._lock:
                self._open.remove(file)
                self._finished_bytes += file.hashed
                self._left -= 1
                if self._left == 0:
                    for condition in (self._work, self._hash, self._tick):
                        condition.notify_all()
            return
        with self._lock:
            # A mirror or a proxy may have been caught in the middle: once more, not for ever.
            second_time, file.second_time = file.second_time, True
            file.throw_away()
            if second_time:
                self._fail(problem)
            else:
                self._requeue(file)
