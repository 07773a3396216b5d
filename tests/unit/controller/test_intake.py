"""What a watch event leads to: which keys are looked at, and which are left alone."""

from __future__ import annotations

from typing import Any

import pytest

from model_gallery.api import labels
from model_gallery.api.conditions import Reason
from model_gallery.controller import kinds
from model_gallery.controller.intake import Intake
from model_gallery.controller.queued import Waiters
from model_gallery.reconcile.outcome import Wait
from model_gallery.runtime.workqueue import Key
from support import builders as b


class Keys:
    """A queue that only remembers."""

    def __init__(self) -> None:
        self.added: list[Key] = []

    def add(self, key: Key) -> None:
        self.added.append(key)

    def add_after(self, key: Key, seconds: float) -> None:
        self.later = (key, seconds)

    def take(self) -> set[tuple[str, str]]:
        taken = {(key.kind, key.name) for key in self.added}
        self.added.clear()
        return taken


class Stub:
    """Stands for the follower, the observer and the inventories, which the intake only tells."""

    def consider(self, pod: Any) -> None:
        self.seen = pod

    def forget(self, uid: str) -> None:
        self.forgotten = uid

    def changed(self) -> None:
        self.looked = True

    def hurry(self, namespace: str, gallery: str) -> None:
        self.hurried = (namespace, gallery)

    def note_change(self, namespace: str, gallery: str) -> None:
        self.noted = (namespace, gallery)

    def note_room(self, namespace: str, gallery: str) -> None:
        self.room = (namespace, gallery)


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def waiters() -> Waiters:
    return Waiters()


class Recording:
    """Stands for the metrics."""

    def take(self, *_: Any, **__: Any) -> None:
        self.taken = True


def _stubs(waiters: Waiters) -> tuple[Any, ...]:
    return Stub(), Stub(), waiters, Stub(), Stub(), Recording(), Recording()


@pytest.fixture
def intake(keys: Keys, waiters: Waiters) -> Intake:
    return Intake(kinds.new_cache(), keys, *_stubs(waiters))  # type: ignore[arg-type]


def body(name: str, version: int = 1, **parts: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "ns",
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "generation": 1,
        "creationTimestamp": "2026-11-01T12:00:00Z",
        **parts.pop("metadata", {}),
    }
    return {"metadata": metadata, **parts}


def model(name: str, version: int = 1, **parts: Any) -> dict[str, Any]:
    spec = {"galleryName": "g", "source": {"entry": {"name": name}}}
    return body(name, version, **{"spec": spec, **parts})


def gallery(name: str = "g", version: int = 1, **parts: Any) -> dict[str, Any]:
    return body(name, version, **{"spec": {"storage": {"claimName": "c"}}, **parts})


def job(
    name: str, version: int = 1, *, ended: bool = False, operation: str = "install"
) -> dict[str, Any]:
    conditions = [{"type": "Complete", "status": "True"}] if ended else []
    annotations = {labels.ANNOTATION_MODEL: "m1", labels.ANNOTATION_GALLERY: "g"}
    return body(
        name,
        version,
        metadata={
            "annotations": annotations,
            "labels": {labels.LABEL_MODEL_UID: "uid-m1", labels.LABEL_OPERATION: operation},
        },
        status={"conditions": conditions},
    )


def test_a_repeated_event_wakes_nobody(intake: Intake, keys: Keys) -> None:
    """After a re-list every object comes again; that must cost no reconciliation."""
    intake.take(kinds.MODEL, model("m1"), gone=False)
    first = keys.take()
    intake.take(kinds.MODEL, model("m1", 2), gone=False)

    assert first == {(kinds.MODEL, "m1")}
    assert keys.take() == set()


def test_a_changed_gallery_wakes_its_models(intake: Intake, keys: Keys) -> None:
    intake.take(kinds.MODEL, model("m1"), gone=False)
    intake.take(kinds.GALLERY, gallery(), gone=False)
    keys.take()

    intake.take(kinds.GALLERY, gallery(version=2, metadata={"generation": 2}), gone=False)

    assert keys.take() == {(kinds.GALLERY, "g"), (kinds.MODEL, "m1")}


def test_a_gallerys_own_status_wakes_no_models(intake: Intake, keys: Keys) -> None:
    intake.take(kinds.MODEL, model("m1"), gone=False)
    intake.take(kinds.GALLERY, gallery(), gone=False)
    keys.take()

    intake.take(kinds.GALLERY, gallery(version=2, status={"observedGeneration": 1}), gone=False)

    assert keys.take() == {(kinds.GALLERY, "g")}


def test_a_claim_wakes_who_lives_on_it(intake: Intake, keys: Keys) -> None:
    intake.take(kinds.MODEL, model("m1"), gone=False)
    intake.take(kinds.GALLERY, gallery(), gone=False)
    keys.take()

    intake.take(kinds.CLAIM, body("c", status={"phase": "Bound"}), gone=False)
    intake.take(kinds.CLAIM, body("other", status={"phase": "Bound"}), gone=False)

    assert keys.take() == {(kinds.GALLERY, "g"), (kinds.MODEL, "m1")}


def test_a_worker_wakes_its_model(intake: Intake, keys: Keys) -> None:
    intake.take(kinds.JOB, job("j"), gone=False)

    assert keys.take() == {(kinds.MODEL, "m1")}


def test_a_free_place_wakes_who_waited_longest(
    intake: Intake, keys: Keys, waiters: Waiters
) -> None:
    for number in (3, 1, 2):
        observed = b.observed(meta=b.meta(name=f"w{number}"))
        waiters.note(Key(kinds.MODEL, "ns", f"w{number}"), observed, Wait(Reason.QUEUED, ""))
    intake.take(kinds.JOB, job("j"), gone=False)
    keys.take()

    intake.take(kinds.JOB, job("j", 2, ended=True), gone=False)

    assert keys.take() == {(kinds.MODEL, "m1"), (kinds.MODEL, "w1"), (kinds.MODEL, "w2")}


def test_the_end_of_a_model_frees_its_name(intake: Intake, keys: Keys) -> None:
    intake.take(kinds.MODEL, model("m1"), gone=False)
    spec = {"galleryName": "g", "source": {"entry": {"name": "m1"}}}
    intake.take(kinds.MODEL, model("rival", spec=spec), gone=False)
    keys.take()

    intake.take(kinds.MODEL, model("m1", 2), gone=True)

    assert keys.take() == {(kinds.MODEL, "m1"), (kinds.MODEL, "rival")}


LACKING = {"lastFailure": {"reason": "NoSpace"}}


def test_a_model_that_is_gone_makes_room(intake: Intake, keys: Keys) -> None:
    intake.take(kinds.MODEL, model("m1"), gone=False)
    intake.take(kinds.MODEL, model("lacking", status=LACKING), gone=False)
    intake.take(kinds.MODEL, model("content"), gone=False)
    keys.take()

    intake.take(kinds.MODEL, model("m1", 2), gone=True)

    assert (kinds.MODEL, "lacking") in keys.take()


def test_a_removal_that_outlived_its_model_makes_room(intake: Intake, keys: Keys) -> None:
    intake.take(kinds.MODEL, model("lacking", status=LACKING), gone=False)
    keys.take()

    intake.take(kinds.JOB, job("j", operation="remove"), gone=False)
    assert (kinds.MODEL, "lacking") not in keys.take()
    intake.take(kinds.JOB, job("j", 2, ended=True, operation="remove"), gone=False)
    assert (kinds.MODEL, "lacking") in keys.take()


def test_a_late_farewell_to_a_predecessor_is_ignored(intake: Intake, keys: Keys) -> None:
    intake.take(kinds.MODEL, model("m1", metadata={"uid": "new"}), gone=False)
    keys.take()

    intake.take(kinds.MODEL, model("m1", 9), gone=True)

    assert keys.take() == set()
    assert intake.cache.get(kinds.MODEL, "ns", "m1") is not None


def test_our_own_write_wakes_nobody(intake: Intake, keys: Keys) -> None:
    intake.take(kinds.MODEL, model("m1"), gone=False)
    keys.take()

    intake.answered(kinds.MODEL, model("m1", 2, status={"observedGeneration": 1}))

    assert keys.take() == set()


@pytest.mark.parametrize(
    "change", [{"deletionTimestamp": "2026-11-01T12:01:00Z"}, {"generation": 2}]
)
def test_an_answer_that_overtakes_anothers_change_wakes(
    intake: Intake, keys: Keys, change: dict[str, Any]
) -> None:
    """The change's own event is stale after it, so the answer is all that ever tells."""
    intake.take(kinds.MODEL, model("m1"), gone=False)
    keys.take()

    intake.answered(kinds.MODEL, model("m1", 3, metadata=change, status={"observedGeneration": 1}))
    intake.take(kinds.MODEL, model("m1", 2, metadata=change), gone=False)

    assert keys.take() == {(kinds.MODEL, "m1")}


def claim(version: int, size: str) -> dict[str, Any]:
    return body("c", version, status={"phase": "Bound", "capacity": {"storage": size}})


def test_a_quota_that_is_raised_makes_room(intake: Intake) -> None:
    """Who lacked it tries again at once, and not at the next re-check."""
    storage = {"claimName": "c", "maxBytes": "1Gi"}
    intake.take(kinds.GALLERY, gallery(spec={"storage": storage}), gone=False)
    intake.take(kinds.GALLERY, gallery(version=2, spec={"storage": storage}), gone=False)
    assert not hasattr(intake.inventories, "room")

    raised = gallery(version=3, spec={"storage": {**storage, "maxBytes": "2Gi"}})
    intake.take(kinds.GALLERY, raised, gone=False)

    assert intake.inventories.room == ("ns", "g")


def test_a_claim_that_grew_makes_room(intake: Intake) -> None:
    intake.take(kinds.GALLERY, gallery(), gone=False)
    intake.take(kinds.CLAIM, claim(1, "1Gi"), gone=False)
    intake.take(kinds.CLAIM, claim(2, "1Gi"), gone=False)
    assert not hasattr(intake.inventories, "room")

    intake.take(kinds.CLAIM, claim(3, "2Gi"), gone=False)

    assert intake.inventories.room == ("ns", "g")
