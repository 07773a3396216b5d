"""Stretches of a file: what is there, what is missing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

__all__ = ["Intervals", "Stretch"]

Stretch = tuple[int, int]
"""First byte, and the byte after the last one."""


class Intervals:
    """Disjoint stretches in ascending order; neighbours are joined."""

    __slots__ = ("_stretches",)

    def __init__(self, stretches: Iterable[Stretch] = ()) -> None:
        self._stretches: list[Stretch] = []
        for start, end in stretches:
            self.add(start, end)

    def __iter__(self) -> Iterator[Stretch]:
        return iter(self._stretches)

    def add(self, start: int, end: int) -> None:
        """Adds a stretch; what it overlaps or touches becomes one with it."""
        if start >= end:
            return
        known = self._stretches
        first = bisect_left(known, start, key=lambda stretch: stretch[1])
        last = first
        while last < len(known) and known[last][0] <= end:
            start, end = min(start, known[last][0]), max(end, known[last][1])
            last += 1
        known[first:last] = [(start, end)]

    def prefix(self) -> int:
        """Returns how many bytes are there from the beginning on without a gap."""
        if self._stretches and self._stretches[0][0] == 0:
            return self._stretches[0][1]
        return 0

    def total(self) -> int:
        """Returns how many bytes are there."""
        return sum(end - start for start, end in self._stretches)

    def missing(self, size: int) -> list[Stretch]:
        """Returns what is not there of the first `size` bytes."""
        gaps, position = [], 0
        for start, end in self._stretches:
            if start >= size:
                break
            if start > position:
                gaps.append((position, start))
            position = end
        if position < size:
            gaps.append((position, size))
        return gaps
