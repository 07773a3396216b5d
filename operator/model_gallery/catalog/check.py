"""Checks a whole index: which entries can be installed, and why the others cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.catalog import entry as entries
from model_gallery.catalog.baseconfig import BaseConfig
from model_gallery.catalog.index import Index, Problem
from model_gallery.errors import GalleryError
from model_gallery.protocol.operation import WantedFile

__all__ = ["Conflict", "Report", "check"]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A path under which several entries publish different content.

    Each can be installed; two of them on one volume cannot, and the second is refused.

    Attributes:
        entries: names, in the index's order.
    """

    path: str
    entries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found.

    Attributes:
        entries: how many entries the index lists, usable or not.
        resolved: how many of them can be installed.
        problems: why the others cannot, those of the index first, then in its order.
        conflicts: by path.
    """

    entries: int
    resolved: int
    problems: tuple[Problem, ...]
    conflicts: tuple[Conflict, ...]


def check(index: Index, bases: Mapping[str, BaseConfig | GalleryError]) -> Report:
    """Returns the report on the index.

    Args:
        bases: by the reference that entries write, a base configuration or why there is none.
    """
    problems = list(index.problems)
    files: dict[str, tuple[WantedFile, ...]] = {}
    for name in index.names():
        try:
            files[name] = _files(index, name, bases)
        except GalleryError as error:
            problems.append(Problem(name, error.reason, error.message))
    return Report(
        entries=len(index) + len(index.problems),
        resolved=len(files),
        problems=tuple(problems),
        conflicts=tuple(_conflicts(files)),
    )


def _files(
    index: Index, name: str, bases: Mapping[str, BaseConfig | GalleryError]
) -> tuple[WantedFile, ...]:
    entry = index.entry(name)
    if entry is None:
        raise KeyError(name)
    base = bases.get(entry.url) if entry.url else None
    if isinstance(base, GalleryError):
        raise GalleryError(Reason.BASE_CONFIG_UNAVAILABLE, f"{entry.place}{base.message}")
    return entries.files_of(entry, base)


def _conflicts(files: Mapping[str, Iterable[WantedFile]]) -> list[Conflict]:
    names: dict[str, list[str]] = {}
    contents: dict[str, set[str]] = {}
    for name, wanted in files.items():
        for file in wanted:
            if file.unpack:
                continue  # its members are published, not the archive; nobody knows them yet
            names.setdefault(file.path, []).append(name)
            contents.setdefault(file.path, set()).add(file.sha256 or file.url)
    return [
        Conflict(path, tuple(names[path]))
        for path, different in sorted(contents.items())
        if len(different) > 1
    ]
