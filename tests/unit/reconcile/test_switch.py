"""The change to other files while pods have the former in memory: fetched first, then it waits."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.model import ModelStatus
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.protocol.backend import BackendFacts, LoadedModel
from model_gallery.protocol.operation import InstallOperation, WantedFile
from model_gallery.protocol.usage import ProcessUsage, UsageReport
from model_gallery.reconcile import model
from model_gallery.reconcile.actions import DeleteJob, StartWorker
from model_gallery.reconcile.observed import ObservedModel, WorkerPhase
from model_gallery.reconcile.outcome import Act, Done, Wait
from model_gallery.reconcile.serving import PodView
from support import builders as b

LATER = b.NOW + timedelta(hours=1)
OTHER = replace(b.REQUEST, files=(WantedFile(path="a.gguf", url="https://x/2", sha256="2" * 64),))


def pod(*models: LoadedModel, **more: Any) -> PodView:
    facts = BackendFacts(BackendType.OLLAMA, live=True, ready=True, models=models)
    return PodView("p", "uid-p", "real", facts, **more)


HOLDING = pod(LoadedModel("a", ServingState.LOADED))
PROCESS = ProcessUsage(
    pid=1, name="serve", resident_bytes=1, shared_bytes=0, threads=1, models=("ns/a",)
)
MAPPING = pod(usage=UsageReport(sampled_time=b.NOW, processes=(PROCESS,)))
FREE = pod()
STRANGER = replace(FREE, facts=BackendFacts(None, live=True, ready=False))
SEEN_THROUGH = replace(STRANGER, usage=UsageReport(sampled_time=b.NOW, processes=()))
SILENT = replace(FREE, facts=BackendFacts(None, live=False, ready=False))


def changed(*pods: PodView, **changes: Any) -> ObservedModel:
    """A published Model that wants another file by now."""
    start = {"status": b.published(), "request": OTHER, "pods": pods, "known_as": frozenset("a")}
    return b.observed(**(start | changes | {"spec": _spec(**changes.get("spec", {}))}))


def _spec(**changes: Any) -> Any:
    return b.spec(**({"updatePolicy": {"mode": "Track"}} | changes))


def started(seen: ObservedModel, now: datetime = LATER) -> StartWorker:
    outcome = model.decide(seen, now, 0.0).outcome
    assert isinstance(outcome, Act)
    (start,) = outcome.actions
    assert isinstance(start, StartWorker)
    return start


def kind(start: StartWorker) -> tuple[str, bool]:
    told = b.told(start)
    assert isinstance(told, InstallOperation)
    return start.job["metadata"]["labels"]["modelgallery.dev/operation"], told.fetch_only


def on(seen: ObservedModel, now: datetime = LATER, **changes: Any) -> ObservedModel:
    """The same Model after its status was written."""
    status = model.status_after(seen, model.decide(seen, now, 0.0), now)
    return replace(seen, status=status, **changes)


def fetched(*pods: PodView, now: datetime = LATER, **changes: Any) -> ObservedModel:
    seen = changed(*pods, **changes)
    job = b.job(started(seen, now), WorkerPhase.SUCCEEDED, result=b.success())
    return on(replace(seen, workers=(job,)), now)


WHEN: dict[str, tuple[ObservedModel, tuple[str, bool]]] = {
    "a backend holds it": (changed(HOLDING), ("fetch", True)),
    "a process has its files open": (changed(MAPPING), ("fetch", True)),
    "a server that nobody knows may have it": (changed(STRANGER), ("fetch", True)),
    "one that a sidecar looks into": (changed(SEEN_THROUGH), ("install", False)),
    "a pod that serves nothing": (changed(SILENT), ("install", False)),
    "nobody holds it": (changed(FREE), ("install", False)),
    "no pods at all": (changed(), ("install", False)),
    "nothing is known of pods": (changed(pods=None), ("install", False)),
    "no wait is wished": (
        changed(HOLDING, spec={"updatePolicy": {"mode": "Track", "waitSeconds": 0}}),
        ("install", False),
    ),
    "nothing was published": (changed(HOLDING, status=ModelStatus()), ("install", False)),
}


@pytest.mark.parametrize("case", WHEN)
def test_which_worker_comes_first(case: str) -> None:
    seen, want = WHEN[case]
    assert kind(started(seen)) == want


def test_what_is_published_stays_so_while_the_next_is_fetched() -> None:
    seen = on(changed(HOLDING))
    assert seen.status.resolved == b.published().resolved
    running = replace(seen, workers=(b.job(started(seen)),))
    assert model.decide(running, LATER, 0.0).outcome == Wait(
        Reason.PROGRESSING, "Fetching, verifying and publishing the files"
    )


def test_then_it_waits_for_its_users_and_says_for_whom_and_how_long() -> None:
    seen = fetched(HOLDING)
    assert seen.status.staged is not None
    outcome = model.decide(seen, LATER + timedelta(seconds=100), 0.0).outcome
    assert isinstance(outcome, Wait)
    assert (outcome.reason, outcome.retry_seconds) == (Reason.IN_USE, 200.0)
    assert outcome.message == (
        "Fetched; waiting for p to give the present files back, for 300 s at most"
        " (updatePolicy.waitSeconds)"
    )


def test_many_users_are_counted() -> None:
    pods = tuple(replace(HOLDING, name=name) for name in "pqrst")
    outcome = model.decide(fetched(*pods), LATER, 0.0).outcome
    assert isinstance(outcome, Wait)
    assert "waiting for p, q, r and 2 more to" in outcome.message


def test_not_for_ever() -> None:
    late = LATER + timedelta(seconds=300)
    assert kind(started(fetched(HOLDING), late)) == ("install", False)


def test_nor_longer_than_they_use_it() -> None:
    free = replace(fetched(HOLDING), pods=(FREE,))
    assert kind(started(free)) == ("install", False)


def test_a_user_that_goes_in_the_middle_does_not_make_two_workers() -> None:
    seen = changed(HOLDING)
    busy = replace(seen, workers=(b.job(started(seen)),), pods=(FREE,))
    assert isinstance(model.decide(busy, LATER, 0.0).outcome, Wait)


def test_one_that_comes_back_after_the_worker_began_changes_nothing() -> None:
    waiting = replace(fetched(HOLDING), pods=(FREE,))
    job = b.job(started(waiting))
    seen = replace(on(waiting), workers=(*waiting.workers, job), pods=(HOLDING,))
    outcome = model.decide(seen, LATER, 0.0).outcome
    assert isinstance(outcome, Wait)
    assert outcome.reason is Reason.PROGRESSING


def test_a_failure_is_counted_once_and_tried_again() -> None:
    seen = changed(HOLDING)
    job = b.job(started(seen), WorkerPhase.FAILED, result=b.failure(Reason.UNREACHABLE))
    failed = on(replace(seen, workers=(job,)))
    assert failed.status.attempts == 1
    assert on(failed).status.attempts == 1
    again = started(failed, LATER + timedelta(hours=1))
    assert kind(again) == ("fetch", True)
    assert again.job["metadata"]["name"] != job.name


def test_when_it_is_published_nothing_waits_any_longer() -> None:
    waiting = replace(fetched(HOLDING), pods=(FREE,))
    start = started(waiting)
    result = b.success(
        plan_digest=start.job["metadata"]["annotations"]["modelgallery.dev/plan-digest"]
    )
    job = b.job(start, WorkerPhase.SUCCEEDED, result=result)
    done = on(replace(on(waiting), workers=(job,)))
    assert done.status.staged is None
    assert isinstance(model.decide(done, LATER, 0.0).outcome, Done)


def test_going_back_before_the_change_ends_the_waiting() -> None:
    back = replace(fetched(HOLDING), request=b.REQUEST)
    seen = on(back)
    assert seen.status.staged is None
    assert isinstance(model.decide(back, LATER, 0.0).outcome, Done)


def test_going_back_stops_the_worker_that_fetches() -> None:
    seen = changed(HOLDING)
    job = b.job(started(seen))
    back = replace(seen, workers=(job,), request=b.REQUEST)
    outcome = model.decide(back, LATER, 0.0).outcome
    assert isinstance(outcome, Act)
    assert outcome.actions == (DeleteJob(job.name, "job-uid"),)


def test_another_wish_forgets_what_was_fetched_for_the_last() -> None:
    third = replace(
        b.REQUEST, files=(WantedFile(path="a.gguf", url="https://x/3", sha256="3" * 64),)
    )
    seen = replace(fetched(HOLDING), request=third)
    assert on(seen).status.staged is None
    assert kind(started(seen)) == ("fetch", True)
