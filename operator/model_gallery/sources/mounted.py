"""Files that lie on a mounted volume: the Gallery's own, or a claim that the Job mounts read-only.

A path that must not be read is answered like one that does not exist, so that nobody learns from a Model
what else is there. Links are never followed: a backend that shares the volume may have planted them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, Protocol
from urllib.parse import quote, unquote, urlsplit

from model_gallery.api.conditions import Reason
from model_gallery.artifact.path import RESERVED_ROOT, ArtifactPath
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Repository, RepositoryKind
from model_gallery.sources.base import RemoteFile, Resolution

__all__ = ["Facts", "Mounted", "MountedSource"]

Parts = tuple[str, ...]

_MAX_ENTRIES = 20_000
_MAX_DEPTH = 16
_NOT_OURS = frozenset({RESERVED_ROOT, "lost+found"})
_SCHEMES = {RepositoryKind.CLAIM: "pvc", RepositoryKind.VOLUME: "file"}


class Facts(Protocol):
    """What is told of a regular file."""

    @property
    def size_bytes(self) -> int:
        """How long it is."""
        ...


class Mounted(Protocol):
    """What is asked of a volume; paths are tuples of components below its root."""

    def facts(self, parts: Parts) -> Facts | None:
        """Returns what is told of a regular file; None where nothing is there.

        Raises:
            StalledError: where something else is there, or a link on the way.
        """
        ...

    def kinds(self, parts: Parts, most: int) -> Mapping[str, Literal["file", "folder", "other"]]:
        """Returns what the names in a folder are, at most `most`; none where it does not exist.

        Raises:
            StalledError: where something else is there, or a link on the way.
        """
        ...


@dataclass(frozen=True, slots=True)
class MountedSource:
    """Resolves one file or folder of a volume."""

    volume: Mounted

    def resolve(self, wanted: Repository) -> Resolution:
        """Returns the file, or all files in and below the folder.

        Raises:
            StalledError: NotFound, UnsafePath, SourceInvalid, InvalidSpec.
            TransientError: as the volume does.
        """
        start = _start(wanted)
        try:
            single = self.volume.facts(start) if start else None
        except StalledError:
            single = None  # a folder, or what must not be read: the walk tells
        if single is not None:
            files = [RemoteFile(start[-1], wanted.url, single.size_bytes, local=start)]
        else:
            files = sorted(self._below(start, wanted), key=lambda file: file.name)
        if not files:
            raise _absent(wanted)
        return Resolution("", tuple(files))

    def _below(self, start: Parts, wanted: Repository) -> Iterator[RemoteFile]:
        for parts in self._walk(start, wanted):
            facts = self.volume.facts(parts)
            if facts is not None:
                name = str(ArtifactPath.parse("/".join(parts[len(start) :])))
                url = f"{wanted.url.removesuffix('/')}/{quote(name)}"
                yield RemoteFile(name, url, facts.size_bytes, local=parts)

    def _walk(self, start: Parts, wanted: Repository) -> Iterator[Parts]:
        waiting, seen = [start], 0
        while waiting:
            folder = waiting.pop()
            kinds = self._kinds(folder, start, wanted, _MAX_ENTRIES - seen + 1)
            seen += len(kinds)
            if seen > _MAX_ENTRIES:
                raise _invalid(wanted, f"more than {_MAX_ENTRIES} files and folders are there")
            for name, kind in kinds.items():
                parts = (*folder, name)
                if parts[0] in _NOT_OURS:
                    continue
                if kind == "folder":
                    waiting.append(parts)
                elif _is_wanted("/".join(parts[len(start) :]), wanted):
                    yield _regular(parts, kind)

    def _kinds(
        self, folder: Parts, start: Parts, wanted: Repository, most: int
    ) -> Mapping[str, Literal["file", "folder", "other"]]:
        if len(folder) - len(start) > _MAX_DEPTH:
            raise _invalid(wanted, f"folders are nested more than {_MAX_DEPTH} deep")
        try:
            return self.volume.kinds(folder, most)
        except StalledError as error:
            if folder == start:
                raise _absent(wanted) from error
            raise


def _start(wanted: Repository) -> Parts:
    """Returns the components of the path that the URI names; none for the volume's root."""
    try:
        url = urlsplit(wanted.url)
        path = unquote(url.path, errors="strict").removeprefix("/").removesuffix("/")
    except ValueError as error:
        raise _absent(wanted) from error
    named = bool(url.netloc) == (wanted.kind is RepositoryKind.CLAIM)
    if url.scheme != _SCHEMES.get(wanted.kind) or not named or url.query or url.fragment:
        raise StalledError(
            Reason.INVALID_SPEC,
            f"{wanted.url[:200]!a} must have the form pvc://<claim>/<path> or file:///<path>",
        )
    try:
        return ArtifactPath.parse(path).parts if path else ()
    except StalledError as error:
        raise _absent(wanted) from error


def _is_wanted(name: str, wanted: Repository) -> bool:
    included = not wanted.include or any(fnmatchcase(name, glob) for glob in wanted.include)
    return included and not any(fnmatchcase(name, glob) for glob in wanted.exclude)


def _regular(parts: Parts, kind: str) -> Parts:
    if kind != "file":
        raise StalledError(
            Reason.UNSAFE_PATH,
            f"{'/'.join(parts)[:200]!a} is a link or no regular file; remove or exclude it",
        )
    return parts


def _absent(wanted: Repository) -> StalledError:
    return StalledError(
        Reason.NOT_FOUND,
        f"{wanted.url[:200]!a}: no file is there that may be read; correct the URI",
    )


def _invalid(wanted: Repository, problem: str) -> StalledError:
    return StalledError(
        Reason.SOURCE_INVALID, f"{wanted.url[:200]!a}: {problem}; name a part of it"
    )
