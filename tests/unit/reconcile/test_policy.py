"""A Model's own policy: it can tighten its Gallery's, and never widen it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs
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


NOBODY = (
    "spec.policy.signatures names no key, identity (with its trustedRoot) or authority that"
    " policy.signatures of Gallery g names, too"
)
SIGNED: dict[str, tuple[list[str], list[str], list[str] | str]] = {
    "only the Gallery names keys": (["a", "b"], [], ["a", "b"]),
    "only the Model does": ([], ["a"], ["a"]),
    "both do": (["a", "b"], ["b", "c"], ["b"]),
    "the same with other line ends": (["a b"], ["a\r\nb\n"], ["a\r\nb\n"]),
    "they share none": (
        ["a"],
        ["b"],
        NOBODY,
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


A, B = ({"issuer": "https://i", "subject": name} for name in ("a", "b"))
HERE, THERE = ({"configMapName": name} for name in ("here", "there"))
SIGNERS: dict[str, tuple[dict[str, Any] | None, dict[str, Any], dict[str, Any] | None]] = {
    "identities of both": ({"identities": [A, B]}, {"identities": [B]}, {"identities": [B]}),
    "only the Model's": (None, {"identities": [A]}, {"identities": [A]}),
    "with its own instance": (
        None,
        {"identities": [A], "trustedRoot": HERE},
        {"identities": [A], "root": "here"},
    ),
    "another identity": ({"identities": [A]}, {"identities": [B]}, None),
    "the same subject of another issuer": (
        {"identities": [A]},
        {"identities": [A | {"issuer": "https://j"}]},
        None,
    ),
    "the Gallery's instance": (
        {"identities": [A], "trustedRoot": HERE},
        {"identities": [A]},
        {"identities": [A], "root": "here"},
    ),
    "the same instance": (
        {"identities": [A], "trustedRoot": HERE},
        {"identities": [A], "trustedRoot": HERE},
        {"identities": [A], "root": "here"},
    ),
    "another instance": (
        {"identities": [A], "trustedRoot": HERE},
        {"identities": [A], "trustedRoot": THERE},
        None,
    ),
    "an instance in the place of the public one": (
        {"identities": [A]},
        {"identities": [A], "trustedRoot": HERE},
        None,
    ),
    "another instance, and a key of both": (
        {"publicKeys": ["k"], "identities": [A]},
        {"publicKeys": ["k"], "identities": [A], "trustedRoot": HERE},
        {"keys": ["k"]},
    ),
    "authorities of both": (
        {"certificateAuthorities": ["a b", "c"]},
        {"certificateAuthorities": ["a\nb"]},
        {"authorities": ["a\nb"]},
    ),
    "an authority that is no key": (
        {"publicKeys": ["a"]},
        {"certificateAuthorities": ["a"]},
        None,
    ),
    "an identity beside keys": ({"publicKeys": ["a"]}, {"identities": [A]}, None),
}


@pytest.mark.parametrize("case", SIGNERS)
def test_of_signers_those_count_whom_both_name(case: str) -> None:
    gallery, own, want = SIGNERS[case]
    policy = {"signatures": gallery} if gallery else {}
    seen = b.observed(gallery=b.gallery(policy=policy), spec=b.spec(policy={"signatures": own}))

    outcome = model.decide(seen, b.NOW, 0.0).outcome

    if want is None:
        assert isinstance(outcome, Stall)
        assert (outcome.reason, outcome.message) == (Reason.SIGNATURE_INVALID, NOBODY)
        return
    assert isinstance(outcome, Act)
    (start,) = outcome.actions
    assert isinstance(start, StartWorker)
    told = b.told(start)
    assert isinstance(told, InstallOperation)
    assert list(told.signature_keys) == want.get("keys", [])
    assert [structs.asdict(one) for one in told.signature_identities] == want.get("identities", [])
    assert list(told.signature_authorities) == want.get("authorities", [])
    assert told.own_trusted_root == ("root" in want)
    volumes = {item["name"]: item for item in start.job["spec"]["template"]["spec"]["volumes"]}
    mounted = volumes.get("trusted-root", {}).get("configMap", {}).get("name")
    assert mounted == want.get("root")
