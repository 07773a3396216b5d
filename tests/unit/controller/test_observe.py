"""What decisions get to see of the objects in the cache."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from model_gallery.api import labels
from model_gallery.controller import clock, kinds
from model_gallery.controller.observe import Observer
from model_gallery.reconcile import times
from model_gallery.reconcile.observed import (
    IndexView,
    ObservedGallery,
    ObservedModel,
    WorkerSettings,
)
from model_gallery.runtime.workqueue import Key

PLANNED = {"uid-pod-plans": 500}
"""What the log of a pod has told, by its uid."""


@pytest.fixture
def observer() -> Observer:
    indexes = SimpleNamespace(
        catalogue=lambda *_: None, digest=lambda *_: "", view=lambda *_: IndexView()
    )
    follower = SimpleNamespace(progress=lambda _: None, planned=PLANNED.get)
    inventories = SimpleNamespace(
        get=lambda *_: None, changed=lambda *_: None, room_made=lambda *_: None
    )
    settings = WorkerSettings(image="worker:1")
    serving = SimpleNamespace(
        pods_for=lambda *_: None, backends=lambda *_: None, unload_of=lambda *_: None
    )
    return Observer(
        kinds.new_cache(),
        indexes,  # type: ignore[arg-type]
        follower,  # type: ignore[arg-type]
        settings,
        inventories,  # type: ignore[arg-type]
        serving,  # type: ignore[arg-type]
    )


def metadata(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": "ns",
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": "2026-11-01T12:00:00Z",
        **more,
    }


def put(observer: Observer, kind: str, body: dict[str, Any]) -> None:
    assert observer.cache.upsert(kind, body)


def model(
    observer: Observer, name: str, gallery: str = "g", *, evictable: bool = False, **more: Any
) -> None:
    source = {"entry": {"name": name}}
    spec = {"galleryName": gallery, "source": source, "evictable": evictable}
    body = {"metadata": metadata(name, **more.pop("metadata", {})), "spec": spec, **more}
    put(observer, kinds.MODEL, body)


def gallery(observer: Observer, name: str = "g", claim: str = "c", **more: Any) -> None:
    spec = {"index": {"configMap": {"name": "i"}}, "storage": {"claimName": claim}}
    put(observer, kinds.GALLERY, {"metadata": metadata(name, **more), "spec": spec})


def job(
    observer: Observer,
    model_name: str,
    operation: str,
    *,
    ended: bool = False,
    created: datetime | None = None,
    failed: int = 0,
) -> None:
    own = {labels.LABEL_OPERATION: operation, labels.LABEL_MODEL_UID: f"uid-{model_name}"}
    annotations = {labels.ANNOTATION_MODEL: model_name, labels.ANNOTATION_GALLERY: "g"}
    name = f"{model_name}-{operation}"
    conditions = [{"type": "Complete", "status": "True"}] if ended else []
    since = {"creationTimestamp": times.to_text(created)} if created else {}
    body = {
        "metadata": metadata(name, labels=own, annotations=annotations, **since),
        "status": {"conditions": conditions, "failed": failed},
    }
    put(observer, kinds.JOB, body)


def seen_model(observer: Observer, name: str = "a") -> ObservedModel:
    found = observer.model(Key(kinds.MODEL, "ns", name))
    assert found is not None
    return found


def seen_gallery(observer: Observer, name: str = "g") -> ObservedGallery:
    found = observer.gallery(Key(kinds.GALLERY, "ns", name))
    assert found is not None
    return found


def test_wishes_are_no_longer_than_the_status_remembers(observer: Observer) -> None:
    """One that was cut when it was written down as handled would be carried out for ever."""
    wishes = {
        labels.ANNOTATION_RECONCILE_AT: "r" * 129,
        labels.ANNOTATION_VERIFY_AT: "v" * 300,
        labels.ANNOTATION_COLLECT_AT: "c" * 1000,
    }
    gallery(observer, annotations=wishes)
    model(observer, "a", metadata={"annotations": wishes})

    meta = seen_model(observer).meta

    assert (meta.reconcile_at, meta.verify_at) == ("r" * 128, "v" * 128)
    assert seen_gallery(observer).meta.collect_at == "c" * 128


def test_all_models_of_a_gallery_live(observer: Observer) -> None:
    gallery(observer)
    model(observer, "a")
    model(observer, "b")
    gallery(observer, "other", "another-claim")
    model(observer, "c", "other")

    assert seen_gallery(observer).living == ("uid-a", "uid-b")


def test_the_models_of_another_gallery_on_the_same_claim_live_too(observer: Observer) -> None:
    """Else a collection would take what they have fetched so far."""
    gallery(observer)
    gallery(observer, "beside")
    model(observer, "a")
    model(observer, "b", "beside")

    assert seen_gallery(observer).living == ("uid-a", "uid-b")


def test_a_model_that_outlived_its_gallery_lives_too(observer: Observer) -> None:
    gallery(observer)
    model(observer, "a", "gone", status={"storage": {"claimName": "c"}})

    assert seen_gallery(observer).living == ("uid-a",)


@pytest.mark.parametrize(
    ("operation", "ended", "want"),
    [("verify", False, 1), ("verify", True, 0), ("install", False, 0), ("repair", False, 0)],
)
def test_who_reads(observer: Observer, operation: str, ended: bool, want: int) -> None:
    gallery(observer)
    model(observer, "a")
    job(observer, "b", operation, ended=ended)

    assert seen_model(observer).busy_readers == want


def test_a_model_does_not_wait_for_its_own_verification(observer: Observer) -> None:
    gallery(observer)
    model(observer, "a")
    job(observer, "a", "verify")

    assert seen_model(observer).busy_readers == 0


def pod(observer: Observer, model_name: str, phase: str, job_uid: str) -> None:
    own = {labels.LABEL_OPERATION: "install", labels.LABEL_MODEL_UID: f"uid-{model_name}"}
    annotations = {labels.ANNOTATION_MODEL: model_name, labels.ANNOTATION_GALLERY: "g"}
    owners = [{"uid": job_uid}]
    body = {
        "metadata": metadata("p", labels=own, annotations=annotations, ownerReferences=owners),
        "status": {"phase": phase},
    }
    put(observer, kinds.POD, body)


@pytest.mark.parametrize(
    ("phase", "job_uid", "want"),
    [
        ("Running", "uid-gone", ("p",)),
        ("Pending", "uid-gone", ("p",)),
        ("Unknown", "uid-gone", ("p",)),
        ("Failed", "uid-gone", ()),
        ("Succeeded", "uid-gone", ()),
        ("Running", "uid-a-install", ()),
    ],
)
def test_a_pod_may_outlive_its_job(
    observer: Observer, phase: str, job_uid: str, want: tuple[str, ...]
) -> None:
    model(observer, "a")
    gallery(observer)
    job(observer, "a", "install")
    pod(observer, "a", phase, job_uid)

    assert seen_model(observer).strays == want


@pytest.mark.parametrize(
    ("phase", "failed", "want"),
    [
        ("Pending", 0, "pod p"),
        ("Pending", 1, "pod p"),
        ("Running", 0, None),
        ("Failed", 1, None),
        ("", 0, "job a-install"),
        ("", 1, None),
    ],
)
def test_what_has_no_container_yet(
    observer: Observer, phase: str, failed: int, want: str | None
) -> None:
    """Without a pod it is the Job, unless it had one: the next comes after a while."""
    model(observer, "a")
    gallery(observer)
    job(observer, "a", "install", failed=failed)
    if phase:
        pod(observer, "a", phase, "uid-a-install")

    (worker,) = seen_model(observer).workers
    assert (worker.preparing and worker.preparing[0]) == want


def test_a_job_that_is_just_being_created_counts(observer: Observer) -> None:
    """After a restart all that is due is decided on in one moment."""
    gallery(observer)
    model(observer, "a")
    observer.reserved["ns", "g"] = {"uid-a", "uid-b"}

    assert seen_model(observer).busy_readers == 1
    assert seen_model(observer).busy_workers == 1


def limited(observer: Observer) -> None:
    storage = {"claimName": "c", "maxBytes": "1Gi"}
    spec = {"index": {"configMap": {"name": "i"}}, "storage": storage}
    put(observer, kinds.GALLERY, {"metadata": metadata("g"), "spec": spec})


def worker_pod(observer: Observer, name: str, job_name: str) -> None:
    owner = {"uid": f"uid-{job_name}", "controller": True}
    annotations = {labels.ANNOTATION_MODEL: "b", labels.ANNOTATION_GALLERY: "g"}
    body = {"metadata": metadata(name, ownerReferences=[owner], annotations=annotations)}
    put(observer, kinds.POD, body)


def taken(observer: Observer) -> tuple[int, str]:
    found = seen_model(observer).gallery
    assert found is not None
    return found.models_bytes, found.unmeasured


def test_what_others_have_published_counts_against_the_quota(observer: Observer) -> None:
    limited(observer)
    model(observer, "a", status={"sizeBytes": 7})
    model(observer, "b", status={"sizeBytes": 100})
    model(observer, "c", status={"sizeBytes": 20})
    assert taken(observer) == (120, "")


def test_without_a_quota_nothing_is_counted(observer: Observer) -> None:
    gallery(observer)
    model(observer, "a")
    model(observer, "b", status={"sizeBytes": 100})
    job(observer, "b", "install")
    assert taken(observer) == (0, "")


def test_what_is_being_fetched_counts_once_its_worker_has_planned(observer: Observer) -> None:
    limited(observer)
    model(observer, "a")
    model(observer, "b", status={"sizeBytes": 100})
    job(observer, "b", "install", created=clock.now())
    worker_pod(observer, "silent", "b-install")
    assert taken(observer) == (100, "b")

    worker_pod(observer, "pod-plans", "b-install")
    assert taken(observer) == (500, "")


def test_who_has_no_worker_yet_is_not_measured(observer: Observer) -> None:
    limited(observer)
    model(observer, "a")
    model(observer, "b")
    observer.reserved["ns", "g"] = {"uid-b"}
    assert taken(observer) == (0, "b")


def test_a_worker_that_cannot_start_holds_nobody_back_for_ever(observer: Observer) -> None:
    limited(observer)
    model(observer, "a")
    model(observer, "b")
    job(observer, "b", "install", created=clock.now() - timedelta(minutes=6))
    assert taken(observer) == (0, "")


def test_what_was_just_published_counts_before_its_status_says_so(observer: Observer) -> None:
    limited(observer)
    model(observer, "a")
    model(observer, "b")
    job(observer, "b", "install", ended=True)
    worker_pod(observer, "pod-plans", "b-install")
    assert taken(observer) == (500, "")


@pytest.mark.parametrize(
    "status",
    [
        {"sizeBytes": 7, "installedTime": "2026-11-01T12:00:05Z"},
        {"sizeBytes": 7, "eviction": {"time": "2026-11-01T12:00:05Z"}},
    ],
)
def test_what_a_worker_planned_is_forgotten_once_the_status_says_more(
    observer: Observer, status: dict[str, Any]
) -> None:
    limited(observer)
    model(observer, "a")
    model(observer, "b", status=status)
    job(observer, "b", "install", ended=True)
    worker_pod(observer, "pod-plans", "b-install")
    assert taken(observer) == (7, "")


def test_only_an_evictable_model_looks_for_who_lacks_room(observer: Observer) -> None:
    gallery(observer)
    model(observer, "a", evictable=True)
    model(observer, "b", status={"lastFailure": {**LACKING, "missingBytes": 5}})
    model(observer, "c")

    found = seen_model(observer).room
    assert found is not None
    assert [(short.model, short.missing_bytes) for short in found.shortages] == [("b", 5)]
    assert seen_model(observer, "c").room is None


LACKING = {
    "planDigest": "p",
    "reason": "NoSpace",
    "message": "",
    "failedTime": "2026-11-01T12:00:00Z",
}


def test_a_claim_to_read_from_is_missed_until_it_is_there(observer: Observer) -> None:
    gallery(observer)
    spec = {"galleryName": "g", "source": {"uri": "pvc://seeds/a.gguf"}}
    put(observer, kinds.MODEL, {"metadata": metadata("a"), "spec": spec})
    assert seen_model(observer).missing_source == "seeds"

    put(observer, kinds.CLAIM, {"metadata": metadata("seeds"), "status": {"phase": "Pending"}})
    assert seen_model(observer).missing_source == ""
