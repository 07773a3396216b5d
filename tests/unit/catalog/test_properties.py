"""Merging and writing configurations, for any values."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from model_gallery.catalog import configuration, yamltext

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
MAPS = st.dictionaries(TEXT, VALUES, max_size=4)


@given(MAPS, MAPS)
def test_the_upper_side_wins_and_nothing_is_lost(
    under: dict[str, Any], over: dict[str, Any]
) -> None:
    merged = configuration.merge(under, over)

    assert merged.keys() == under.keys() | over.keys()
    for key, value in over.items():
        if not isinstance(value, dict) or not isinstance(under.get(key), dict):
            assert merged[key] == value


@given(MAPS)
def test_merging_with_nothing_or_oneself_changes_nothing(value: dict[str, Any]) -> None:
    assert configuration.merge(value, {}) == value
    assert configuration.merge({}, value) == value
    assert configuration.merge(value, value) == value


@given(MAPS)
def test_what_is_written_is_read_back(value: dict[str, Any]) -> None:
    """By ours and by another reader: backends read it with theirs."""
    text = yamltext.dump(value, sort_keys=True)

    assert yaml.safe_load(text) == value
