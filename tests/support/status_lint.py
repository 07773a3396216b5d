"""The status linter: rules that every status of ours keeps, whatever happened. After Flux's example.

S1 Ready is there. S2 Reconciling and Stalled are there only while True, and never both. S3 Ready=True
needs both absent. S4 every condition speaks of the observed generation. S5 reasons are of the one list.
S6 messages are bounded, and one line. S7 types are unique. S8 times are RFC 3339. S9 Ready=True without
the observed generation is a lie. S10 kstatus agrees: Current exactly when Ready, Failed when Stalled.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from model_gallery.api.conditions import Reason
from support import kstatus

_REASONS = {reason.value for reason in Reason}


def check(body: dict[str, Any]) -> None:
    """Asserts the rules on an object that was reconciled at least once."""
    broken = problems(body)

    assert not broken, "\n".join(broken)


def problems(body: dict[str, Any]) -> list[str]:
    """Returns the broken rules, each with what broke it."""
    status = body.get("status") or {}
    conditions = status.get("conditions") or []
    states = {c["type"]: c["status"] for c in conditions}
    broken = []
    if "Ready" not in states:
        broken.append("S1: Ready is missing")
    broken += [
        f"S2: {type_} is {states[type_]}"
        for type_ in ("Reconciling", "Stalled")
        if states.get(type_, "True") != "True"
    ]
    if {"Reconciling", "Stalled"} <= states.keys():
        broken.append("S2: Reconciling and Stalled are both there")
    if states.get("Ready") == "True" and {"Reconciling", "Stalled"} & states.keys():
        broken.append("S3: Ready beside Reconciling or Stalled")
    if len(states) != len(conditions):
        broken.append("S7: a type is there twice")
    for condition in conditions:
        broken += _of_one(condition, status.get("observedGeneration"))
    observed = status.get("observedGeneration") == body["metadata"].get("generation")
    if states.get("Ready") == "True" and not observed:
        broken.append("S9: Ready for an older generation")
    return broken + _verdict(body, states)


def _of_one(condition: dict[str, Any], observed: Any) -> list[str]:
    type_, message = condition["type"], condition.get("message", "")
    broken = []
    if condition.get("observedGeneration") != observed:
        broken.append(f"S4: {type_} speaks of generation {condition.get('observedGeneration')}")
    if condition.get("reason") not in _REASONS:
        broken.append(f"S5: {type_} has the reason {condition.get('reason')!r}")
    if len(message) > 1024 or "\n" in message:
        broken.append(f"S6: {type_} has a message that is too long or has lines")
    try:
        datetime.fromisoformat(condition["lastTransitionTime"])
    except (KeyError, ValueError):
        broken.append(f"S8: {type_} has no transition time")
    return broken


def _verdict(body: dict[str, Any], states: dict[str, str]) -> list[str]:
    said = kstatus.verdict(body)
    if said == kstatus.TERMINATING:
        return []
    if (said == kstatus.CURRENT) != (states.get("Ready") == "True"):
        return [f"S10: kstatus says {said} while Ready is {states.get('Ready')}"]
    if (said == kstatus.FAILED) != ("Stalled" in states):
        return [f"S10: kstatus says {said} and Stalled is {states.get('Stalled')}"]
    return []
