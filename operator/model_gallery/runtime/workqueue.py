"""Keys to reconcile: each once, never twice at the same time, later again when that failed.

The semantics are those of client-go's work queue:

1. A key that waits is not added twice.
2. A key that is added while it is being reconciled is reconciled once more afterwards.
3. A failure is retried with exponential backoff; success forgets the failures.
4. Of several wishes for later the earliest counts, and a reconciliation fulfils them all, since it
   says itself when to look again.

The event loop's clock is the only one here, so that tests can run it faster.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from model_gallery.errors import TransientError

__all__ = ["Key", "OnResult", "Reconcile", "WorkQueue"]

_LOG = logging.getLogger(__name__)
_MAX_DOUBLINGS = 30
"""Any cap is reached long before; keeps the power from overflowing."""

_STALE_ALLOWED = 64
"""Outdated entries in the heap beyond as many as there are keys, before it is rebuilt."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """What to reconcile."""

    kind: str
    namespace: str
    name: str


Reconcile = Callable[[Key], Awaitable[float | None]]
"""Returns the seconds after which to look again, or None when an event will tell."""

OnResult = Callable[[str, str, float], None]
"""Told kind, result (`success`, `requeue`, `retry`, `error`) and seconds of each reconciliation."""


class WorkQueue:
    """The queue and its workers.

    Args:
        reconcile: called with a key. A TransientError means backoff, or its `retry_after`; any other
            exception is a bug of ours: logged with its traceback and retried with backoff.
        workers: how many keys are reconciled at the same time.
        base: seconds before the first retry.
        cap: most seconds before any retry, also where a server asks for more.
        random: numbers in [0, 1) for the jitter.
        on_result: for metrics.
    """

    def __init__(
        self,
        reconcile: Reconcile,
        *,
        workers: int = 8,
        base: float = 1.0,
        cap: float = 300.0,
        random: Callable[[], float] = random.random,
        on_result: OnResult = lambda _kind, _result, _seconds: None,
    ) -> None:
        self._reconcile = reconcile
        self._count = workers
        self._base, self._cap, self._random = base, cap, random
        self._on_result = on_result
        self._ready: asyncio.Queue[Key | None] = asyncio.Queue()
        self._dirty: set[Key] = set()
        self._processing: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._later = _Later(self.add)
        self._workers: list[asyncio.Task[None]] = []
        self._draining = False

    def add(self, key: Key) -> None:
        """Has a key reconciled as soon as a worker is free."""
        if key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._processing:
            self._ready.put_nowait(key)

    def add_after(self, key: Key, seconds: float) -> None:
        """Has a key reconciled in `seconds`, unless an earlier time is already agreed."""
        if seconds <= 0:
            self.add(key)
        else:
            self._later.add(key, seconds)

    def depth(self) -> int:
        """Returns how many keys wait for a worker; those for later are not counted."""
        return len(self._dirty)

    async def run(self) -> None:
        """Reconciles until drained or cancelled."""
        self._workers = [
            asyncio.create_task(self._work(), name=f"reconciler {number}")
            for number in range(self._count)
        ]
        try:
            done, _ = await asyncio.wait(self._workers)
            for task in done:
                if not task.cancelled():
                    task.result()
        finally:
            self._later.clear()
            for task in self._workers:
                task.cancel()

    async def drain(self, timeout: float) -> None:  # noqa: ASYNC109 - not a deadline but a mercy
        """Takes no more keys and waits for those in flight; cancels what is left after `timeout` s."""
        self._draining = True
        self._later.clear()
        for _ in self._workers:
            self._ready.put_nowait(None)
        if not self._workers:
            return
        _, late = await asyncio.wait(self._workers, timeout=timeout)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _work(self) -> None:
        while (key := await self._ready.get()) is not None and not self._draining:
            self._dirty.discard(key)
            self._processing.add(key)
            self._later.drop(key)
            try:
                await self._process(key)
            finally:
                self._processing.discard(key)
                if key in self._dirty:
                    self._ready.put_nowait(key)

    async def _process(self, key: Key) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        result, after = await self._outcome(key)
        self._on_result(key.kind, result, loop.time() - started)
        if after is not None and not self._draining:
            self.add_after(key, after)

    async def _outcome(self, key: Key) -> tuple[str, float | None]:
        """Returns the result's name and the seconds until the key's next turn."""
        try:
            after = await self._reconcile(key)
        except TransientError as error:
            told = {"reason": error.reason, "error": error.message}
            _LOG.info("Retries later", extra={**_fields(key), **told})
            delay = self._backoff(key)
            return "retry", delay if error.retry_after is None else self._bounded(error.retry_after)
        except Exception:  # noqa: BLE001 - see below
            # The one place where a bug of ours ends up: no key may take the others down with it.
            _LOG.exception("Failed to reconcile", extra=_fields(key))
            return "error", self._backoff(key)
        self._failures.pop(key, None)
        return ("success", None) if after is None else ("requeue", after)

    def _backoff(self, key: Key) -> float:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = self._bounded(self._base * 2.0 ** min(failures, _MAX_DOUBLINGS))
        # Half of it is jitter: what failed together shall not come back together.
        return delay * (0.5 + self._random() / 2)

    def _bounded(self, seconds: float) -> float:
        return min(max(seconds, 0.0), self._cap)


class _Later:
    """Keys for later, behind one timer.

    Args:
        due: called with a key whose time has come.
    """

    def __init__(self, due: Callable[[Key], None]) -> None:
        self._due = due
        self._times: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, key: Key, seconds: float) -> None:
        when = asyncio.get_running_loop().time() + seconds
        if when >= self._times.get(key, float("inf")):
            return
        self._times[key] = when
        heapq.heappush(self._heap, (when, next(self._order), key))
        if len(self._heap) > 2 * len(self._times) + _STALE_ALLOWED:
            self._heap = [entry for entry in self._heap if self._times.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)
        self._set_timer()

    def drop(self, key: Key) -> None:
        self._times.pop(key, None)

    def clear(self) -> None:
        self._times.clear()
        self._heap.clear()
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._heap[0][0], self._fire)

    def _fire(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            # What was dropped or moved to an earlier time stays in the heap until it comes up.
            if self._times.get(key) == when:
                del self._times[key]
                self._due(key)
        self._set_timer()


def _fields(key: Key) -> dict[str, str]:
    return {"kind": key.kind, "namespace": key.namespace, "object": key.name}
