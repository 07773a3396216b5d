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
    assert after(lambda count: 50.0 * count, 3) == [8, 16, 16]


def test_what_gains_nothing_is_taken_back_and_not_tried_again_soon() -> None:
    history = after(lambda _: 900.0, 30)

    assert history[:3] == [8, 16, 8]
    assert set(history[2:]) == {8}


def test_networks_change_so_it_is_tried_again_later() -> None:
    assert after(lambda _: 900.0, 60).count(16) == 2


@pytest.mark.parametrize(("allowed", "fewer"), [(16, 8), (4, 2), (2, 1), (1, 1)])
def test_a_server_that_refuses_gets_half_and_never_more(allowed: int, fewer: int) -> None:
    state = connections.after_refusal(Connections(allowed=allowed))

    assert state.allowed == fewer
    for _ in range(100):
        state = connections.after_step(state, 1000.0 * state.allowed)
        assert state.allowed <= fewer
