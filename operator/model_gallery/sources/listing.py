"""What every source does with the names that it found: choose, and refuse what cannot live together."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from model_gallery.api.conditions import Reason
from model_gallery.artifact.path import ArtifactPath
from model_gallery.errors import StalledError
from model_gallery.sources.base import RemoteFile

__all__ = ["MAX_FILES", "chosen", "invalid", "is_chosen"]

MAX_FILES = 20_000
_SHOWN = 5


def chosen(
    files: Iterable[RemoteFile],
    include: Sequence[str],
    exclude: Sequence[str],
    *,
    hidden: Sequence[str] = (),
) -> tuple[RemoteFile, ...]:
    """Returns the files that the patterns choose, sorted by name.

    An archive is always among them: what it holds is chosen when it is unpacked.

    Args:
        include: glob patterns, `*` crosses slashes, a trailing slash means all below; empty: all files.
        exclude: what is left out; wins over `include`.
        hidden: what is left out unless `include` says otherwise.

    Raises:
        StalledError: NotFound where nothing is left; UnsafePath where a name leaves its folder, or two
            names would be one file on some volume; SourceInvalid where there are too many.
    """
    wanted = [
        file for file in files if file.packed or is_chosen(file.name, include, exclude, hidden)
    ]
    if not wanted:
        patterns = ", ".join([*include, *(f"not {pattern}" for pattern in exclude)]) or "all files"
        raise StalledError(
            Reason.NOT_FOUND, f"the source has no file for {patterns[:300]}; correct the patterns"
        )
    if len(wanted) > MAX_FILES:
        raise invalid(f"{len(wanted)} files are more than {MAX_FILES}; choose some by patterns")
    for file in wanted:
        ArtifactPath.parse(file.name)
    _check_clashes([file.name for file in wanted])
    return tuple(sorted(wanted, key=lambda file: file.name))


def is_chosen(
    name: str, include: Sequence[str], exclude: Sequence[str], hidden: Sequence[str] = ()
) -> bool:
    """Whether the patterns choose a name; as of `chosen`."""
    if _matches(name, exclude):
        return False
    return _matches(name, include) if include else not _matches(name, hidden)


def invalid(problem: str) -> StalledError:
    """Returns the error for a source whose own description cannot be used."""
    return StalledError(Reason.SOURCE_INVALID, problem[:500])


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(
        name.startswith(pattern) if pattern.endswith("/") else fnmatchcase(name, pattern)
        for pattern in patterns
    )


def _check_clashes(names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    clashes = []
    for name in names:
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in seen:
            clashes.append(f"{seen[folded]!r} and {name!r}")
        seen[folded] = name
    folders = {
        "/".join(name.split("/")[:depth])
        for name in names
        for depth in range(1, name.count("/") + 1)
    }
    clashes += [f"{name!r} is a file and a folder" for name in names if name in folders]
    if clashes:
        raise StalledError(
            Reason.UNSAFE_PATH,
            "names that would be one file on some volumes: " + "; ".join(clashes[:_SHOWN])[:400],
        )
