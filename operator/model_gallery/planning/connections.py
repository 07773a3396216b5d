"""How many connections are worth their while, decided by what the last step gained.

It begins with half of the most, adds as long as that pays, takes back what did not, and gives way at
once to a server that asks for it (downloads are fastest with one connection from one server, and sixteen
from another that caps each).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["FIRST", "MOST", "Connections", "after_refusal", "after_step"]

FIRST = 8
"""Where each is capped or far away, a search that begins with fewer takes longer than a small model."""
MOST = 16
_WORTH = 1.15
"""A doubling must gain at least this much, or it is taken back."""
_HOLD_STEPS = 40
"""Steps after which a number that was found is doubted again: networks change."""


@dataclass(frozen=True, slots=True)
class Connections:
    """The state of the search.

    Attributes:
        allowed: connections at this moment.
        base_rate: bytes per second before the last doubling; None: the next step takes it.
        hold: steps before the next try.
        most: ceiling; falls when a server refuses.
    """

    allowed: int = FIRST
    base_rate: float | None = None
    hold: int = 0
    most: int = MOST


def after_step(now: Connections, rate: float) -> Connections:
    """Returns the state after a step in which `rate` bytes per second came."""
    if now.hold > 0:
        return replace(now, hold=now.hold - 1, base_rate=None)
    if now.base_rate is not None and rate < now.base_rate * _WORTH:
        return replace(now, allowed=max(1, now.allowed // 2), base_rate=None, hold=_HOLD_STEPS)
    if now.allowed >= now.most:
        return replace(now, base_rate=None, hold=_HOLD_STEPS)
    return replace(now, allowed=min(now.most, now.allowed * 2), base_rate=rate)


def after_refusal(now: Connections) -> Connections:
    """Returns the state after the server asked for less; it is not asked for more again."""
    fewer = max(1, now.allowed // 2)
    return Connections(allowed=fewer, hold=_HOLD_STEPS, most=fewer)
