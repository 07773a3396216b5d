"""The status linter and the kstatus table: each rule bites."""

from __future__ import annotations

from typing import Any

import pytest

from support import kstatus, status_lint


def body(*states: str, observed: int = 1, generation: int = 1, **extra: Any) -> dict[str, Any]:
    conditions = [
        {
            "type": state.partition("=")[0],
            "status": state.partition("=")[2],
            "reason": "Succeeded",
            "message": "",
            "observedGeneration": observed,
            "lastTransitionTime": "2026-11-01T12:00:00Z",
            **extra,
        }
        for state in states
    ]
    return {
        "metadata": {"generation": generation},
        "status": {"observedGeneration": observed, "conditions": conditions},
    }


VERDICTS = {
    "no status at all": ({"metadata": {"generation": 1}}, kstatus.CURRENT),
    "our default status": (
        {"metadata": {"generation": 1}, "status": {"observedGeneration": -1}},
        kstatus.IN_PROGRESS,
    ),
    "an older generation": (body("Ready=True", generation=2), kstatus.IN_PROGRESS),
    "Reconciling": (body("Ready=Unknown", "Reconciling=True"), kstatus.IN_PROGRESS),
    "Stalled": (body("Ready=False", "Stalled=True"), kstatus.FAILED),
    "Ready": (body("Ready=True"), kstatus.CURRENT),
    "not Ready": (body("Ready=False"), kstatus.IN_PROGRESS),
    "being deleted": ({"metadata": {"deletionTimestamp": "x"}}, kstatus.TERMINATING),
}


@pytest.mark.parametrize(("seen", "want"), VERDICTS.values(), ids=VERDICTS.keys())
def test_kstatus(seen: dict[str, Any], want: str) -> None:
    assert want == kstatus.verdict(seen)


GOOD = [
    body("Ready=True", "Resolved=True"),
    body("Ready=Unknown", "Reconciling=True"),
    body("Ready=False", "Stalled=True"),
    body("Ready=False"),
]
BAD = {
    "S1": body("Resolved=True"),
    "S2": body("Ready=Unknown", "Reconciling=True", "Stalled=True"),
    "S3": body("Ready=True", "Reconciling=True"),
    "S4": body("Ready=True", observedGeneration=7),
    "S5": body("Ready=True", reason="Whatever"),
    "S6": body("Ready=True", message="a\nb"),
    "S7": body("Ready=True", "Ready=True"),
    "S8": body("Ready=True", lastTransitionTime="yesterday"),
    "S9": body("Ready=True", generation=2),
    "S10": body("Ready=True", generation=2),
}


@pytest.mark.parametrize("good", GOOD)
def test_good_ones_pass(good: dict[str, Any]) -> None:
    assert status_lint.problems(good) == []


@pytest.mark.parametrize(("rule", "bad"), BAD.items())
def test_each_rule_bites(rule: str, bad: dict[str, Any]) -> None:
    assert any(problem.startswith(f"{rule}:") for problem in status_lint.problems(bad))
