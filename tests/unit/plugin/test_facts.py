"""What objects say, also those of another version of the operator."""

from __future__ import annotations

import pytest

from model_gallery.plugin import facts
from model_gallery.plugin.facts import Verdict
from support.asread import READY, STALLED, WORKING, condition, gallery, model

SUSPENDED = condition("Ready", "False", "Suspended")

CASES = {
    "one that is Ready": (model("a", READY), Verdict.READY, "ready"),
    "one at work": (model("a", WORKING), Verdict.PENDING, "Progressing"),
    "one that nobody looked at": (
        model("a", status={"observedGeneration": -1}),
        Verdict.PENDING,
        "not observed yet",
    ),
    "one that was Ready for an older wish": (
        model("a", READY, status={"observedGeneration": 0}),
        Verdict.PENDING,
        "not observed yet",
    ),
    "one without conditions": (model("a"), Verdict.PENDING, "not observed yet"),
    "one that is Stalled": (
        model("a", *STALLED),
        Verdict.FAILED,
        "ChecksumMismatch: sha256 of a is b",
    ),
    "one that is suspended": (
        model("a", SUSPENDED, spec={"suspend": True}),
        Verdict.FAILED,
        "Suspended: `kubectl model resume a` goes on",
    ),
    "one whose Gallery is suspended": (
        model("a", condition("Ready", "False", "Suspended", "Gallery g is suspended")),
        Verdict.FAILED,
        "Suspended: Gallery g is suspended",
    ),
    "one that is only planned": (
        model("a", condition("Ready", "False", "Planned", "set spec.mode to Install")),
        Verdict.FAILED,
        "Planned: set spec.mode to Install",
    ),
    "one that is gone": (None, Verdict.FAILED, "it is not there"),
}


@pytest.mark.parametrize(("found", "verdict", "why"), CASES.values(), ids=CASES)
def test_verdict(found, verdict: Verdict, why: str) -> None:
    assert facts.verdict(found) == (verdict, why)


def test_one_that_is_being_deleted_will_not_become_ready() -> None:
    found = model("a", READY)
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    assert facts.verdict(found) == (Verdict.FAILED, "it is being deleted")


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (None, ""),
        ({"completedBytes": 1024}, "1.0 KiB"),
        ({"completedBytes": 1024, "totalBytes": 4096}, "1.0 KiB of 4.0 KiB (25%)"),
        (
            {"completedBytes": 0, "totalBytes": 2048, "bytesPerSecond": 512},
            "0 B of 2.0 KiB (0%), 512 B/s",
        ),
    ],
)
def test_progress(progress, text: str) -> None:
    assert facts.progress_text(model("a", status={"progress": progress})) == text


def test_loose_files_of_a_gallery() -> None:
    loose = {"name": "x", "kind": "Loose", "path": "x.gguf"}
    listing = {"models": [loose, {"name": "y", "kind": "Configured"}]}

    assert facts.listed_loose(gallery(listing=listing)) == [loose]
    assert facts.listed_loose(gallery()) is None


def test_times_that_are_none() -> None:
    assert facts.moment("soon") is None
    assert facts.moment(None) is None
