"""Which entries of an index a Gallery keeps installed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model_gallery.api.v1alpha1.gallery import Install, Matching
from model_gallery.catalog import matching
from model_gallery.catalog.entry import Entry
from model_gallery.catalog.index import Index
from model_gallery.errors import StalledError

__all__ = ["Selection", "select"]


@dataclass(frozen=True, slots=True)
class Selection:
    """The entries to keep installed.

    Attributes:
        named: entries by name that the index holds.
        matched: further entries by selection, in the index's order.
        missing: entries by name that the index does not hold.
        omitted: how many more were selected than may be.
    """

    named: tuple[str, ...] = ()
    matched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    omitted: int = 0


def select(install: Install, index: Index) -> Selection:
    """Returns the selection.

    Raises:
        StalledError: InvalidSpec, where an expression is none.
    """
    there = set(index.names())
    named = tuple(name for name in install.entries if name in there)
    missing = tuple(name for name in install.entries if name not in there)
    if install.matching is None:
        return Selection(named, (), missing)
    matched = [name for name in _matched(install.matching, index) if name not in named]
    most = install.max_models
    return Selection(named, tuple(matched[:most]), missing, max(0, len(matched) - most))


def _matched(wanted: Matching, index: Index) -> Iterator[str]:
    fits = matching.matches_whole(wanted.name_regex, field="spec.install.matching.nameRegex")
    for name in index.names():
        if not fits(name):
            continue
        try:
            entry = index.entry(name)
        except StalledError:
            # It is among the index's problems already.
            continue
        if entry is not None and _fits(wanted, entry):
            yield name


def _fits(wanted: Matching, entry: Entry) -> bool:
    return set(wanted.tags) <= set(entry.tags) and wanted.backend in {"", entry.backend}
