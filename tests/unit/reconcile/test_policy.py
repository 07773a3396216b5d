"""A Model's own policy: it can tighten its Gallery's, and never widen it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from model_gallery.api.conditions import Reason
from model_gallery.protocol.operation import InstallOperation
from model_gallery.reconcile import model, policy
from model_gallery.reconcile.actions import StartWorker
from model_gallery.reconcile.outcome import Act, Stall
from support import builders as b

MIT = replace(b.REQUEST, license="mit")
Case = tuple[dict[str, Any], dict[str, Any], str]

REFUSALS: dict[str, Case] = {
    "neither says anything": ({}, {}, ""),
    "both take it": ({"licenses": ["mit"]}, {"licenses": ["mit", "x"]}, ""),
    "the Model does not": (
        {"licenses": ["mit"]},
        {"licenses": ["x"]},
        "spec.policy.licenses does not hold it: license 'mit'",
    ),
    "the Gallery does not": (
        {"licenses": ["x"]},
        {"licenses": ["mit"]},
        "policy.licenses of Gallery g does not hold it: license 'mit'",
    ),
    "the Model takes hosts below": ({}, {"allowedHosts": [".ORG"]}, ""),
    "the Model takes another host": (
        {},
        {"allowedHosts": ["example.com"]},
        "spec.policy.allowedHosts does not hold example.org",
    ),
    "a Model's host is none of the Gallery's": (
        {"allowedHosts": ["example.com"]},
        {"allowedHosts": ["example.org"]},
        "policy.allowedHosts of Gallery g does not hold example.org",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_refused(case: str) -> None:
    gallery, own, words = REFUSALS[case]
    found = policy.refused(MIT, b.gallery(policy=gallery), b.spec(policy=own))
    assert (found.message if found else "") == words


@pytest.mark.parametrize(
    ("gallery", "own", "want"),
    [
        ({}, {}, (True, False)),
        ({"formats": "Any"}, {}, (False, False)),
        ({"formats": "Any"}, {"formats": "Safe"}, (True, False)),
        ({}, {"checksums": "Required"}, (True, True)),
        ({"checksums": "Required", "formats": "Any"}, {"licenses": ["mit"]}, (False, True)),
    ],
)
def test_what_the_worker_is_told(
    gallery: dict[str, Any], own: dict[str, Any], want: tuple[bool, bool]
) -> None:
    seen = b.observed(request=MIT, gallery=b.gallery(policy=gallery), spec=b.spec(policy=own))
    outcome = model.decide(seen, b.NOW, 0.0).outcome
    assert isinstance(outcome, Act)
    (start,) = outcome.actions
    assert isinstance(start, StartWorker)
    told = b.told(start)
    assert isinstance(told, InstallOperation)
    assert (told.safe_formats, told.checksums_required) == want


def test_a_tightened_policy_is_applied_to_what_is_installed() -> None:
    published = b.observed(status=b.published())
    tighter = replace(published, spec=b.spec(policy={"checksums": "Required"}))
    assert isinstance(model.decide(tighter, b.NOW, 0.0).outcome, Act)
    hosts = replace(published, spec=b.spec(policy={"allowedHosts": ["example.com"]}))
    outcome = model.decide(hosts, b.NOW, 0.0).outcome
    assert isinstance(outcome, Stall)
    assert outcome.reason is Reason.TARGET_NOT_ALLOWED


@pytest.mark.parametrize("wish", [{"formats": "Any"}, {"checksums": "WhenAvailable"}])
def test_nothing_is_widened(wish: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        b.spec(policy=wish)


SIGNED: dict[str, tuple[list[str], list[str], list[str] | str]] = {
    "only the Gallery names keys": (["a", "b"], [], ["a", "b"]),
    "only the Model does": ([], ["a"], ["a"]),
    "both do": (["a", "b"], ["b", "c"], ["b"]),
    "the same with other line ends": (["a b"], ["a\r\nb\n"], ["a\r\nb\n"]),
    "they share none": (
        ["a"],
        ["b"],
        "names no key that policy.signatures of Gallery g names, too",
    ),
}


@pytest.mark.parametrize("case", SIGNED)
def test_of_keys_those_count_that_both_name(case: str) -> None:
    gallery, own, want = SIGNED[case]
    wish = {"signatures": {"publicKeys": own}} if own else {}
    trusted = {"signatures": {"publicKeys": gallery}} if gallery else {}
    seen = b.observed(gallery=b.gallery(policy=trusted), spec=b.spec(policy=wish))
    outcome = model.decide(seen, b.NOW, 0.0).outcome
    if isinstance(want, str):
        assert isinstance(outcome, Stall)
        assert (outcome.reason, want in outcome.message) == (Reason.SIGNATURE_INVALID, True)
        return
    assert isinstance(outcome, Act)
    (start,) = outcome.actions
    assert isinstance(start, StartWorker)
    told = b.told(start)
    assert isinstance(told, InstallOperation)
    assert list(told.signature_keys) == want
