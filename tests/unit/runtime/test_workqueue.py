"""The queue's promises, in virtual time."""

import asyncio
import contextlib

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.errors import TransientError
from model_gallery.runtime.workqueue import Key, WorkQueue

A, B, C = (Key("Model", "default", name) for name in "abc")
pytestmark = pytest.mark.looptime(start=0)


class Script:
    """A reconciliation that answers as written and notes when it ran."""

    def __init__(self, *answers, lasts=0.0):
        self.answers = list(answers)
        self.lasts = lasts
        self.runs = []
        self.running = set()

    async def __call__(self, key):
        assert key not in self.running
        self.running.add(key)
        self.runs.append((key, asyncio.get_running_loop().time()))
        try:
            await asyncio.sleep(self.lasts)
        finally:
            self.running.discard(key)
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def times(self, key=A):
        return [when for ran, when in self.runs if ran == key]


@contextlib.asynccontextmanager
async def running(script, **options):
    options = {"random": lambda: 1.0, **options}
    queue = WorkQueue(script, **options)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_waiting_key_is_reconciled_once():
    script = Script()
    async with running(script) as queue:
        for _ in range(3):
            queue.add(A)
        assert queue.depth() == 1
        await asyncio.sleep(1)
    assert script.times() == [0]


async def test_keys_are_taken_in_the_order_of_adding():
    script = Script(lasts=1)
    async with running(script, workers=1) as queue:
        for key in (B, A, C, A):
            queue.add(key)
        await asyncio.sleep(5)
    assert script.runs == [(B, 0), (A, 1), (C, 2)]


async def test_a_key_added_while_it_runs_runs_once_more_afterwards():
    script = Script(lasts=2)
    async with running(script) as queue:
        queue.add(A)
        await asyncio.sleep(1)
        queue.add(A)
        queue.add(A)
        await asyncio.sleep(5)
    assert script.times() == [0, 2]


async def test_as_many_keys_at_once_as_there_are_workers():
    script = Script(lasts=1)
    async with running(script, workers=2) as queue:
        for key in (A, B, C):
            queue.add(key)
        await asyncio.sleep(3)
    assert script.runs == [(A, 0), (B, 0), (C, 1)]


async def test_of_several_wishes_for_later_the_earliest_counts():
    script = Script()
    async with running(script) as queue:
        queue.add_after(A, 10)
        queue.add_after(A, 3)
        queue.add_after(A, 20)
        queue.add_after(B, 5)
        await asyncio.sleep(30)
    assert script.runs == [(A, 3), (B, 5)]


async def test_a_reconciliation_fulfils_earlier_wishes_for_later():
    script = Script(7.0)
    async with running(script) as queue:
        queue.add_after(A, 5)
        await asyncio.sleep(1)
        queue.add(A)
        await asyncio.sleep(30)
    assert script.times() == [1, 8]


async def test_no_time_to_wait_means_now():
    script = Script()
    async with running(script) as queue:
        queue.add_after(A, 0)
        await asyncio.sleep(1)
    assert script.times() == [0]


async def test_failures_are_retried_with_doubling_delays_up_to_the_cap():
    script = Script(*[_transient() for _ in range(5)])
    async with running(script, cap=5) as queue:
        queue.add(A)
        await asyncio.sleep(100)
    assert script.times() == [0, 1, 3, 7, 12, 17]


async def test_success_forgets_the_failures():
    script = Script(_transient(), _transient(), 10.0, _transient())
    async with running(script) as queue:
        queue.add(A)
        await asyncio.sleep(100)
    assert script.times() == [0, 1, 3, 13, 14]


async def test_jitter_shortens_by_at_most_half():
    script = Script(_transient(), _transient())
    async with running(script, random=lambda: 0.0) as queue:
        queue.add(A)
        await asyncio.sleep(100)
    assert script.times() == [0, 0.5, 1.5]


async def test_a_server_that_asks_to_wait_is_obeyed_within_the_cap():
    script = Script(_transient(retry_after=20), _transient(retry_after=1e9))
    async with running(script, cap=60) as queue:
        queue.add(A)
        await asyncio.sleep(200)
    assert script.times() == [0, 20, 80]


async def test_a_bug_is_logged_with_its_traceback_and_retried(caplog):
    script = Script(ZeroDivisionError("of ours"))
    results = []
    async with running(script, on_result=lambda *result: results.append(result)) as queue:
        queue.add(A)
        queue.add(B)
        await asyncio.sleep(10)
    assert script.times(A) == [0, 1]
    assert script.times(B) == [0]
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError]
    assert [result[:2] for result in results] == [
        ("Model", "error"),
        ("Model", "success"),
        ("Model", "success"),
    ]


async def test_results_tell_kind_and_duration():
    script = Script(5.0, _transient(), lasts=2)
    results = []
    async with running(script, on_result=lambda *result: results.append(result)) as queue:
        queue.add(A)
        await asyncio.sleep(30)
    assert results == [("Model", "requeue", 2), ("Model", "retry", 2), ("Model", "success", 2)]


async def test_draining_waits_for_those_in_flight_and_starts_no_more():
    script = Script(lasts=4)
    async with running(script, workers=1) as queue:
        queue.add(A)
        queue.add(B)
        queue.add_after(C, 2)
        await asyncio.sleep(1)
        await queue.drain(10)
        assert asyncio.get_running_loop().time() == 4
        await asyncio.sleep(10)
    assert script.runs == [(A, 0)]


async def test_draining_ends_the_run():
    queue = WorkQueue(Script())
    task = asyncio.create_task(queue.run())
    await asyncio.sleep(0)
    await queue.drain(10)
    await asyncio.wait_for(task, 1)


async def test_draining_cancels_what_takes_too_long():
    script = Script(lasts=100)
    queue = WorkQueue(script)
    task = asyncio.create_task(queue.run())
    queue.add(A)
    await asyncio.sleep(1)
    await queue.drain(5)
    assert asyncio.get_running_loop().time() == 6
    assert not script.running
    await asyncio.wait_for(task, 1)


async def test_draining_a_queue_that_never_ran_returns():
    await WorkQueue(Script()).drain(5)


async def test_wishes_that_are_outdated_take_no_memory():
    async with running(Script()) as queue:
        for round_ in range(1000):
            queue.add_after(A, 1e6 - round_)
        assert len(queue._later._heap) < 100


def _transient(retry_after=None):
    return TransientError(Reason.API_UNAVAILABLE, "no answer", retry_after=retry_after)
