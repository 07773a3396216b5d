"""Whose turn it is: who has been due for longest comes first."""

from __future__ import annotations

import heapq

__all__ = ["Turns"]

Name = tuple[str, str]


class Turns:
    """Moments by name; taking a name's turn ends it until another one is set."""

    def __init__(self) -> None:
        self._moments: dict[Name, float] = {}
        self._heap: list[tuple[float, Name]] = []

    def set(self, name: Name, moment: float) -> None:
        """Gives a name its turn at a moment, in place of any other."""
        self._moments[name] = moment
        heapq.heappush(self._heap, (moment, name))

    def hurry(self, name: Name, moment: float) -> None:
        """Brings a turn forward; without one, or where it comes sooner, nothing happens."""
        if self._moments.get(name, moment) > moment:
            self.set(name, moment)

    def drop(self, name: Name) -> None:
        """Takes a name's turn away."""
        self._moments.pop(name, None)

    def take(self, now: float) -> Name | None:
        """Returns who has been due for longest; None where nobody is."""
        moment = self.next()
        if moment is None or moment > now:
            return None
        _, name = heapq.heappop(self._heap)
        del self._moments[name]
        return name

    def next(self) -> float | None:
        """Returns the moment of the next turn; None without one."""
        while self._heap and self._moments.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
