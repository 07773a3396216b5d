"""What every source can do: say what there is now, by immutable ids, and where its bytes come from.

A source resolves; it moves no bytes of files. All that is fetched over HTTP goes through one engine
(worker/engine), so resuming, ranges, limits and verification are the same for every source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from model_gallery.protocol.operation import Repository
from model_gallery.transport.authorize import Authorize, nobody

__all__ = ["Locator", "Packed", "Packing", "RemoteFile", "RepositorySource", "Resolution"]


class Packing(StrEnum):
    """How the names in an archive are to be taken."""

    TREE = "Tree"
    """As they are, below the archive's folder: archives of entries, and layers of ModelPack."""
    FOLDER = "Folder"
    """The same, but all lie below one folder: directories that ORAS has pushed."""
    IMAGE = "Image"
    """A layer of an image: what lies below /models, and what hides that of earlier layers. They are applied
    in the order of their names."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive whose members are published in its place.

    Attributes:
        label: what messages call it.
        folder: of a FOLDER, which one; empty: no rule.
    """

    packing: Packing
    label: str
    folder: str = ""

    @property
    def scope(self) -> str:
        """What an unpacking in this way may be remembered as; empty for all of the archive."""
        return "" if self.packing is Packing.TREE else f"{self.packing}:{self.folder}"


class Locator(Protocol):
    """Knows addresses that are signed and expire. Used from several threads."""

    def place(self) -> str:
        """Returns the address to ask; a new one where the last was refused or is old.

        Raises:
            GalleryError: there is none.
        """
        ...

    def refused(self) -> None:
        """Takes notice that the last address is good no longer. Does not wait."""
        ...


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file at one moment.

    Attributes:
        name: path as the source names it, with `/`; not yet judged to be safe.
        url: where the bytes are asked for.
        size_bytes: None where the source does not tell.
        sha256: 64 lower-case hex digits that the source itself promises; None without a promise.
        git_sha1: the git blob id that the source promises instead, for files kept in git.
        validator: strong, changes with the content; None where there is none.
        ranges: whether the source can begin in the middle.
        authorize: headers for each hop.
        locator: knows where the bytes are now, where `url` does not lead there.
        local: where the content lies on a mounted volume instead; `url` is then for messages only.
        packed: of an archive whose members are the files of the source; its own name is then nobody's.
    """

    name: str
    url: str
    size_bytes: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None
    validator: str | None = None
    ranges: bool = True
    authorize: Authorize = nobody
    locator: Locator | None = None
    local: tuple[str, ...] | None = None
    packed: Packed | None = None

    def place(self) -> str:
        """Returns the URL to ask for the bytes at this moment.

        Raises:
            GalleryError: as the locator does.
        """
        return self.url if self.locator is None else self.locator.place()

    def refused(self) -> None:
        """Takes notice that the address which was handed out last is good no longer. Does not wait."""
        if self.locator is not None:
            self.locator.refused()


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a source holds at one moment.

    Attributes:
        revision: immutable id (commit, manifest digest, version); empty where the source has none.
        files: sorted by name.
        documents: small texts beside the files that came with the resolution, by name.
    """

    revision: str
    files: tuple[RemoteFile, ...]
    documents: Mapping[str, str] = field(default_factory=dict)


class RepositorySource(Protocol):
    """A kind of source that holds several files under one reference."""

    def resolve(self, wanted: Repository) -> Resolution:
        """Returns what the repository holds now.

        Raises:
            GalleryError: classified, with a sentence that names what to change.
        """
        ...
