"""A field of a foreign document is what it should be, or absent."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_gallery.monitor import reading

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (0, 0),
        (2048, 2048),
        (2048.0, 2048),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (float(2**63), None),
        (10**400, None),
        (-1, None),
        (1.5, None),
        (float("nan"), None),
        (float("inf"), None),
        (True, None),
        ("5", None),
        (None, None),
        ([], None),
    ],
)
def test_counts(value: object, count: int | None) -> None:
    assert reading.count(value) == count


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-11-23T06:53:49.157454266Z", datetime(2026, 11, 23, 6, 53, 49, 157454, UTC)),
        ("2026-11-23T08:53:49+02:00", datetime(2026, 11, 23, 6, 53, 49, tzinfo=UTC)),
        ("2026-11-23T06:53:49", None),
        ("0001-01-01T00:00:00Z", None),
        ("9999-12-31T23:59:59-12:00", None),
        ("soon", None),
        (1700000000, None),
        (None, None),
    ],
)
def test_moments(value: object, moment: datetime | None) -> None:
    assert reading.moment(value) == moment


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        (1_700_000_000_123, datetime(2023, 11, 14, 22, 13, 20, 123000, UTC)),
        (0, None),
        (2**63 - 1, None),
        (-5, None),
        ("1700000000123", None),
    ],
)
def test_milliseconds(value: object, moment: datetime | None) -> None:
    assert reading.milliseconds(value) == moment


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("a b/ü:1", "a b/ü:1"),
        ("x" * 512, "x" * 512),
        ("x" * 513, ""),
        ("a\nb", ""),
        ("\ud800", ""),
        ("\u202egnp", ""),
        (5, ""),
        (None, ""),
    ],
)
def test_names(value: object, name: str) -> None:
    assert reading.name(value) == name


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("a\n\tb\x00c", "a b c"),
        ("x" * 1000, "x" * 200),
        ("\ud800a", "a"),
        (5, ""),
    ],
)
def test_sentences(value: object, sentence: str) -> None:
    assert reading.sentence(value) == sentence


def test_other_names_are_there_once_and_bounded() -> None:
    assert reading.others("a", ["a", "b", "", None, 5, "b", "c\n"]) == ("b",)
    assert len(reading.others("a", map(str, range(100)))) == 16


@pytest.mark.parametrize(
    ("path", "last"),
    [("/m/a.gguf", "a.gguf"), ("org/name", "name"), ("a", "a"), ("/m/dir/", "dir"), ("", "")],
)
def test_last_parts(path: str, last: str) -> None:
    assert reading.basename(path) == last


def test_sums_are_of_what_is_known() -> None:
    assert reading.plus(1, None, 2) == 3
    assert reading.plus(None) is None
    assert reading.plus() is None
    assert reading.plus(2**62, 2**62) is None
    assert reading.added(1.5, None, 2) == 3.5
    assert reading.added(None) is None
    assert reading.added(1e308, 1e308) is None


@settings(max_examples=200, deadline=None)
@given(ANYTHING)
def test_nothing_raises(value: object) -> None:
    """And what comes out can be sent to Kubernetes."""
    found = [
        reading.count(value),
        reading.number(value),
        reading.name(value),
        reading.sentence(value),
        reading.owner(value),
        str(reading.moment(value)),
        str(reading.milliseconds(value)),
        list(reading.others("", [value])),
    ]
    reading.mapping(value)
    reading.items(value)

    json.dumps(found, allow_nan=False, ensure_ascii=False).encode()
