"""Stretches: compared with a set of single bytes."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from model_gallery.planning.intervals import Intervals

STRETCHES = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


def covered(stretches: list[tuple[int, int]]) -> set[int]:
    return {byte for start, end in stretches for byte in range(start, end)}


@given(STRETCHES)
def test_they_cover_what_was_added_and_touch_nowhere(stretches: list[tuple[int, int]]) -> None:
    joined = list(Intervals(stretches))

    assert covered(joined) == covered(stretches)
    assert all(first[1] < second[0] for first, second in itertools.pairwise(joined))
    assert Intervals(stretches).total() == len(covered(stretches))


@given(STRETCHES, st.integers(0, 70))
def test_what_is_missing_is_the_rest(stretches: list[tuple[int, int]], size: int) -> None:
    missing = Intervals(stretches).missing(size)

    assert covered(missing) == set(range(size)) - covered(stretches)


@given(STRETCHES)
def test_the_prefix_ends_at_the_first_gap(stretches: list[tuple[int, int]]) -> None:
    there = covered(stretches)
    prefix = Intervals(stretches).prefix()

    assert set(range(prefix)) <= there
    assert prefix not in there
