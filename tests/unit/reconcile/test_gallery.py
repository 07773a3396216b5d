"""Decisions of the Gallery: claim, index, and what people are told of both."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import GallerySpec, GalleryStatus, IndexStatus, ServedFrom
from model_gallery.errors import StalledError, TransientError
from model_gallery.reconcile import gallery
from model_gallery.reconcile.actions import ApplyClaim, LoadIndex
from model_gallery.reconcile.observed import IndexView, ObservedGallery
from model_gallery.reconcile.outcome import Act, Done, Outcome, Pause, Stall, Wait
from support import builders as b
from support import status_lint

LATER = b.NOW + timedelta(seconds=60)
STATUS = IndexStatus(
    digest="d" * 64,
    entries=3,
    fetched_time="2026-11-01T12:00:00Z",
    served_from=ServedFrom.SOURCE,
)
LOADED = IndexView(status=STATUS, fresh=True, due=LATER)
DOWN = TransientError(Reason.INDEX_UNREACHABLE, "no answer")
BROKEN = StalledError(Reason.INDEX_INVALID, "line 3 is no YAML")
TEMPLATE = {"index": {"configMap": {"name": "i"}}, "storage": {"claimTemplate": {"size": "1Gi"}}}


def observed(**changes: Any) -> ObservedGallery:
    """A Gallery with its index loaded and its claim bound."""
    start = ObservedGallery(
        meta=b.meta(name="g", has_finalizer=False),
        spec=GallerySpec.model_validate(b.GALLERY_SPEC),
        status=GalleryStatus(),
        index=LOADED,
        claim=b.CLAIM,
    )
    return replace(start, **changes)


CASES: dict[str, tuple[dict[str, Any], type[Outcome], Reason | None]] = {
    "loaded and bound": ({}, Done, None),
    "a claim that binds with the first pod does not hold the Gallery back": (
        {"claim": replace(b.CLAIM, phase="Pending")},
        Done,
        None,
    ),
    "nothing fetched yet": ({"index": IndexView()}, Act, Reason.PROGRESSING),
    "the first fetch is under way": ({"index": IndexView(loading=True)}, Wait, Reason.PROGRESSING),
    "a refresh under way changes nothing": (
        {"index": replace(LOADED, loading=True, due=None)},
        Done,
        None,
    ),
    "the refresh is due": ({"index": replace(LOADED, due=b.NOW)}, Act, Reason.PROGRESSING),
    "upstream is down, the last good copy serves": (
        {"index": replace(LOADED, error=DOWN)},
        Done,
        None,
    ),
    "upstream is down and there is no copy": (
        {"index": IndexView(error=DOWN, due=LATER)},
        Wait,
        Reason.PROGRESSING_WITH_RETRY,
    ),
    "what came is no index": (
        {"index": IndexView(error=BROKEN, due=LATER)},
        Stall,
        Reason.INDEX_INVALID,
    ),
    "another source is asked for and does not answer": (
        {"index": IndexView(status=STATUS, fresh=False, error=DOWN, due=LATER)},
        Wait,
        Reason.PROGRESSING_WITH_RETRY,
    ),
    "the claim is missing": ({"claim": None}, Wait, Reason.CLAIM_NOT_FOUND),
    "the claim is to be made": (
        {"claim": None, "spec": GallerySpec.model_validate(TEMPLATE)},
        Act,
        Reason.PROGRESSING,
    ),
    "the claim is going": ({"claim": replace(b.CLAIM, deleting=True)}, Wait, Reason.CLAIM_LOST),
    "suspended": (
        {"spec": GallerySpec.model_validate({**b.GALLERY_SPEC, "suspend": True})},
        Pause,
        Reason.SUSPENDED,
    ),
    "stored under another schema": (
        {"spec": None, "spec_error": "bad"},
        Stall,
        Reason.INVALID_SPEC,
    ),
}


@pytest.mark.parametrize(("changes", "want", "reason"), CASES.values(), ids=CASES.keys())
def test_the_first_open_step_decides(
    changes: dict[str, Any], want: type[Outcome], reason: Reason | None
) -> None:
    outcome = gallery.decide(observed(**changes), b.NOW).outcome

    assert isinstance(outcome, want)
    assert reason is getattr(outcome, "reason", None)


@pytest.mark.parametrize(("changes", "want", "reason"), CASES.values(), ids=CASES.keys())
def test_every_status_keeps_the_contract(
    changes: dict[str, Any], want: type[Outcome], reason: Reason | None
) -> None:
    seen = observed(**changes)
    status = gallery.status_after(seen, gallery.decide(seen, b.NOW), b.NOW)

    status_lint.check(
        {
            "metadata": {"generation": seen.meta.generation},
            "status": status.model_dump(by_alias=True, exclude_none=True, mode="json"),
        }
    )


def test_actions_name_what_is_due() -> None:
    claim = gallery.decide(
        observed(claim=None, spec=GallerySpec.model_validate(TEMPLATE)), b.NOW
    ).outcome
    index = gallery.decide(observed(index=IndexView()), b.NOW).outcome

    assert isinstance(claim, Act)
    assert isinstance(claim.actions[0], ApplyClaim)
    assert claim.actions[0].claim["metadata"]["name"] == "g-models"
    assert isinstance(index, Act)
    assert index.actions == (LoadIndex(),)


def test_a_claim_outlives_its_gallery() -> None:
    outcome = gallery.decide(
        observed(claim=None, spec=GallerySpec.model_validate(TEMPLATE)), b.NOW
    ).outcome

    assert "ownerReferences" not in outcome.actions[0].claim["metadata"]


def test_a_dead_upstream_is_told_while_the_copy_serves() -> None:
    seen = observed(index=replace(LOADED, error=DOWN))
    status = gallery.status_after(seen, gallery.decide(seen, b.NOW), b.NOW)

    index = next(c for c in status.conditions if c.type == "IndexReady")

    assert (index.status, index.reason) == ("True", Reason.LAST_GOOD_COPY)
    assert "no answer" in index.message
