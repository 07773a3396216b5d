"""Decisions of the Model: each case is a state of the world, and what must follow from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from model_gallery.api import labels
from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.model import ModelStatus
from model_gallery.errors import StalledError, TransientError
from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.protocol.report import ProgressLine
from model_gallery.reconcile import model, times
from model_gallery.reconcile.actions import AddFinalizer, DeleteJob, StartWorker
from model_gallery.reconcile.observed import ObservedModel, WorkerPhase, WorkerSettings
from model_gallery.reconcile.outcome import Act, Done, Outcome, Pause, Stall, Wait
from support import builders as b
from support import status_lint

DONE, ACT, WAIT, STALL, PAUSE = Done, Act, Wait, Stall, Pause

_SHAPE = (
    model.decide(b.observed(), b.NOW, 0.0)
    .outcome.actions[0]
    .job["metadata"]["annotations"][labels.ANNOTATION_SHAPE]
)

CASES: dict[str, tuple[dict[str, Any], type[Outcome], Reason | None]] = {
    "a new Model is taken into care first": (
        {"meta": b.meta(has_finalizer=False)},
        ACT,
        Reason.PROGRESSING,
    ),
    "an object that does not fit the schema stalls": (
        {"spec": None, "spec_error": "bad"},
        STALL,
        Reason.INVALID_SPEC,
    ),
    "a Model without its Gallery waits for it": (
        {"gallery": None, "request": None},
        WAIT,
        Reason.GALLERY_NOT_FOUND,
    ),
    "an entry that is not in the index stalls": (
        {"request": StalledError(Reason.ENTRY_NOT_FOUND, "no entry")},
        STALL,
        Reason.ENTRY_NOT_FOUND,
    ),
    "a base configuration that may come back is waited for": (
        {"request": TransientError(Reason.BASE_CONFIG_UNAVAILABLE, "down")},
        WAIT,
        Reason.BASE_CONFIG_UNAVAILABLE,
    ),
    "the younger of two with one name stalls": (
        {"rival": "older"},
        STALL,
        Reason.NAME_CONFLICT,
    ),
    "a missing claim is waited for": ({"claim": None}, WAIT, Reason.CLAIM_NOT_FOUND),
    "a claim on its way out is not written to": (
        {"claim": replace(b.CLAIM, deleting=True)},
        WAIT,
        Reason.CLAIM_LOST,
    ),
    "a suspended Model holds still": (
        {"spec": b.spec(suspend=True), "status": ModelStatus(storage=b.published().storage)},
        PAUSE,
        Reason.SUSPENDED,
    ),
    "a suspended Gallery starts no worker": (
        {"gallery": b.gallery(suspend=True)},
        PAUSE,
        Reason.SUSPENDED,
    ),
    "a resolved Model gets its worker": ({}, ACT, Reason.PROGRESSING),
    "a full Gallery makes it wait for its turn": ({"busy_workers": 2}, WAIT, Reason.QUEUED),
    "a running worker is waited for": ({"workers": (b.worker(),)}, WAIT, Reason.PROGRESSING),
    "a worker that cannot start is named": (
        {"workers": (b.worker(waiting="ImagePullBackOff: no such image"),)},
        WAIT,
        Reason.WORKER_PENDING,
    ),
    "a worker that cannot start is made anew once the Gallery says otherwise": (
        {"workers": (b.worker(waiting="Unschedulable: no node", shape="older"),)},
        ACT,
        Reason.PREVIOUS_WORKER,
    ),
    "so is one whose volumes do not come": (
        {"workers": (b.worker(preparing=("pod a-b", b.NOW), shape="older"),)},
        ACT,
        Reason.PREVIOUS_WORKER,
    ),
    "so is one that has too little memory": (
        {"workers": (b.worker(exit_code=137, killed_by="OOMKilled", shape="older"),)},
        ACT,
        Reason.PREVIOUS_WORKER,
    ),
    "one that works is left alone": (
        {"workers": (b.worker(shape="older"),)},
        WAIT,
        Reason.PROGRESSING,
    ),
    "a claim to read from that does not exist takes nobody's turn": (
        {"missing_source": "seeds"},
        WAIT,
        Reason.CLAIM_NOT_FOUND,
    ),
    "nor does a worker that waits for one": (
        {
            "missing_source": "seeds",
            "workers": (b.worker(waiting="Unschedulable: no claim", shape=_SHAPE),),
        },
        ACT,
        Reason.PREVIOUS_WORKER,
    ),
    "one that cannot start as the Gallery says is left alone too": (
        {"workers": (b.worker(waiting="Unschedulable: no node", shape=_SHAPE),)},
        WAIT,
        Reason.WORKER_PENDING,
    ),
    "so is one of a version that noted no shape": (
        {"workers": (b.worker(waiting="Unschedulable: no node"),)},
        WAIT,
        Reason.WORKER_PENDING,
    ),
    "a pod that has no container for long is named": (
        {"workers": (b.worker(preparing=("pod a-b", b.NOW - timedelta(seconds=30))),)},
        WAIT,
        Reason.WORKER_PENDING,
    ),
    "one that is new is given its time": (
        {"workers": (b.worker(preparing=("pod a-b", b.NOW - timedelta(seconds=29))),)},
        WAIT,
        Reason.PROGRESSING,
    ),
    "a pod whose Job is gone is waited for": ({"strays": ("a-b",)}, WAIT, Reason.PREVIOUS_WORKER),
    "a worker whose last pod was killed shows the retry": (
        {"workers": (b.worker(exit_code=137),)},
        WAIT,
        Reason.PROGRESSING_WITH_RETRY,
    ),
    "a worker of an older wish is stopped first": (
        {"workers": (b.worker(plan_digest="f" * 64, name="other"),)},
        ACT,
        Reason.PREVIOUS_WORKER,
    ),
    "and waited for while it ends": (
        {"workers": (b.worker(plan_digest="f" * 64, name="other", deleting=True),)},
        WAIT,
        Reason.PREVIOUS_WORKER,
    ),
    "a successful worker makes it Ready": (
        {"workers": (b.worker(WorkerPhase.SUCCEEDED, result=b.success()),)},
        DONE,
        None,
    ),
    "wrong bytes stall": (
        {
            "workers": (
                b.worker(
                    WorkerPhase.FAILED,
                    result=b.failure(Reason.CHECKSUM_MISMATCH),
                    exit_code=30,
                ),
            )
        },
        STALL,
        Reason.CHECKSUM_MISMATCH,
    ),
    "an unreachable source is tried again later": (
        {
            "workers": (
                b.worker(WorkerPhase.FAILED, result=b.failure(Reason.UNREACHABLE), exit_code=10),
            )
        },
        WAIT,
        Reason.PROGRESSING_WITH_RETRY,
    ),
    "a published Model stays Ready without its worker": ({"status": b.published()}, DONE, None),
    "a claim made anew is filled anew": (
        {"status": b.published(), "claim": replace(b.CLAIM, uid="another")},
        ACT,
        Reason.PROGRESSING,
    ),
    "suspending a published Model leaves it Ready": (
        {"status": b.published(), "spec": b.spec(suspend=True)},
        DONE,
        None,
    ),
    "a worker of another wish that ran since casts doubt on what is published": (
        {
            "status": b.published(),
            "workers": (
                b.worker(
                    WorkerPhase.FAILED,
                    plan_digest="f" * 64,
                    name="other",
                    created=b.NOW + timedelta(seconds=5),
                ),
            ),
        },
        ACT,
        Reason.PROGRESSING,
    ),
}


@pytest.mark.parametrize(("changes", "want", "reason"), CASES.values(), ids=CASES.keys())
def test_the_first_open_step_decides(
    changes: dict[str, Any], want: type[Outcome], reason: Reason | None
) -> None:
    outcome = model.decide(b.observed(**changes), b.NOW, 0.5).outcome

    assert isinstance(outcome, want)
    assert reason is getattr(outcome, "reason", None)


@pytest.mark.parametrize(("changes", "want", "reason"), CASES.values(), ids=CASES.keys())
def test_every_status_keeps_the_contract(
    changes: dict[str, Any], want: type[Outcome], reason: Reason | None
) -> None:
    """Whatever was decided, the status passes the linter that all reconcilers are held to."""
    observed = b.observed(**changes)
    status = model.status_after(observed, model.decide(observed, b.NOW, 0.5), b.NOW)

    status_lint.check(
        {
            "metadata": {"generation": observed.meta.generation},
            "status": status.model_dump(by_alias=True, exclude_none=True, mode="json"),
        }
    )


def test_a_new_model_gets_the_finalizer_before_anything_else() -> None:
    decision = model.decide(b.observed(meta=b.meta(has_finalizer=False)), b.NOW, 0.0)

    assert decision.outcome.actions == (AddFinalizer(),)


def test_the_worker_is_the_same_after_a_crash() -> None:
    """The name depends on the wish and its history, not on when it is computed."""
    first = _start(b.observed())
    second = _start(b.observed(meta=b.meta(generation=7)))

    assert first.job["metadata"]["name"] == second.job["metadata"]["name"]


def test_each_failure_leads_to_a_worker_of_another_name() -> None:
    """A Job that failed for good cannot be run again under its name."""
    failed = b.observed(
        workers=(b.worker(WorkerPhase.FAILED, result=b.failure(Reason.UNREACHABLE), exit_code=10),)
    )
    status = model.status_after(failed, model.decide(failed, b.NOW, 0.0), b.NOW)
    later = replace(failed, status=status)

    again = _start(later, b.NOW + timedelta(hours=1))

    assert status.attempts == 1
    assert again.job["metadata"]["name"] != failed.workers[0].name


def test_a_failure_is_counted_once() -> None:
    failed = b.observed(
        workers=(b.worker(WorkerPhase.FAILED, result=b.failure(Reason.UNREACHABLE), exit_code=10),)
    )
    once = model.status_after(failed, model.decide(failed, b.NOW, 0.0), b.NOW)
    seen = replace(failed, status=once)
    twice = model.status_after(seen, model.decide(seen, b.NOW, 0.9), b.NOW)

    assert once == twice


def test_a_stalled_model_is_tried_again_when_a_person_asks() -> None:
    failed = b.observed(
        workers=(
            b.worker(WorkerPhase.FAILED, result=b.failure(Reason.CHECKSUM_MISMATCH), exit_code=30),
        )
    )
    status = model.status_after(failed, model.decide(failed, b.NOW, 0.0), b.NOW)

    still = model.decide(b.observed(status=status), b.NOW, 0.0)
    asked = model.decide(b.observed(status=status, meta=b.meta(reconcile_at="now")), b.NOW, 0.0)

    assert isinstance(still.outcome, Stall)
    assert isinstance(asked.outcome, Act)


def test_a_full_disk_is_looked_at_again_by_itself() -> None:
    failed = b.observed(
        workers=(b.worker(WorkerPhase.FAILED, result=b.failure(Reason.NO_SPACE), exit_code=40),)
    )
    status = model.status_after(failed, model.decide(failed, b.NOW, 0.0), b.NOW)

    before = model.decide(b.observed(status=status), b.NOW + timedelta(seconds=200), 0.0)
    after = model.decide(b.observed(status=status), b.NOW + timedelta(seconds=301), 0.0)

    assert isinstance(before.outcome, Stall)
    assert before.outcome.recheck_seconds == pytest.approx(100.0)
    assert isinstance(after.outcome, Act)


SECRET = b.spec(credentials={"secretName": "hub"})
BEHIND = WorkerSettings(image="w", network=NetworkPolicy(proxy="http://proxy:1"))
PROXY = b.gallery(proxyCredentials={"secretName": "proxy"})
RECHECKS: dict[str, tuple[dict[str, Any], Reason, int, float]] = {
    "a Secret that is corrected": ({"spec": SECRET}, Reason.UNAUTHORIZED, 0, 30.0),
    "one that does not opt in": ({"spec": SECRET}, Reason.SECRET_NOT_ALLOWED, 0, 30.0),
    "one for the proxy": ({"gallery": PROXY, "settings": BEHIND}, Reason.UNAUTHORIZED, 0, 30.0),
    "one for a proxy that there is not": ({"gallery": PROXY}, Reason.UNAUTHORIZED, 0, 300.0),
    "the last of these times": ({"spec": SECRET}, Reason.UNAUTHORIZED, 19, 30.0),
    "nobody looks any longer": ({"spec": SECRET}, Reason.UNAUTHORIZED, 20, 300.0),
    "one that may not see the source": ({"spec": SECRET}, Reason.NOT_FOUND, 0, 30.0),
    "a proxy's hides nothing": (
        {"gallery": PROXY, "settings": BEHIND},
        Reason.NOT_FOUND,
        0,
        3600.0,
    ),
    "no Secret": ({}, Reason.UNAUTHORIZED, 0, 300.0),
    "a ConfigMap that is corrected": ({}, Reason.INVALID_SPEC, 0, 3600.0),
    "a source that is signed anew": ({}, Reason.SIGNATURE_INVALID, 0, 3600.0),
    "no fault of the Secret's": ({"spec": SECRET}, Reason.NO_SPACE, 0, 300.0),
}


@pytest.mark.parametrize("case", RECHECKS)
def test_a_corrected_secret_is_seen_within_a_minute_while_somebody_looks(case: str) -> None:
    """P18. The operator has no right to read Secrets, so it cannot watch them either."""
    changes, reason, attempts, seconds = RECHECKS[case]
    started = b.observed(status=ModelStatus(attempts=attempts), **changes)
    outcome = model.decide(started, b.NOW, 0.0).outcome
    assert isinstance(outcome, Act)
    (start,) = outcome.actions
    assert isinstance(start, StartWorker)
    job = b.job(start, WorkerPhase.FAILED, result=b.failure(reason))
    failed = replace(started, workers=(job,))
    status = model.status_after(failed, model.decide(failed, b.NOW, 0.0), b.NOW)

    assert status.next_retry_time == times.to_text(b.NOW + timedelta(seconds=seconds))


def test_another_wish_does_not_inherit_the_stall() -> None:
    failed = b.observed(
        workers=(
            b.worker(WorkerPhase.FAILED, result=b.failure(Reason.CHECKSUM_MISMATCH), exit_code=30),
        )
    )
    status = model.status_after(failed, model.decide(failed, b.NOW, 0.0), b.NOW)
    request = replace(b.REQUEST, documents=())

    decision = model.decide(b.observed(status=status, request=request), b.NOW, 0.0)

    assert isinstance(decision.outcome, Act)


def test_a_spec_change_takes_ready_away_when_the_worker_starts() -> None:
    """A script without kubectl wait's guard must not see the old Ready while the new files come."""
    request = replace(b.REQUEST, documents=())
    observed = b.observed(
        status=b.published(),
        request=request,
        spec=b.spec(config={"context_size": 1}),
        meta=b.meta(generation=2),
    )
    status = model.status_after(observed, model.decide(observed, b.NOW, 0.0), b.NOW)

    ready = next(c for c in status.conditions if c.type == "Ready")

    assert (ready.status, ready.observed_generation) == ("Unknown", 2)
    assert status.resolved is not None
    assert status.resolved.plan_digest == ""


def test_no_checksum_is_told() -> None:
    observed = b.observed(
        workers=(b.worker(WorkerPhase.SUCCEEDED, result=b.success(verified=False)),)
    )
    status = model.status_after(observed, model.decide(observed, b.NOW, 0.0), b.NOW)

    verified = next(c for c in status.conditions if c.type == "Verified")

    assert (verified.status, verified.reason) == ("Unknown", Reason.NO_CHECKSUM)


def test_progress_is_written_at_most_every_ten_seconds() -> None:
    line = ProgressLine(completed_bytes=50, total_bytes=100, bytes_per_second=5)
    first = b.observed(workers=(b.worker(),), progress=(line, b.NOW))
    status = model.status_after(first, model.decide(first, b.NOW, 0.0), b.NOW)
    newer = structs.replace(line, completed_bytes=80)

    def after(seconds: int) -> ModelStatus:
        now = b.NOW + timedelta(seconds=seconds)
        seen = replace(first, status=status, progress=(newer, now))
        return model.status_after(seen, model.decide(seen, now, 0.0), now)

    assert status.progress is not None
    assert (status.progress.percent, status.progress.eta_seconds) == (50, 10)
    assert after(9) == status
    assert after(10).progress.completed_bytes == 80


@pytest.mark.parametrize("phase", list(WorkerPhase))
def test_a_claim_that_is_being_deleted_is_let_go(phase: WorkerPhase) -> None:
    """Even the pod of a finished worker holds a claim back for as long as it exists."""
    observed = b.observed(
        claim=replace(b.CLAIM, deleting=True), workers=(b.worker(phase),), gallery=None
    )

    outcome = model.decide(observed, b.NOW, 0.0).outcome

    assert isinstance(outcome, Act)
    assert outcome.actions == (DeleteJob(b.worker().name, "job-uid"),)


def test_suspending_stops_a_running_worker() -> None:
    observed = b.observed(spec=b.spec(suspend=True), workers=(b.worker(),))

    outcome = model.decide(observed, b.NOW, 0.0).outcome

    assert isinstance(outcome, Act)
    assert outcome.actions == (DeleteJob(b.worker().name, "job-uid"),)


def _start(observed: ObservedModel, now: Any = b.NOW) -> StartWorker:
    outcome = model.decide(observed, now, 0.0).outcome
    assert isinstance(outcome, Act)
    (action,) = outcome.actions
    assert isinstance(action, StartWorker)
    return action


def test_a_host_that_asked_to_wait_is_left_alone_by_all_models() -> None:
    until = b.NOW + timedelta(seconds=90)

    outcome = model.decide(b.observed(host_paused_until=until), b.NOW, 0.5).outcome

    assert isinstance(outcome, Wait)
    assert outcome.reason is Reason.RATE_LIMITED
    assert outcome.retry_seconds == 90.0
    past = b.observed(host_paused_until=b.NOW)
    assert isinstance(model.decide(past, b.NOW, 0.5).outcome, Act)
