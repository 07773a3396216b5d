"""The number of connections, played against servers of known behaviour."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from model_gallery.planning import connections
from model_gallery.planning.connections import Connections


def after(rate: Callable[[int], float], steps: int) -> list[int]:
    """Returns how many connections were open in each step, against that server."""
    state, history = Connections(), []
    for _ in range(steps):
        history.append(state.allowed)
        state = connections.after_step(state, rate(state.allowed))
    return history


def test_a_server_that_caps_each_connection_gets_the_most() -> None:
    assert after(lambda count: 50.0 * count, 100) == [8, *[16] * 99]


def test_where_more_bring_nothing_the_fewest_that_bring_the_same_are_kept() -> None:
    history = after(lambda _: 900.0, 30)

    assert history == [8, 16, *[4] * 28]


def test_what_fewer_would_cost_is_not_given_up() -> None:
    """Four are too few here, and sixteen no better than eight."""
    history = after(lambda count: min(900.0, 120.0 * count), 30)

    assert history == [8, 16, 4, *[8] * 27]


def test_a_processor_that_many_threads_hold_up_gets_few() -> None:
    assert after(lambda count: 1000.0 - 20.0 * count, 30)[-1] == 4


def test_networks_change_so_it_is_tried_again_later() -> None:
    assert after(lambda _: 900.0, 60).count(8) == 2


@pytest.mark.parametrize(("allowed", "fewer"), [(16, 8), (4, 2), (2, 1), (1, 1)])
def test_a_server_that_refuses_gets_half_and_never_more(allowed: int, fewer: int) -> None:
    state = connections.after_refusal(Connections(allowed=allowed))

    assert state.allowed == fewer
    for _ in range(100):
        state = connections.after_step(state, 1000.0 * state.allowed)
        assert state.allowed <= fewer
