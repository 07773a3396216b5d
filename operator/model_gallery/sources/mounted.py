"""Files on mounted volumes: another claim of the namespace, or loose files of the Gallery's own volume.

There is no way to any other file of a node: paths begin at a claim's root and links are not followed. What
is absent and what may not be read give the same answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote, urlsplit

from model_gallery.api.conditions import Reason
from model_gallery.artifact.path import RESERVED_ROOT, ArtifactPath
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Repository
from model_gallery.sources import listing
from model_gallery.sources.base import RemoteFile, Resolution

__all__ = ["Mount", "MountedSource"]

_MAX_DEPTH = 16
_LOST = ("lost+found",)
"""Every ext4 volume has this folder, and only root may look into it."""

Parts = tuple[str, ...]


class _Facts(Protocol):
    @property
    def size_bytes(self) -> int: ...


class Mount(Protocol):
    """What is needed of a volume."""

    def facts(self, parts: Parts) -> _Facts | None:
        """Returns what is told of a regular file; None where nothing is there."""
        ...

    def names(self, parts: Parts) -> list[str]:
        """Returns the names in a folder; none where it does not exist."""
        ...

    def is_folder(self, parts: Parts) -> bool:
        """Whether a folder is there."""
        ...


@dataclass(frozen=True, slots=True)
class MountedSource:
    """Resolves paths on a volume."""

    mount: Mount

    def resolve(self, wanted: Repository) -> Resolution:
        """Returns the file, or all files below the folder, that the URL names.

        Raises:
            StalledError: NotFound where nothing is there that may be read; UnsafePath.
        """
        path = unquote(urlsplit(wanted.url).path).strip("/")
        parts: Parts = ArtifactPath.parse(path).parts if path else ()
        try:
            found = list(self._files(parts, wanted))
        except (StalledError, FileNotFoundError) as error:
            if isinstance(error, _UnusableError):
                raise
            raise _absent(wanted.url) from error
        if not found:
            raise _absent(wanted.url)
        return Resolution("", listing.chosen(found, wanted.include, wanted.exclude))

    def _files(self, parts: Parts, wanted: Repository) -> Iterator[RemoteFile]:
        if not parts or self.mount.is_folder(parts):
            yield from self._below(parts, (), wanted)
            return
        facts = self.mount.facts(parts)
        if facts is not None:
            yield RemoteFile(parts[-1], wanted.url, facts.size_bytes, local=parts)

    def _below(self, root: Parts, inner: Parts, wanted: Repository) -> Iterator[RemoteFile]:
        if len(inner) > _MAX_DEPTH:
            message = f"folders are nested deeper than {_MAX_DEPTH}"
            raise _UnusableError(Reason.SOURCE_INVALID, message)
        for name in self.mount.names((*root, *inner)):
            place = (*inner, name)
            if (*root, *place)[0] == RESERVED_ROOT or (*root, *place) == _LOST:
                continue
            if self.mount.is_folder((*root, *place)):
                yield from self._below(root, place, wanted)
            elif listing.is_chosen("/".join(place), wanted.include, wanted.exclude):
                yield self._file((*root, *place), "/".join(place), wanted.url)

    def _file(self, parts: Parts, name: str, url: str) -> RemoteFile:
        try:
            facts = self.mount.facts(parts)
        except StalledError as error:
            message = f"{name[:200]!r} is no regular file; leave it out by a pattern"
            raise _UnusableError(Reason.UNSAFE_PATH, message) from error
        if facts is None:
            raise _absent(url)
        return RemoteFile(name, url, facts.size_bytes, local=parts)


class _UnusableError(StalledError):
    """Something below the named folder cannot be taken; the folder itself is there."""


def _absent(url: str) -> StalledError:
    return StalledError(
        Reason.NOT_FOUND, f"{url[:200]} is no file or folder that can be read; correct spec.source"
    )
