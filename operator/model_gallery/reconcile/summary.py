"""From outcomes to conditions: the only writer of Ready, Reconciling and Stalled.

Keeps the contract that kstatus reads: Ready always; Reconciling and Stalled only while True and never
together; every condition with its observedGeneration; lastTransitionTime moves with the status only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from model_gallery.api.conditions import ConditionType, Reason
from model_gallery.api.v1alpha1.common import Condition
from model_gallery.reconcile.outcome import Act, Done, Outcome, Pause, Stall, Wait

__all__ = ["Fact", "summarize"]

_MAX_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class Fact:
    """One condition as it shall be, before times are put on it."""

    type: ConditionType
    status: str
    reason: Reason
    message: str = ""


def summarize(
    outcome: Outcome,
    facts: Iterable[Fact],
    *,
    generation: int,
    previous: Sequence[Condition],
    now: str,
) -> tuple[Condition, ...]:
    """Returns all conditions of an object.

    Args:
        outcome: what the first open step said.
        facts: the kind's further conditions.
        generation: the generation that was decided on.
        previous: the conditions as they stand.
        now: time for those whose status changes.
    """
    standing = {condition.type: condition for condition in previous}
    return tuple(
        _stamped(fact, generation, standing.get(fact.type), now)
        for fact in (*_headline(outcome), *facts)
    )


def _headline(outcome: Outcome) -> tuple[Fact, ...]:
    ready, reconciling, stalled = (
        ConditionType.READY,
        ConditionType.RECONCILING,
        ConditionType.STALLED,
    )
    match outcome:
        case Done(message=message) | Act(beside=Done(message=message)):
            return (Fact(ready, "True", Reason.SUCCEEDED, message),)
        case Pause(reason=reason, message=message):
            return (Fact(ready, "False", reason, message),)
        case Stall(reason=reason, message=message):
            return (
                Fact(ready, "False", reason, message),
                Fact(stalled, "True", reason, message),
            )
        case Wait(reason=reason, message=message) | Act(reason=reason, message=message):
            return (
                Fact(ready, "Unknown", reason, message),
                Fact(reconciling, "True", reason, message),
            )
        case _:
            assert_never(outcome)


def _stamped(fact: Fact, generation: int, standing: Condition | None, now: str) -> Condition:
    kept = standing is not None and standing.status == fact.status
    return Condition(
        type=fact.type.value,
        status=fact.status,
        observed_generation=generation,
        last_transition_time=standing.last_transition_time if standing and kept else now,
        reason=fact.reason.value,
        message=fact.message[:_MAX_MESSAGE],
    )
