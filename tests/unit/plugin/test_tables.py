"""Tables: aligned as kubectl does, ages as kubectl writes them, and no terminal codes of others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from model_gallery.plugin import tables
from model_gallery.plugin.tables import Table

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    table = Table(("NAME", "SIZE"), [("a", "1 B"), ("longer", "")])

    assert tables.render(table) == "NAME     SIZE\na        1 B\nlonger"


def test_wide_and_combining_characters_keep_the_columns_straight() -> None:
    table = Table(("A", "B"), [("日本", "x"), ("e\u0301", "y")])

    assert tables.render(table).splitlines() == ["A      B", "日本   x", "e\u0301      y"]


def test_a_name_cannot_command_the_terminal() -> None:
    assert "\x1b" not in tables.render(Table(("A",), [("\x1b[2Jx\ny",)]))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (330, "5m30s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (12600, "3h30m"),
        (28800, "8h"),
        (172799, "47h"),
        (172800, "2d"),
        (187200, "2d4h"),
        (8 * 86400, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (800 * 86400, "2y70d"),
    ],
)
def test_durations_read_as_those_of_kubectl(seconds: float, text: str) -> None:
    assert tables.duration(seconds) == text
    assert tables.age(NOW - timedelta(seconds=seconds), NOW) == text


def test_an_age_without_a_beginning() -> None:
    assert tables.age(None, NOW) == "<unknown>"


@pytest.mark.parametrize(
    ("part", "whole", "text"), [(0, None, ""), (5, 0, ""), (1, 3, "33%"), (4, 3, "100%")]
)
def test_percent(part: int, whole: int | None, text: str) -> None:
    assert tables.percent(part, whole) == text


def test_cutting_makes_one_line() -> None:
    assert tables.cut("a\n b   c", 20) == "a b c"
    assert tables.cut("abcdef ghi", 8) == "abcdef…"
