"""Deletion of a Model: it ends within a minute, whatever is broken."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from model_gallery.api.v1alpha1.model import ModelStatus
from model_gallery.reconcile import model
from model_gallery.reconcile.actions import DeleteJob, RemoveFinalizer, StartWorker
from model_gallery.reconcile.observed import WorkerPhase
from model_gallery.reconcile.outcome import Act, Done, Outcome, Wait
from support import builders as b

DELETING = b.meta(deleting=b.NOW)
LATE = b.meta(deleting=b.NOW - timedelta(seconds=46))


def removal(phase: WorkerPhase) -> Any:
    return b.worker(phase, operation="remove", name="a-remove", uid="remove-uid")


CASES: dict[str, tuple[dict[str, Any], type[Outcome], type | None]] = {
    "nothing was ever started": ({"status": ModelStatus()}, Act, RemoveFinalizer),
    "files lie on the volume": ({"status": b.published()}, Act, StartWorker),
    "a transfer is under way": ({"workers": (b.worker(),)}, Act, DeleteJob),
    "the stopped transfer is still ending": ({"workers": (b.worker(deleting=True),)}, Wait, None),
    "a pod whose Job is gone is still ending": (
        {"status": b.published(), "strays": ("a-b",)},
        Wait,
        None,
    ),
    "such a pod never ends": (
        {"meta": LATE, "status": b.published(), "strays": ("a-b",)},
        Act,
        RemoveFinalizer,
    ),
    "the removal runs": (
        {"status": b.published(), "workers": (removal(WorkerPhase.ACTIVE),)},
        Wait,
        None,
    ),
    "the removal is done": (
        {"status": b.published(), "workers": (removal(WorkerPhase.SUCCEEDED),)},
        Act,
        RemoveFinalizer,
    ),
    "the removal failed": (
        {"status": b.published(), "workers": (removal(WorkerPhase.FAILED),)},
        Act,
        RemoveFinalizer,
    ),
    "the claim is gone": ({"status": b.published(), "claim": None}, Act, RemoveFinalizer),
    "the claim is going": (
        {"status": b.published(), "claim": replace(b.CLAIM, deleting=True)},
        Act,
        RemoveFinalizer,
    ),
    "the Gallery is gone": (
        {"status": b.published(), "gallery": None, "request": None},
        Act,
        StartWorker,
    ),
    "the namespace is ending": (
        {"status": b.published(), "namespace_ending": True},
        Act,
        RemoveFinalizer,
    ),
    "the removal never ends": (
        {"meta": LATE, "status": b.published(), "workers": (removal(WorkerPhase.ACTIVE),)},
        Act,
        RemoveFinalizer,
    ),
    "the transfer never stops": (
        {"meta": LATE, "workers": (b.worker(deleting=True),)},
        Act,
        RemoveFinalizer,
    ),
    "we have let it go already": ({"meta": replace(DELETING, has_finalizer=False)}, Done, None),
}


@pytest.mark.parametrize(("changes", "want", "action"), CASES.values(), ids=CASES.keys())
def test_deletion(changes: dict[str, Any], want: type[Outcome], action: type | None) -> None:
    outcome = model.decide(b.observed(**{"meta": DELETING, **changes}), b.NOW, 0.0).outcome

    assert isinstance(outcome, want)
    if action is not None:
        assert isinstance(outcome.actions[0], action)


def test_what_was_left_undone_is_told() -> None:
    observed = b.observed(meta=LATE, status=b.published(), workers=(removal(WorkerPhase.ACTIVE),))

    outcome = model.decide(observed, b.NOW, 0.0).outcome

    assert outcome.actions[0].warning


def test_the_removal_job_outlives_its_model() -> None:
    """It must be able to finish where the Model had to be let go first."""
    outcome = model.decide(b.observed(meta=DELETING, status=b.published()), b.NOW, 0.0).outcome

    assert "ownerReferences" not in outcome.actions[0].job["metadata"]


def test_retain_leaves_the_files() -> None:
    observed = b.observed(meta=DELETING, status=b.published(), spec=b.spec(deletionPolicy="Retain"))

    outcome = model.decide(observed, b.NOW, 0.0).outcome
    env = outcome.actions[0].job["spec"]["template"]["spec"]["containers"][0]["env"]

    assert any('"retainFiles":true' in item["value"] for item in env)
