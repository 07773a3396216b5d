"""Decisions for a published Model: verification, repair, something newer."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.model import ModelStatus
from model_gallery.protocol.operation import (
    Document,
    InstallOperation,
    Repository,
    RepositoryKind,
    VerifyOperation,
    WantedFile,
)
from model_gallery.protocol.report import FileProblem, Problem, ResultLine
from model_gallery.reconcile import times
from model_gallery.reconcile.actions import DeleteJob
from model_gallery.reconcile.observed import ObservedModel, ScanView, WorkerPhase
from model_gallery.reconcile.outcome import Act, Done, Pause, Stall, Wait
from model_gallery.reconcile.plan import plan_of
from support import builders as b
from support.decisions import after, condition, decide, kind, on, start, started

ACTIVE, SUCCEEDED, FAILED = WorkerPhase.ACTIVE, WorkerPhase.SUCCEEDED, WorkerPhase.FAILED
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LOST = FileProblem(path="a.gguf", problem=Problem.MISSING)
TOUCHED = FileProblem(path="a.gguf", problem=Problem.TOUCHED)
BROKEN = ResultLine(
    reason=Reason.SUCCEEDED,
    message="1 of 2 files: a.gguf is missing",
    problems=(LOST,),
    problems_total=1,
)
WHOLE = ResultLine(reason=Reason.SUCCEEDED)
NEWER = replace(
    b.REQUEST,
    files=(WantedFile(path="a.gguf", url="https://example.org/2.gguf", sha256="f" * 64),),
)
REPOSITORY = replace(
    b.REQUEST,
    files=(),
    repository=Repository(
        kind=RepositoryKind.HUGGING_FACE,
        url="https://huggingface.co/o/r",
        revision="main",
        folder="a",
    ),
)
COMMIT, NEXT_COMMIT = "c" * 40, "e" * 40
HUB = {"huggingFace": {"repo": "o/r"}}


def published(**changes: Any) -> ObservedModel:
    """A Model whose files were published and read at NOW."""
    return b.observed(**{"status": b.published(), **changes})


def repository(**changes: Any) -> ObservedModel:
    """A Model of a repository whose worker has just published a commit."""
    spec = b.spec(**{"source": HUB, **changes})
    wish = b.observed(spec=spec, request=REPOSITORY)
    result = b.success(revision=COMMIT, source_digest="1" * 64)
    return on(replace(wish, workers=(b.job(start(wish), SUCCEEDED, result=result),)), workers=())


def answer(source_digest: str, revision: str = NEXT_COMMIT) -> ResultLine:
    return ResultLine(reason=Reason.SUCCEEDED, revision=revision, source_digest=source_digest)


def damaged(now: datetime = b.NOW + DAY, **changes: Any) -> ObservedModel:
    """A Model of which a verification has found a file missing."""
    due = published(**changes)
    job = b.job(start(due, now), SUCCEEDED, result=BROKEN)
    return on(replace(due, workers=(job,)), now, workers=())


# Verification


def test_nothing_is_due() -> None:
    outcome = decide(published(), b.NOW + HOUR)

    assert outcome == Done("Published 1 file, 4.0 KiB", 23 * 3600.0)


def test_nothing_is_ever_due_without_a_period() -> None:
    observed = published(spec=b.spec(verifyPeriodSeconds=0))

    assert decide(observed, b.NOW + timedelta(days=400)) == Done("Published 1 file, 4.0 KiB", None)


def test_the_period_is_over() -> None:
    action = start(published(), b.NOW + DAY)

    assert kind(action) == "verify"
    assert isinstance(b.told(action), VerifyOperation)
    assert b.told(action).bandwidth_bytes == 200 * 1024 * 1024


def test_a_person_asks_for_a_verification() -> None:
    observed = published(meta=b.meta(verify_at="now"), spec=b.spec(verifyPeriodSeconds=0))

    assert kind(start(observed)) == "verify"


@pytest.mark.parametrize("age", [timedelta(0), HOUR], ids=["at once", "later"])
def test_what_was_asked_for_is_done_once(age: timedelta) -> None:
    asked = published(meta=b.meta(verify_at="now"))
    job = b.job(start(asked, b.NOW + age), SUCCEEDED, result=WHOLE)

    seen = on(replace(asked, workers=(job,)), b.NOW + age)

    assert seen.status.last_handled_verify_at == "now"
    assert isinstance(decide(seen, b.NOW + age), Done)


def test_a_file_touched_since_it_was_read_is_read() -> None:
    scan = ScanView(b.NOW + HOUR, (TOUCHED,), 1)

    assert kind(start(published(scan=scan), b.NOW + HOUR)) == "verify"


def test_a_file_touched_before_it_was_read_is_not_read_again() -> None:
    scan = ScanView(b.NOW, (TOUCHED,), 1)

    assert isinstance(decide(published(scan=scan), b.NOW + HOUR), Done)


def test_one_verification_in_a_gallery_at_a_time() -> None:
    outcome = decide(published(busy_readers=1), b.NOW + DAY)

    assert outcome == Done("Published 1 file, 4.0 KiB", 60.0)


def test_reading_takes_ready_from_nobody() -> None:
    """Neither when its Job starts nor while it runs is a status written that says otherwise."""
    now = b.NOW + DAY
    due = on(published())
    running = replace(due, workers=(b.job(start(due, now)),))

    assert after(due, now) == due.status
    assert after(running, now) == due.status
    assert condition(due.status, "Ready") == ("True", "Succeeded")


def test_whole_files_move_the_time_of_the_check() -> None:
    now = b.NOW + DAY
    due = published()
    status = after(replace(due, workers=(b.job(start(due, now), SUCCEEDED, result=WHOLE),)), now)

    assert status.checked_time == "2026-11-02T12:00:00Z"
    assert status.verified_time == "2026-11-02T12:00:00Z"
    assert condition(status, "Ready") == ("True", "Succeeded")


def test_files_without_a_promise_are_checked_and_never_verified() -> None:
    now = b.NOW + DAY
    due = published(status=b.published(verified_time=None))
    status = after(replace(due, workers=(b.job(start(due, now), SUCCEEDED, result=WHOLE),)), now)

    assert (status.checked_time, status.verified_time) == ("2026-11-02T12:00:00Z", None)
    assert condition(status, "Verified") == ("Unknown", "NoChecksum")


def test_a_verification_that_failed_is_tried_again_when_its_job_is_gone() -> None:
    now = b.NOW + DAY
    due = published()
    failed = replace(due, workers=(b.job(start(due, now), FAILED, exit_code=137),))

    assert decide(failed, now) == Done("Published 1 file, 4.0 KiB", 600.0)
    assert condition(after(failed, now), "Ready") == ("True", "Succeeded")
    assert kind(start(on(failed, now, workers=()), now)) == "verify"


# Damage and repair


def test_damage_is_shown_and_mended_next() -> None:
    seen = damaged()

    assert seen.status.damage is not None
    assert seen.status.damage.total == 1
    assert [(item.path, item.problem) for item in seen.status.damage.problems] == [
        ("a.gguf", "Missing")
    ]
    assert seen.status.checked_time == "2026-11-01T12:00:00Z"
    assert condition(seen.status, "Verified") == ("False", "FilesDamaged")
    assert kind(start(seen, b.NOW + DAY)) == "repair"


def test_damaged_files_are_not_called_ready_in_the_same_breath() -> None:
    assert condition(damaged().status, "Ready") == ("Unknown", "FilesDamaged")


def test_a_lost_file_that_a_scan_found_is_mended_without_reading_first() -> None:
    seen = on(published(scan=ScanView(b.NOW + HOUR, (TOUCHED, LOST), 2)), b.NOW + HOUR)

    assert seen.status.damage is not None
    assert seen.status.damage.message == "a scan found a.gguf missing"
    assert kind(start(seen, b.NOW + HOUR)) == "repair"


def test_a_damage_is_written_down_before_its_job_starts() -> None:
    """The Job's name follows from when it was found; found again, it would start a second one."""
    seen = published(scan=ScanView(b.NOW + HOUR, (LOST,), 1))

    assert decide(seen, b.NOW + HOUR) == Wait(
        Reason.FILES_DAMAGED, "Mending: a scan found a.gguf missing", 1.0
    )


def test_a_scan_older_than_the_last_look_is_no_news() -> None:
    seen = published(scan=ScanView(b.NOW, (LOST,), 1))

    assert isinstance(decide(seen, b.NOW + HOUR), Done)


def test_a_repair_looks_before_it_takes() -> None:
    operation = started(damaged(), b.NOW + DAY)

    assert operation.recheck
    assert not operation.from_receipt
    assert operation.plan_digest == b.plan_digest()


def test_a_repair_waits_for_its_turn() -> None:
    outcome = decide(replace(damaged(), busy_workers=2), b.NOW + DAY)

    assert isinstance(outcome, Wait)
    assert (outcome.reason, outcome.retry_seconds) == (Reason.QUEUED, 60.0)


def test_a_repair_waits_for_a_pod_whose_job_is_gone() -> None:
    outcome = decide(replace(damaged(), strays=("a-b",)), b.NOW + DAY)

    assert isinstance(outcome, Wait)
    assert outcome.reason is Reason.PREVIOUS_WORKER


def test_a_repair_under_way_is_told() -> None:
    seen, now = damaged(), b.NOW + DAY
    status = after(replace(seen, workers=(b.job(start(seen, now)),)), now)

    assert condition(status, "Ready") == ("Unknown", "FilesDamaged")
    assert condition(status, "Reconciling") == ("True", "FilesDamaged")


def test_what_is_mended_is_as_good_as_checked() -> None:
    seen, now = damaged(), b.NOW + DAY
    job = b.job(start(seen, now), SUCCEEDED, result=b.success())
    mended = on(replace(seen, workers=(job,)), now + HOUR)

    assert mended.status.damage is None
    assert mended.status.attempts == 0
    assert mended.status.checked_time == "2026-11-02T13:00:00Z"
    assert condition(mended.status, "Ready") == ("True", "Succeeded")
    assert condition(mended.status, "Verified") == ("True", "Succeeded")
    assert isinstance(decide(mended, now + HOUR), Done)


def test_a_failed_repair_is_counted_and_tried_again_later() -> None:
    seen, now = damaged(), b.NOW + DAY
    first = start(seen, now)
    job = b.job(first, FAILED, result=b.failure(Reason.UNREACHABLE), exit_code=10)
    failed = on(replace(seen, workers=(job,)), now)

    assert failed.status.attempts == 1
    assert condition(failed.status, "Ready") == ("Unknown", "ProgressingWithRetry")
    assert decide(failed, now) == Wait(
        Reason.PROGRESSING_WITH_RETRY, "Mending again after: it failed", 15.0
    )
    again = start(failed, now + timedelta(seconds=15))
    assert again.job["metadata"]["name"] != first.job["metadata"]["name"]


def stalled_repair() -> ObservedModel:
    seen, now = damaged(), b.NOW + DAY
    job = b.job(start(seen, now), FAILED, result=b.failure(Reason.CHECKSUM_MISMATCH), exit_code=30)
    return on(replace(seen, workers=(job,)), now)


def test_a_repair_that_cannot_succeed_stalls() -> None:
    outcome = decide(stalled_repair(), b.NOW + 2 * DAY)

    assert outcome == Stall(Reason.CHECKSUM_MISMATCH, "the damage cannot be mended: it failed")


def test_a_stalled_repair_is_tried_again_when_a_person_asks() -> None:
    """Who has put the file back by hand has no other way to say so."""
    asked = replace(stalled_repair(), meta=b.meta(reconcile_at="now"))

    assert kind(start(asked, b.NOW + 2 * DAY)) == "repair"


def test_a_new_wish_stops_the_repair_first() -> None:
    seen, now = damaged(), b.NOW + DAY
    job = b.job(start(seen, now))
    changed = replace(
        seen,
        workers=(job,),
        request=replace(b.REQUEST, documents=(Document(path="a.yaml", content="new\n"),)),
        spec=b.spec(config={"context_size": 1}),
    )

    outcome = decide(changed, now)

    assert outcome == Act(
        (DeleteJob(job.name, "job-uid"),),
        Reason.PREVIOUS_WORKER,
        "Stopping the worker of an older wish",
    )
    ending = replace(changed, workers=(replace(job, deleting=True),))
    assert isinstance(decide(ending, now), Wait)
    assert kind(start(replace(changed, workers=()), now)) == "install"


# Something newer in the index


def moved(digest: str = "e" * 64, **changes: Any) -> ObservedModel:
    """A published Model whose entry the index changed, in an index of that digest."""
    gallery = replace(b.gallery(), index_digest=digest)
    return published(**{"request": NEWER, "gallery": gallery, **changes})


def test_a_pinned_model_keeps_what_it_has_and_tells_of_the_new() -> None:
    status = after(moved(), b.NOW + HOUR)

    assert isinstance(decide(moved(), b.NOW + HOUR), Done)
    assert status.update_available is not None
    assert status.update_available.revision == "e" * 64
    assert condition(status, "UpdateAvailable") == ("True", "UpdateAvailable")
    assert condition(status, "Ready") == ("True", "Succeeded")


def test_a_known_update_is_not_found_again() -> None:
    seen = on(moved(), b.NOW + HOUR)

    assert after(seen, b.NOW + 2 * HOUR) == seen.status


def test_an_index_that_goes_back_takes_its_update_along() -> None:
    seen = on(moved(), b.NOW + HOUR, request=b.REQUEST)
    status = after(seen, b.NOW + 2 * HOUR)

    assert status.update_available is None
    assert condition(status, "UpdateAvailable") is None
    assert condition(status, "Ready") == ("True", "Succeeded")


def test_a_tracking_model_installs_what_the_index_has_now() -> None:
    operation = started(moved(spec=b.spec(updatePolicy={"mode": "Track"})), b.NOW + HOUR)

    assert [file.url for file in operation.files] == ["https://example.org/2.gguf"]
    assert (operation.keep_seconds, operation.recheck) == (86400, False)


def test_a_pinned_model_that_is_told_to_track_installs() -> None:
    held = on(moved(), b.NOW + HOUR, spec=b.spec(updatePolicy={"mode": "Track"}))

    assert kind(start(held, b.NOW + HOUR)) == "install"


def held_and_damaged() -> ObservedModel:
    """A pinned Model that the index has left behind, and that lost a file."""
    return on(moved(scan=ScanView(b.NOW + HOUR, (LOST,), 1)), b.NOW + HOUR)


def test_a_pinned_model_is_mended_with_what_it_has() -> None:
    operation = started(held_and_damaged(), b.NOW + HOUR)

    assert (operation.recheck, operation.from_receipt) == (True, True)
    assert operation.plan_digest == b.plan_digest()


def test_an_index_that_moves_again_starts_no_second_repair_beside_the_first() -> None:
    seen = held_and_damaged()
    job = b.job(start(seen, b.NOW + HOUR))
    newest = replace(NEWER, documents=())
    again = on(seen, b.NOW + HOUR, request=newest, workers=(job,))

    outcome = decide(again, b.NOW + HOUR)

    assert isinstance(outcome, Wait)
    assert outcome.reason is Reason.FILES_DAMAGED


def test_a_repair_that_failed_says_nothing_of_the_new_plan() -> None:
    """What was published is gone upstream; the way out is to take what is there now."""
    seen = held_and_damaged()
    job = b.job(start(seen, b.NOW + HOUR), FAILED, result=b.failure(Reason.NOT_FOUND), exit_code=31)
    stalled = on(replace(seen, workers=(job,)), b.NOW + HOUR, workers=())
    assert isinstance(decide(stalled, b.NOW + HOUR), Stall)

    tracking = replace(stalled, spec=b.spec(updatePolicy={"mode": "Track"}))

    assert kind(start(tracking, b.NOW + HOUR)) == "install"


# Something newer at a source


def test_a_repository_is_asked_for_changes() -> None:
    seen = repository(verifyPeriodSeconds=0)
    action = start(seen, b.NOW + DAY)
    operation = b.told(action)

    assert decide(seen, b.NOW + HOUR) == Done("Published 1 file, 4.0 KiB", 23 * 3600.0)
    assert kind(action) == "ask"
    assert isinstance(operation, InstallOperation)
    assert operation.plan_only
    assert operation.repository is not None
    assert operation.repository.revision == "main"
    assert after(seen, b.NOW + DAY) == seen.status


def test_a_source_is_never_asked_where_that_is_said() -> None:
    seen = repository(verifyPeriodSeconds=0, updatePolicy={"checkPeriodSeconds": 0})

    assert decide(seen, b.NOW + 100 * DAY) == Done("Published 1 file, 4.0 KiB", None)


def test_asking_waits_for_a_free_worker() -> None:
    seen = replace(repository(verifyPeriodSeconds=0), busy_workers=2)

    assert decide(seen, b.NOW + DAY) == Done("Published 1 file, 4.0 KiB", 60.0)


def test_nobody_is_asked_for_a_claim_that_is_gone() -> None:
    seen = replace(repository(verifyPeriodSeconds=0), missing_source="seeds")

    assert decide(seen, b.NOW + DAY) == Done("Published 1 file, 4.0 KiB", 60.0)


@pytest.mark.parametrize(
    "seen", [damaged(), b.observed(spec=b.spec(mode="Plan"))], ids=["repair", "plan"]
)
def test_a_worker_waits_for_the_claim_that_it_would_read(seen: ObservedModel) -> None:
    outcome = decide(replace(seen, missing_source="seeds"), b.NOW + DAY)

    assert isinstance(outcome, Wait)
    assert outcome.reason is Reason.CLAIM_NOT_FOUND
    assert "seeds, which spec.source names" in outcome.message


def asked(result: ResultLine | None, **spec: Any) -> ObservedModel:
    """A repository's Model a day later, after the source has answered."""
    seen = repository(**{"verifyPeriodSeconds": 0, **spec})
    job = b.job(start(seen, b.NOW + DAY), SUCCEEDED, result=result)
    return on(replace(seen, workers=(job,)), b.NOW + DAY)


def test_a_source_that_holds_the_same() -> None:
    seen = asked(answer("1" * 64, COMMIT))

    assert seen.status.asked_time == "2026-11-02T12:00:00Z"
    assert seen.status.update_available is None
    assert isinstance(decide(seen, b.NOW + DAY), Done)


def test_another_commit_with_the_same_files_is_no_update() -> None:
    assert asked(answer("1" * 64, NEXT_COMMIT)).status.update_available is None


def test_a_source_that_holds_something_else() -> None:
    status = asked(answer("2" * 64)).status

    assert status.update_available is not None
    assert status.update_available.revision == NEXT_COMMIT
    assert condition(status, "UpdateAvailable") == ("True", "UpdateAvailable")
    assert condition(status, "Ready") == ("True", "Succeeded")


@pytest.mark.parametrize("result", [None, answer("")], ids=["none", "without a digest"])
def test_an_answer_that_tells_nothing_is_no_update(result: ResultLine | None) -> None:
    status = asked(result).status

    assert status.update_available is None
    assert status.asked_time == "2026-11-02T12:00:00Z"


def test_a_question_that_failed_leaves_the_model_as_it_is() -> None:
    seen = repository(verifyPeriodSeconds=0)
    job = b.job(start(seen, b.NOW + DAY), FAILED, result=b.failure(Reason.UNREACHABLE))
    failed = replace(seen, workers=(job,))

    assert decide(failed, b.NOW + DAY) == Done("Published 1 file, 4.0 KiB", 600.0)
    assert after(failed, b.NOW + DAY) == seen.status


def test_a_tracking_model_installs_what_its_source_has_now() -> None:
    first = repository(updatePolicy={"mode": "Track"})
    newer = asked(answer("2" * 64), updatePolicy={"mode": "Track"})
    install = start(newer, b.NOW + DAY)

    assert kind(install) == "install"
    assert install.job["metadata"]["name"] != _first_name(first)


def _first_name(seen: ObservedModel) -> str:
    wish = replace(seen, status=ModelStatus())
    return str(start(wish).job["metadata"]["name"])


def test_an_update_that_is_installed_is_no_longer_available() -> None:
    newer = asked(answer("2" * 64), updatePolicy={"mode": "Track"})
    result = b.success(revision=NEXT_COMMIT, source_digest="2" * 64)
    job = b.job(start(newer, b.NOW + DAY), SUCCEEDED, result=result)
    done = on(replace(newer, workers=(job,)), b.NOW + DAY)

    assert done.status.update_available is None
    assert done.status.resolved is not None
    assert done.status.resolved.revision == NEXT_COMMIT
    assert isinstance(decide(done, b.NOW + DAY), Done)


def test_the_repair_of_a_repository_stays_at_what_is_published() -> None:
    lost = replace(repository(), scan=ScanView(b.NOW + HOUR, (LOST,), 1))
    seen = on(lost, b.NOW + HOUR)
    operation = started(seen, b.NOW + HOUR)

    assert operation.recheck
    assert operation.repository is not None
    assert operation.repository.revision == COMMIT


# Suspension


@pytest.mark.parametrize(
    "changes",
    [{"spec": b.spec(suspend=True)}, {"gallery": b.gallery(suspend=True)}],
    ids=["the Model", "the Gallery"],
)
def test_nothing_is_started_for_the_published_while_suspended(changes: dict[str, Any]) -> None:
    asked_ = published(meta=b.meta(verify_at="now"), **changes)
    lost = published(scan=ScanView(b.NOW + HOUR, (LOST,), 1), **changes)

    assert isinstance(decide(asked_, b.NOW + 2 * DAY), Done)
    outcome = decide(lost, b.NOW + HOUR)
    assert isinstance(outcome, Pause)
    assert outcome.reason is Reason.SUSPENDED
    assert condition(after(lost, b.NOW + HOUR), "Verified") == ("False", "FilesDamaged")


def test_a_suspended_model_takes_no_update() -> None:
    track = {"updatePolicy": {"mode": "Track"}}
    newer = asked(answer("2" * 64), **track)
    held_still = replace(newer, spec=b.spec(source=HUB, suspend=True, **track))

    assert isinstance(decide(held_still, b.NOW + DAY), Done)


def test_suspending_stops_a_repair() -> None:
    seen, now = damaged(), b.NOW + DAY
    job = b.job(start(seen, now))
    outcome = decide(replace(seen, workers=(job,), spec=b.spec(suspend=True)), now)

    assert isinstance(outcome, Act)
    assert outcome.actions == (DeleteJob(job.name, "job-uid"),)


# What a Gallery takes


def hosts(*allowed: str) -> dict[str, Any]:
    return {"gallery": b.gallery(policy={"allowedHosts": list(allowed)})}


def licenses(*allowed: str) -> dict[str, Any]:
    return {"gallery": b.gallery(policy={"licenses": list(allowed)})}


def of_host(url: str) -> dict[str, Any]:
    return {"request": replace(b.REQUEST, files=(WantedFile(path="a.gguf", url=url),))}


def of_repository(kind: RepositoryKind, url: str) -> dict[str, Any]:
    return {"request": replace(REPOSITORY, repository=Repository(kind=kind, url=url))}


MIT = {"request": replace(b.REQUEST, license="mit")}

TAKEN: dict[str, dict[str, Any]] = {
    "any host": hosts(),
    "the host": hosts("hub.corp", "example.org"),
    "the host, in capitals": hosts("Example.ORG"),
    "a host in capitals": hosts("example.org") | of_host("https://EXAMPLE.org/a"),
    "a host below": hosts(".example.org") | of_host("https://cdn.example.org/a"),
    "a host further below": hosts(".Example.org") | of_host("https://a.b.example.org/a"),
    "a host on another port": hosts("example.org") | of_host("https://example.org:8443/a"),
    "a registry": hosts("ghcr.io") | of_repository(RepositoryKind.OCI, "https://ghcr.io/a/b"),
    "another claim, which is no host": hosts("x")
    | of_repository(RepositoryKind.CLAIM, "pvc://models/a"),
    "the volume itself": hosts("x") | of_repository(RepositoryKind.VOLUME, "file:///a"),
    "any license": licenses(),
    "the license": licenses("apache-2.0", "mit") | MIT,
}


@pytest.mark.parametrize("changes", TAKEN.values(), ids=TAKEN.keys())
def test_taken(changes: dict[str, Any]) -> None:
    assert isinstance(decide(b.observed(**changes)), Act)


REFUSED: dict[str, tuple[dict[str, Any], Reason]] = {
    "another host": (hosts("hub.corp"), Reason.TARGET_NOT_ALLOWED),
    "a host below, where only the host is named": (
        hosts("example.org") | of_host("https://cdn.example.org/a"),
        Reason.TARGET_NOT_ALLOWED,
    ),
    "the host, where only those below are named": (
        hosts(".example.org"),
        Reason.TARGET_NOT_ALLOWED,
    ),
    "a host that ends alike": (
        hosts(".example.org", "example.org") | of_host("https://evilexample.org/a"),
        Reason.TARGET_NOT_ALLOWED,
    ),
    "a host that begins alike": (
        hosts("example.org") | of_host("https://example.org.evil.com/a"),
        Reason.TARGET_NOT_ALLOWED,
    ),
    "a host as the user of another": (
        hosts("example.org") | of_host("https://example.org@evil.com/a"),
        Reason.TARGET_NOT_ALLOWED,
    ),
    "one of several hosts": (
        hosts("example.org")
        | {
            "request": replace(
                b.REQUEST,
                files=(*b.REQUEST.files, WantedFile(path="b.gguf", url="https://other.org/b")),
            )
        },
        Reason.TARGET_NOT_ALLOWED,
    ),
    "a registry": (
        hosts("example.org") | of_repository(RepositoryKind.OCI, "https://ghcr.io/a/b"),
        Reason.TARGET_NOT_ALLOWED,
    ),
    "no license": (licenses("mit"), Reason.LICENSE_NOT_ALLOWED),
    "another license": (licenses("apache-2.0") | MIT, Reason.LICENSE_NOT_ALLOWED),
    "a license in other letters": (licenses("MIT") | MIT, Reason.LICENSE_NOT_ALLOWED),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(changes: dict[str, Any], reason: Reason) -> None:
    outcome = decide(b.observed(**changes))

    assert isinstance(outcome, Stall)
    assert outcome.reason is reason


def test_what_is_installed_is_refused_as_well() -> None:
    seen = published(**licenses("apache-2.0"))

    assert decide(seen, b.NOW + 2 * DAY) == Stall(
        Reason.LICENSE_NOT_ALLOWED, "policy.licenses of Gallery g does not hold it: no license"
    )
    assert after(seen).resolved == seen.status.resolved


def test_a_refusal_stops_the_worker_that_would_publish_it() -> None:
    worker = b.worker()
    outcome = decide(b.observed(workers=(worker,), **hosts("hub.corp")))

    assert isinstance(outcome, Act)
    assert outcome.actions == (DeleteJob(worker.name, "job-uid"),)
    ended = b.observed(workers=(replace(worker, deleting=True),), **hosts("hub.corp"))
    assert isinstance(decide(ended), Stall)


# Limits that the worker keeps


def test_without_a_quota_the_worker_has_none() -> None:
    assert started(b.observed()).quota_bytes is None


@pytest.mark.parametrize(("taken", "left"), [(0, 1000), (400, 600), (1000, 0), (5000, 0)])
def test_the_worker_is_told_what_the_others_leave(taken: int, left: int) -> None:
    gallery = b.gallery(storage={"claimName": "models", "maxBytes": "1k"})
    observed = b.observed(gallery=replace(gallery, models_bytes=taken))

    assert started(observed).quota_bytes == left


def test_the_worker_is_told_what_the_gallery_takes() -> None:
    gallery = b.gallery(
        policy={"checksums": "Required", "formats": "Any"}, worker={"bandwidthLimit": "1Mi"}
    )
    operation = started(b.observed(gallery=gallery))

    assert (operation.checksums_required, operation.safe_formats) == (True, False)
    assert operation.bandwidth_bytes == 1048576


def test_the_worker_is_told_whose_signatures_count() -> None:
    def keys(*pems: str) -> InstallOperation:
        policy = {"signatures": {"publicKeys": pems}}
        return started(b.observed(gallery=b.gallery(policy=policy)))

    assert started(b.observed()).signature_keys == ()
    assert keys("one", "two").signature_keys == ("one", "two")
    assert keys("one", "two").plan_digest == keys("two", "one").plan_digest
    assert keys("one").plan_digest != keys("two").plan_digest


def test_each_part_of_a_policy_on_signatures_makes_another_plan() -> None:
    def digest(**signatures: Any) -> str:
        gallery = b.gallery(policy={"signatures": signatures})
        return started(b.observed(gallery=gallery)).plan_digest

    one, two = ({"issuer": "https://i", "subject": name} for name in ("one", "two"))
    other = {"issuer": "https://j", "subject": "one"}
    root = {"configMapName": "own"}
    plans = [
        digest(publicKeys=["a"]),
        digest(certificateAuthorities=["a"]),
        digest(publicKeys=["a"], certificateAuthorities=["a"]),
        digest(identities=[one]),
        digest(identities=[two]),
        digest(identities=[other]),
        digest(identities=[one, two]),
        digest(identities=[one], trustedRoot=root),
        digest(identities=[one], certificateAuthorities=["a"]),
    ]
    assert len(set(plans)) == len(plans)
    assert digest(identities=[one, two]) == digest(identities=[two, one])
    assert digest(certificateAuthorities=["a", "b"]) == digest(certificateAuthorities=["b", "a"])


def test_keys_make_the_plan_that_they_made_before_there_were_others() -> None:
    """Or each published Model of such a Gallery would be installed anew by an upgrade."""
    view = b.gallery(policy={"signatures": {"publicKeys": ["one", "two"]}})

    planned = plan_of(b.REQUEST, view, b.CLAIM, b.spec())

    assert planned.digest == "5ede2c226550667b86f7bcda53eece3d7fe2091ea8bfc891d6d9aedb996df71d"


def test_times_are_written_in_whole_seconds() -> None:
    """Else a time that is read back would lie before the one that was written."""
    assert times.to_text(b.NOW + timedelta(milliseconds=900)) == "2026-11-01T12:00:00Z"
