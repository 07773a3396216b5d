"""How many connections are worth their while, decided by what the last step gained.

It begins with half of the most, adds as long as that pays, and takes back what did not. Where more bring
nothing, fewer may bring the same: a server at hand and this machine's own processor are busy with less.
It gives way at once to a server that asks for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["FIRST", "LEAST", "MOST", "Connections", "after_refusal", "after_step"]

FIRST = 8
"""Where each is capped or far away, a search that begins with fewer takes longer than a small model."""
MOST = 16
LEAST = 4
"""Fewer are not tried: one lost packet would stop too much of the whole."""
_WORTH = 1.15
"""A doubling must gain at least this much, or it is taken back."""
_SAME = 0.97
"""A halving may cost this much at most, or it is taken back."""
_HOLD_STEPS = 40
"""Steps after which a number that was found is doubted again: networks change."""


@dataclass(frozen=True, slots=True)
class Connections:
    """The state of the search.

    Attributes:
        allowed: connections at this moment.
        before: how many it were before the last change, and the bytes per second of these; None: no change
            is being judged.
        hold: steps before the next try.
        most: ceiling; falls when a server refuses.
    """

    allowed: int = FIRST
    before: tuple[int, float] | None = None
    hold: int = 0
    most: int = MOST


def after_step(now: Connections, rate: float) -> Connections:
    """Returns the state after a step in which `rate` bytes per second came."""
    if now.hold > 0:
        return replace(now, hold=now.hold - 1)
    if now.before is None:
        return _changed_to(min(now.most, now.allowed * 2), now, rate)
    count, earlier = now.before
    if now.allowed > count:
        if rate >= earlier * _WORTH:
            return _changed_to(min(now.most, now.allowed * 2), now, rate)
        return _changed_to(max(min(LEAST, count), count // 2), replace(now, allowed=count), earlier)
    kept = now.allowed if rate >= earlier * _SAME else count
    return replace(now, allowed=kept, before=None, hold=_HOLD_STEPS)


def after_refusal(now: Connections) -> Connections:
    """Returns the state after the server asked for less; it is not asked for more again."""
    fewer = max(1, now.allowed // 2)
    return Connections(allowed=fewer, hold=_HOLD_STEPS, most=fewer)


def _changed_to(count: int, now: Connections, rate: float) -> Connections:
    """Returns the state that tries another number; that waits, where it is the same."""
    if count == now.allowed:
        return replace(now, before=None, hold=_HOLD_STEPS)
    return replace(now, allowed=count, before=(now.allowed, rate))
