"""Delays between attempts."""

from __future__ import annotations

import pytest

from model_gallery.reconcile.backoff import delay_seconds


@pytest.mark.parametrize(
    ("attempts", "asked", "seconds"),
    [(1, None, 15.0), (2, None, 30.0), (100, None, 900.0), (1, 60.0, 60.0), (3, 9e9, 3600.0)],
)
def test_what_a_source_asks_for_is_never_undercut(
    attempts: int, asked: float | None, seconds: float
) -> None:
    assert delay_seconds(attempts, 0.0, asked) == seconds


def test_those_who_were_told_one_moment_do_not_come_at_once() -> None:
    """All Models of a host are told when its limit ends."""
    assert delay_seconds(1, 0.5, 1000.0) == pytest.approx(1100.0)
