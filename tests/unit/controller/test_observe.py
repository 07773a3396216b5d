"""What decisions get to see of the objects in the cache."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from model_gallery.api import labels
from model_gallery.controller import kinds
from model_gallery.controller.observe import Observer
from model_gallery.reconcile.observed import (
    IndexView,
    ObservedGallery,
    ObservedModel,
    WorkerSettings,
)
from model_gallery.runtime.workqueue import Key


@pytest.fixture
def observer() -> Observer:
    indexes = SimpleNamespace(
        catalogue=lambda *_: None, digest=lambda *_: "", view=lambda *_: IndexView()
    )
    follower = SimpleNamespace(progress=lambda _: None)
    inventories = SimpleNamespace(get=lambda *_: None, changed=lambda *_: None)
    settings = WorkerSettings(image="worker:1")
    serving = SimpleNamespace(
        pods=lambda *_: None, backends=lambda *_: None, unload_of=lambda *_: None
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


def model(observer: Observer, name: str, gallery: str = "g", **more: Any) -> None:
    spec = {"galleryName": gallery, "source": {"entry": {"name": name}}}
    body = {"metadata": metadata(name, **more.pop("metadata", {})), "spec": spec, **more}
    put(observer, kinds.MODEL, body)


def gallery(observer: Observer, name: str = "g", claim: str = "c", **more: Any) -> None:
    spec = {"index": {"configMap": {"name": "i"}}, "storage": {"claimName": claim}}
    put(observer, kinds.GALLERY, {"metadata": metadata(name, **more), "spec": spec})


def job(observer: Observer, model_name: str, operation: str, *, ended: bool = False) -> None:
    own = {labels.LABEL_OPERATION: operation, labels.LABEL_MODEL_UID: f"uid-{model_name}"}
    annotations = {labels.ANNOTATION_MODEL: model_name, labels.ANNOTATION_GALLERY: "g"}
    name = f"{model_name}-{operation}"
    conditions = [{"type": "Complete", "status": "True"}] if ended else []
    body = {
        "metadata": metadata(name, labels=own, annotations=annotations),
        "status": {"conditions": conditions},
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


def test_a_job_that_is_just_being_created_counts(observer: Observer) -> None:
    """After a restart all that is due is decided on in one moment."""
    gallery(observer)
    model(observer, "a")
    observer.reserved["ns", "g"] = {"uid-a", "uid-b"}

    assert seen_model(observer).busy_readers == 1
    assert seen_model(observer).busy_workers == 1
