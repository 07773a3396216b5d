"""An index: a list of entries, kept small, each one typed when it is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import canonical_json, sha256_of_bytes
from model_gallery.catalog import yamltext
from model_gallery.catalog.entry import Entry
from model_gallery.errors import StalledError

__all__ = ["MAX_ENTRIES", "MAX_NAME_LENGTH", "Index", "Problem", "parse"]

MAX_ENTRIES = 20_000
MAX_NAME_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Problem:
    """An entry that cannot be installed.

    Attributes:
        entry: its name, or `#7` for the seventh where it has none.
        message: one sentence.
    """

    entry: str
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, eq=False)
class Index:
    """The usable entries of an index, in its order.

    Attributes:
        digest: sha256 of the text.
        problems: what could not even be taken as an entry.
    """

    digest: str
    problems: tuple[Problem, ...]
    _entries: Mapping[str, bytes] = field(repr=False)
    _references: frozenset[str] = field(repr=False)

    def __len__(self) -> int:
        return len(self._entries)

    def names(self) -> tuple[str, ...]:
        """Returns the names of all entries, in the index's order."""
        return tuple(self._entries)

    def entry(self, name: str) -> Entry | None:
        """Returns the entry of exactly this name; None without one.

        Raises:
            StalledError: EntryInvalid, naming the field that has another type.
        """
        text = self._entries.get(name)
        return None if text is None else Entry.of(json.loads(text))

    def references(self) -> frozenset[str]:
        """Returns the references to base configurations, as the entries write them."""
        return self._references


def parse(text: bytes, *, what: str = "the index") -> Index:
    """Returns the index that the YAML (or JSON) text holds.

    Args:
        what: what the text is, for messages.

    Raises:
        StalledError: IndexInvalid, naming the line: no YAML, no list, too large, too many entries.
    """
    values = yamltext.load(text, what=what, reason=Reason.INDEX_INVALID)
    if not isinstance(values, list):
        raise StalledError(Reason.INDEX_INVALID, f"{what} must be a list of entries")
    if len(values) > MAX_ENTRIES:
        raise StalledError(Reason.INDEX_INVALID, f"{what} has more than {MAX_ENTRIES} entries")
    entries: dict[str, bytes] = {}
    references: set[str] = set()
    problems = []
    for number, value in enumerate(values, 1):
        problem = _problem(value, number, entries)
        if problem:
            problems.append(problem)
            continue
        entries[value["name"]] = canonical_json(value).encode()
        reference = value.get("url")
        if reference and isinstance(reference, str):
            references.add(reference)
    return Index(sha256_of_bytes(text), tuple(problems), entries, frozenset(references))


def _problem(value: Any, number: int, entries: Mapping[str, bytes]) -> Problem | None:
    place = f"#{number}"
    if not isinstance(value, dict):
        return _invalid(place, f"entry {place} must be a mapping")
    name = value.get("name")
    if not name or not isinstance(name, str):
        return _invalid(place, f"entry {place} must have a name, as text")
    if len(name) > MAX_NAME_LENGTH:
        return _invalid(place, f"entry {place}: name is over {MAX_NAME_LENGTH} characters long")
    if name in entries:
        return _invalid(name, f"entry {place}: name {name!r} is taken; the first entry counts")
    return None


def _invalid(entry: str, message: str) -> Problem:
    return Problem(entry, Reason.ENTRY_INVALID, message)
