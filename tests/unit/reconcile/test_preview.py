"""Plans before bytes: of spec.mode Plan, and of a Model that is suspended from the start."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from model_gallery.api import labels
from model_gallery.api.conditions import Reason
from model_gallery.protocol.operation import (
    InstallOperation,
    Repository,
    RepositoryKind,
    WantedFile,
)
from model_gallery.protocol.report import PublishedFile, ResultLine
from model_gallery.reconcile.actions import DeleteJob
from model_gallery.reconcile.observed import ObservedModel, WorkerPhase
from model_gallery.reconcile.outcome import Act, Done, Pause, Stall, Wait
from support import builders as b
from support.decisions import after, condition, decide, kind, on, start

ACTIVE, SUCCEEDED, FAILED = WorkerPhase.ACTIVE, WorkerPhase.SUCCEEDED, WorkerPhase.FAILED
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
COMMIT = "c" * 40
NEWER = replace(
    b.REQUEST,
    files=(WantedFile(path="a.gguf", url="https://example.org/2.gguf", sha256="f" * 64),),
)


PLAN = {"mode": "Plan"}
PLANNED = ResultLine(
    reason=Reason.SUCCEEDED,
    revision=COMMIT,
    files=(PublishedFile(path="a.gguf", size_bytes=4096, sha256=b.SHA),),
    files_total=1,
    size_bytes=4096,
    fetched_bytes=1024,
)


def planned(**changes: Any) -> ObservedModel:
    """A Model that shall only be planned, and was."""
    wish = b.observed(spec=b.spec(**PLAN), **changes)
    job = b.job(start(wish), SUCCEEDED, result=PLANNED)
    return on(replace(wish, workers=(job,)))


def test_a_plan_asks_and_fetches_nothing() -> None:
    action = start(b.observed(spec=b.spec(**PLAN)))
    operation = b.told(action)

    assert kind(action) == "plan"
    assert isinstance(operation, InstallOperation)
    assert (operation.plan_only, operation.quota_bytes) == (True, None)


def test_a_plan_under_way_is_waited_for() -> None:
    wish = b.observed(spec=b.spec(**PLAN))

    outcome = decide(replace(wish, workers=(b.job(start(wish)),)))

    assert outcome == Wait(Reason.PROGRESSING, "Asking the source")


STUCK = "ImagePullBackOff: no such image"


def test_a_plan_whose_worker_cannot_start_says_so() -> None:
    wish = b.observed(spec=b.spec(**PLAN))
    job = b.job(start(wish), waiting=STUCK)

    outcome = decide(replace(wish, workers=(job,)), b.NOW + MINUTE)

    assert isinstance(outcome, Wait)
    assert (outcome.reason, STUCK in outcome.message) == (Reason.WORKER_PENDING, True)


@pytest.mark.parametrize("wish", [{"mode": "Plan"}, {"suspend": True}], ids=["mode", "suspended"])
def test_a_worker_that_cannot_start_is_stopped_once_its_gallery_says_otherwise(
    wish: dict[str, Any],
) -> None:
    seen = b.observed(spec=b.spec(**wish))
    shape = start(seen).job["metadata"]["annotations"][labels.ANNOTATION_SHAPE]
    job = b.job(start(seen), waiting="Unschedulable: no node", shape=shape)
    seen = replace(seen, workers=(job,))
    assert not isinstance(decide(seen, b.NOW + MINUTE), Act)

    changed = b.gallery(worker={"nodeSelector": {"disk": "fast"}})
    outcome = decide(replace(seen, gallery=changed), b.NOW + MINUTE)

    assert isinstance(outcome, Act)
    assert outcome.actions == (DeleteJob(job.name, "job-uid"),)


def test_a_plan_waits_for_its_turn() -> None:
    outcome = decide(b.observed(spec=b.spec(**PLAN), busy_workers=2))

    assert isinstance(outcome, Wait)
    assert (outcome.reason, outcome.retry_seconds) == (Reason.QUEUED, 60.0)


def test_what_was_planned_stands_in_the_status() -> None:
    seen = planned()
    plan = seen.status.plan

    assert plan is not None
    assert (plan.files_total, plan.size_bytes, plan.fetch_bytes) == (1, 4096, 1024)
    assert (plan.revision, plan.planned_time) == (COMMIT, "2026-11-01T12:00:00Z")
    assert [file.path for file in plan.files] == ["a.gguf"]
    assert condition(seen.status, "Ready") == ("False", "Planned")
    assert decide(seen, b.NOW + DAY) == Pause(
        Reason.PLANNED,
        "1 file, 4.0 KiB, of which 1.0 KiB would be fetched; set spec.mode to Install",
    )


def test_a_plan_that_stands_is_not_made_again() -> None:
    seen = planned()

    assert after(seen, b.NOW + HOUR) == seen.status
    assert after(replace(seen, workers=()), b.NOW + HOUR) == seen.status


def test_a_plan_is_made_again_when_a_person_asks() -> None:
    now = b.NOW + HOUR
    asking = replace(planned(), meta=b.meta(reconcile_at="now"))
    action = start(asking, now)
    running = on(asking, now, workers=(*asking.workers, b.job(action, created=now)))
    assert isinstance(decide(running, now), Wait)

    result = structs.replace(PLANNED, files_total=7)
    ended = b.job(action, SUCCEEDED, result=result, created=now)
    told = on(replace(on(running, now), workers=(*asking.workers, ended)), now)

    assert told.status.plan is not None
    assert told.status.plan.files_total == 7
    assert isinstance(decide(told, now), Pause)


def test_a_source_that_refuses_a_plan_stalls_it() -> None:
    wish = b.observed(spec=b.spec(**PLAN))
    job = b.job(start(wish), FAILED, result=b.failure(Reason.NOT_FOUND), exit_code=31)

    assert decide(replace(wish, workers=(job,))) == Stall(Reason.NOT_FOUND, "it failed", 3600.0)


def test_a_source_that_is_away_for_a_while_does_not_stall_a_plan() -> None:
    wish = b.observed(spec=b.spec(**PLAN))
    job = b.job(start(wish), FAILED, result=b.failure(Reason.UNREACHABLE), exit_code=10)

    assert decide(replace(wish, workers=(job,))) == Wait(
        Reason.PROGRESSING_WITH_RETRY, "Asking again after: it failed", 15.0
    )


def test_another_wish_is_planned_anew() -> None:
    changed = replace(planned(), request=NEWER)

    assert kind(start(changed)) == "plan"


def test_a_plan_that_is_agreed_to_is_installed() -> None:
    agreed = replace(planned(), spec=b.spec())
    install = start(agreed)

    assert kind(install) == "install"
    ended = b.job(install, SUCCEEDED, result=b.success())
    status = after(replace(agreed, workers=(ended,)))
    assert status.plan is None
    assert condition(status, "Ready") == ("True", "Succeeded")


def test_only_planning_stops_an_install_under_way() -> None:
    worker = b.worker()
    outcome = decide(b.observed(spec=b.spec(**PLAN), workers=(worker,)))

    assert isinstance(outcome, Act)
    assert outcome.actions == (DeleteJob(worker.name, "job-uid"),)


def test_installing_stops_a_plan_under_way() -> None:
    wish = b.observed(spec=b.spec(**PLAN))
    job = b.job(start(wish))

    outcome = decide(b.observed(workers=(job,)))

    assert isinstance(outcome, Act)
    assert outcome.actions == (DeleteJob(job.name, "job-uid"),)


def test_planning_what_is_published_leaves_it_ready() -> None:
    assert isinstance(
        decide(b.observed(status=b.published(), spec=b.spec(**PLAN)), b.NOW + HOUR), Done
    )


def refused(reason: Reason, code: int, **changes: Any) -> ObservedModel:
    """A Model that shall only be planned, after the first attempt failed and that was written."""
    wish = b.observed(spec=b.spec(**PLAN, **changes))
    job = b.job(start(wish), FAILED, result=b.failure(reason), exit_code=code)
    return on(replace(wish, workers=(job,)))


def test_a_refused_plan_is_tried_again_by_another_job() -> None:
    seen = refused(Reason.UNREACHABLE, 10)
    again = start(seen, b.NOW + MINUTE)

    assert seen.status.attempts == 1
    assert kind(again) == "plan"
    assert again.job["metadata"]["name"] not in {job.name for job in seen.workers}


def test_a_secret_that_was_corrected_is_seen_within_a_minute() -> None:
    seen = refused(Reason.UNAUTHORIZED, 30, credentials={"secretName": "token"})

    assert decide(seen) == Stall(Reason.UNAUTHORIZED, "it failed", 30.0)
    assert kind(start(seen, b.NOW + MINUTE)) == "plan"


def test_a_plan_that_failed_does_not_hold_an_install_back() -> None:
    seen = replace(refused(Reason.NOT_FOUND, 31), spec=b.spec())

    assert kind(start(seen)) == "install"


def test_an_install_that_failed_does_not_hold_a_plan_back() -> None:
    wish = b.observed()
    job = b.job(start(wish), FAILED, result=b.failure(Reason.CHECKSUM_MISMATCH), exit_code=20)
    seen = on(replace(wish, workers=(job,)))
    assert isinstance(decide(seen, b.NOW + DAY), Stall)

    assert kind(start(replace(seen, spec=b.spec(**PLAN)), b.NOW + DAY)) == "plan"


def test_a_plan_that_was_made_forgets_the_failures() -> None:
    seen = refused(Reason.UNREACHABLE, 10)
    job = b.job(start(seen, b.NOW + MINUTE), SUCCEEDED, result=PLANNED)
    status = after(replace(seen, workers=(*seen.workers, job)), b.NOW + MINUTE)

    assert status.plan is not None
    assert (status.attempts, status.last_failure, status.next_retry_time) == (0, None, None)


def test_a_planned_repository_is_resolved() -> None:
    repository = Repository(
        kind=RepositoryKind.HUGGING_FACE,
        url="https://hub.example.org/o/r",
        revision="main",
        folder="a",
    )
    wish = b.observed(
        spec=b.spec(**PLAN), request=replace(b.REQUEST, files=(), repository=repository)
    )
    assert condition(after(wish), "Resolved") == ("Unknown", "Progressing")

    job = b.job(start(wish), SUCCEEDED, result=PLANNED)
    status = after(replace(wish, workers=(job,)))
    assert condition(status, "Resolved") == ("True", "Succeeded")


# Suspended from the start


SUSPENDED: dict[str, Any] = {"spec": b.spec(suspend=True)}
TOLD = "spec.suspend is true; asking the source what it would bring"


def shown(**changes: Any) -> ObservedModel:
    """A Model that is suspended, and of which a plan was made."""
    wish = b.observed(**SUSPENDED, **changes)
    job = b.job(start(wish), SUCCEEDED, result=PLANNED)
    return on(replace(wish, workers=(job,)))


def test_one_that_is_suspended_from_the_start_shows_what_it_would_bring() -> None:
    wish = b.observed(**SUSPENDED)
    assert kind(start(wish)) == "plan"
    running = replace(wish, workers=(b.job(start(wish)),))
    assert decide(running) == Pause(Reason.SUSPENDED, TOLD)

    seen = shown()
    told = "spec.suspend is true; 1 file, 4.0 KiB, of which 1.0 KiB would be fetched"
    assert decide(seen, b.NOW + DAY) == Pause(Reason.SUSPENDED, told)
    assert seen.status.plan is not None
    assert condition(seen.status, "Ready") == ("False", "Suspended")


def test_what_it_would_bring_is_asked_once() -> None:
    seen = shown()

    assert after(replace(seen, workers=()), b.NOW + DAY) == seen.status


def test_a_worker_that_cannot_start_stands_in_the_message() -> None:
    wish = b.observed(**SUSPENDED)
    job = b.job(start(wish), waiting=STUCK)

    outcome = decide(replace(wish, workers=(job,)), b.NOW + MINUTE)

    assert isinstance(outcome, Pause)
    assert (outcome.reason, STUCK in outcome.message) == (Reason.SUSPENDED, True)


def test_it_is_asked_in_its_turn() -> None:
    outcome = decide(b.observed(**SUSPENDED, busy_workers=2))

    assert isinstance(outcome, Pause)
    assert (outcome.reason, outcome.recheck_seconds) == (Reason.SUSPENDED, 60.0)


def test_a_source_that_refuses_stands_in_the_message_alone() -> None:
    wish = b.observed(**SUSPENDED)
    job = b.job(start(wish), FAILED, result=b.failure(Reason.NOT_FOUND), exit_code=31)
    seen = replace(wish, workers=(job,))

    told = "spec.suspend is true; the source was asked what it would bring: it failed"
    assert decide(seen) == Pause(Reason.SUSPENDED, told)
    assert (after(seen).attempts, after(seen).last_failure) == (0, None)


def test_resumed_it_is_installed() -> None:
    seen = replace(shown(), spec=b.spec())

    assert kind(start(seen)) == "install"


BEGUN: dict[str, ObservedModel] = {
    "once a worker was started": b.observed(
        **SUSPENDED, status=b.published().model_copy(update={"resolved": None})
    ),
    "once it was published": b.observed(**SUSPENDED, status=b.published(), request=NEWER),
    "with its Gallery": b.observed(spec=b.spec(suspend=True), gallery=b.gallery(suspend=True)),
}


@pytest.mark.parametrize("case", BEGUN)
def test_one_that_is_suspended_later_starts_nothing(case: str) -> None:
    outcome = decide(BEGUN[case])

    assert not isinstance(outcome, Act)


def test_a_worker_whose_start_was_not_written_down_is_stopped() -> None:
    worker = b.worker()
    outcome = decide(b.observed(**SUSPENDED, workers=(worker,)))

    assert isinstance(outcome, Act)
    assert outcome.actions == (DeleteJob(worker.name, "job-uid"),)
