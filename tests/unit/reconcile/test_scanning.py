"""When a volume is looked at, and what the look means for the Gallery's status."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import (
    GallerySpec,
    GalleryStatus,
    IndexStatus,
    ServedFrom,
    StorageStatus,
)
from model_gallery.protocol.operation import ScanOperation
from model_gallery.protocol.report import ResultLine, VolumeFacts
from model_gallery.reconcile import gallery, scanning
from model_gallery.reconcile.actions import StartWorker
from model_gallery.reconcile.observed import (
    IndexView,
    ObservedGallery,
    WorkerPhase,
    WorkerSettings,
)
from model_gallery.reconcile.outcome import Act, Done
from model_gallery.reconcile.scanning import Scanned
from support import builders as b

SECONDS = timedelta(seconds=1)
SPEC = GallerySpec.model_validate({**b.GALLERY_SPEC, "listing": {"scanPeriodSeconds": 900}})
FACTS = VolumeFacts(
    capacity_bytes=1000,
    available_bytes=300,
    managed_bytes=500,
    loose_bytes=100,
    loose_files=2,
    reclaimable_bytes=50,
    damaged_models=1,
    cut=True,
)
RESULT = ResultLine(reason=Reason.SUCCEEDED, volume=FACTS)


def observed(*, scanned: datetime | None = b.NOW, **changes: Any) -> ObservedGallery:
    """A Gallery on a bound claim that was last scanned at NOW."""
    moment = scanned.strftime("%Y-%m-%dT%H:%M:%SZ") if scanned else None
    start = ObservedGallery(
        meta=b.meta(name="g", uid="uid-g", has_finalizer=False),
        spec=SPEC,
        status=GalleryStatus(storage=StorageStatus(claim_name="models", scanned_time=moment)),
        index=IndexView(),
        claim=b.CLAIM,
        settings=WorkerSettings(image="worker:1"),
    )
    return replace(start, **changes)


def scan(seen: ObservedGallery, now: datetime = b.NOW) -> Scanned:
    return scanning.scan(seen, SPEC, now)


def start(seen: ObservedGallery, now: datetime = b.NOW) -> StartWorker:
    action = scan(seen, now).start
    assert action is not None
    return action


def told(seen: ObservedGallery, now: datetime = b.NOW) -> ScanOperation:
    operation = b.told(start(seen, now))
    assert isinstance(operation, ScanOperation)
    return operation


LEFT: dict[str, tuple[dict[str, Any], float, float | None]] = {
    "never looked at": ({"scanned": None}, 0, None),
    "a fresh Gallery without a status": ({"status": GalleryStatus()}, 0, None),
    "just looked at": ({}, 0, 900),
    "within the period": ({}, 899, 1),
    "the period is over": ({}, 900, None),
    "long over": ({}, 90000, None),
    "a change before the look": ({"changed": b.NOW - SECONDS}, 0, 900),
    "a change right after it": ({"changed": b.NOW + SECONDS}, 1, 29),
    "a change right after it, later": ({"changed": b.NOW + SECONDS}, 30, None),
    "a change long after it settles": ({"changed": b.NOW + 600 * SECONDS}, 600, 5),
    "a change long after it has settled": ({"changed": b.NOW + 600 * SECONDS}, 605, None),
    "a change at the end of the period does not put it off": (
        {"changed": b.NOW + 899 * SECONDS},
        899,
        1,
    ),
    "a person asks for a collection": (
        {"meta": b.meta(name="g", uid="uid-g", collect_at="now")},
        1,
        None,
    ),
}


@pytest.mark.parametrize(("changes", "age", "left"), LEFT.values(), ids=LEFT.keys())
def test_when_a_look_is_due(changes: dict[str, Any], age: float, left: float | None) -> None:
    seen = observed(**changes)

    found = scan(seen, b.NOW + age * SECONDS)

    assert (found.start is None, found.left) == (left is not None, left)
    assert found.status == seen.status


def test_without_settings_nothing_is_started() -> None:
    assert scan(observed(scanned=None, settings=None)).start is None


def test_the_scan_knows_who_lives() -> None:
    operation = told(observed(scanned=None, living=("uid-a", "uid-b")))

    assert operation.models == ("uid-a", "uid-b")
    assert structs.asdict(operation.owner) == {"namespace": "ns", "name": "g", "uid": "uid-g"}
    assert not operation.collect


def test_the_scan_goes_with_its_gallery() -> None:
    metadata = start(observed(scanned=None)).job["metadata"]

    assert [(owner["kind"], owner["uid"]) for owner in metadata["ownerReferences"]] == [
        ("Gallery", "uid-g")
    ]
    assert "modelgallery.dev/model-uid" not in metadata["labels"]


def test_the_scan_of_ten_thousand_models_travels_in_a_config_map() -> None:
    uids = tuple(f"{number:036}" for number in range(10_000))
    action = start(observed(scanned=None, living=uids))

    assert action.operation is not None
    assert len(action.operation) < 1024 * 1024
    assert told(observed(scanned=None, living=uids)).models == uids


def test_a_scan_under_way_is_waited_for() -> None:
    seen = observed(scanned=None)
    job = b.job(start(seen))

    assert scan(replace(seen, scans=(job,))) == Scanned(None, None, seen.status)


def test_what_was_found_stands_in_the_status() -> None:
    seen = observed(scanned=None)
    job = b.job(start(seen), WorkerPhase.SUCCEEDED, result=RESULT)
    found = scan(replace(seen, scans=(job,)), b.NOW + 10 * SECONDS)
    storage = found.status.storage

    assert (found.start, found.left) == (None, 1.0)
    assert storage is not None
    assert storage.available_bytes == 300
    assert storage.managed_bytes == 500
    assert storage.loose_bytes == 100
    assert storage.reclaimable_bytes == 50
    assert storage.damaged_models == 1
    assert storage.cut


def ended(now: datetime = b.NOW, **changes: Any) -> ObservedGallery:
    """After a scan that began at NOW and ended a minute later."""
    seen = observed(scanned=None, **changes)
    job = b.job(start(seen), WorkerPhase.SUCCEEDED, result=RESULT)
    seen = replace(seen, scans=(job,))
    return replace(seen, status=scan(seen, now + 60 * SECONDS).status)


def test_a_result_is_taken_once() -> None:
    seen = ended()

    assert scan(seen, b.NOW + 61 * SECONDS) == Scanned(None, 839.0, seen.status)


def test_what_changes_while_a_scan_runs_is_looked_at_again() -> None:
    """It may have passed by the folder before the change came."""
    seen = replace(ended(), changed=b.NOW + 30 * SECONDS)

    assert scan(seen, b.NOW + 61 * SECONDS).start is not None


def test_the_message_of_a_failure_goes_with_the_next_success() -> None:
    storage = StorageStatus(claim_name="models", scan_message="it failed")
    seen = ended(status=GalleryStatus(storage=storage))

    assert seen.status.storage is not None
    assert seen.status.storage.scan_message == ""


@pytest.mark.parametrize(
    ("phase", "result", "message"),
    [
        (
            WorkerPhase.FAILED,
            b.failure(Reason.NO_SPACE, "the volume is gone"),
            "the volume is gone",
        ),
        (WorkerPhase.FAILED, None, "the worker ended without a report"),
        (WorkerPhase.SUCCEEDED, None, "the scan ended without a report"),
    ],
    ids=["told", "killed", "lost"],
)
def test_a_failed_scan_is_told_and_made_again_later(
    phase: WorkerPhase, result: ResultLine | None, message: str
) -> None:
    seen = observed()
    now = b.NOW + 900 * SECONDS
    job = b.job(start(seen, now), phase, result=result)
    found = scan(replace(seen, scans=(job,)), now)

    assert (found.start, found.left) == (None, 600.0)
    assert found.status.storage is not None
    assert found.status.storage.scan_message == message
    assert found.status.storage.scanned_time == "2026-11-01T12:00:00Z"
    assert scan(replace(seen, status=found.status), now + 600 * SECONDS).start is not None


# Collection


ASKED = b.meta(name="g", uid="uid-g", collect_at="now")


def test_a_collection_is_asked_of_the_scan() -> None:
    assert told(observed(meta=ASKED)).collect


def test_a_collection_does_not_take_the_scan_under_way_for_its_own() -> None:
    plain = observed(scanned=None)
    asked = replace(plain, meta=ASKED, scans=(b.job(start(plain)),))

    assert told(asked).collect


def test_a_collection_is_made_once() -> None:
    seen = ended(meta=ASKED)

    assert seen.status.last_handled_collect_at == "now"
    assert scan(seen, b.NOW + 61 * SECONDS).start is None
    assert not told(seen, b.NOW + 900 * SECONDS).collect


# In the Gallery's decision


STATUS = IndexStatus(
    digest="d" * 64,
    entries=3,
    fetched_time="2026-11-01T12:00:00Z",
    served_from=ServedFrom.SOURCE,
)
LOADED = IndexView(status=STATUS, fresh=True, due=b.NOW + timedelta(hours=1))


def test_a_scan_is_one_action_of_the_gallery() -> None:
    outcome = gallery.decide(observed(scanned=None, index=LOADED), b.NOW).outcome

    assert isinstance(outcome, Act)
    (action,) = outcome.actions
    assert isinstance(action, StartWorker)


def test_a_claim_that_waits_for_its_first_pod_is_not_bound_by_a_scan() -> None:
    """A volume would be made where the scan runs, and not where the models are needed."""
    claim = replace(b.CLAIM, phase="Pending")
    outcome = gallery.decide(observed(scanned=None, index=LOADED, claim=claim), b.NOW).outcome

    assert not isinstance(outcome, Act)


@pytest.mark.parametrize("period", [30, 900])
def test_the_gallery_looks_again_when_the_next_scan_is_due(period: int) -> None:
    spec = GallerySpec.model_validate({**b.GALLERY_SPEC, "listing": {"scanPeriodSeconds": period}})
    outcome = gallery.decide(observed(spec=spec, index=LOADED), b.NOW).outcome

    assert outcome == Done("3 entries", float(period))
