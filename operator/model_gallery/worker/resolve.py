"""From the operation to the files of this moment, each with where it comes from and what it must be."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import (
    InstallOperation,
    Repository,
    RepositoryKind,
    WantedFile,
)
from model_gallery.sources.base import RemoteFile, RepositorySource
from model_gallery.sources.http import HttpSource
from model_gallery.sources.mounted import MountedSource
from model_gallery.storage import layout
from model_gallery.storage.volume import Volume
from model_gallery.worker.compare import digest_of
from model_gallery.worker.recheck import Recheck

__all__ = ["Resolver", "Wish"]

_OWN_VOLUME = "file:"
_AT_ONCE = 16
"""Files asked for at the same time: each costs a round trip."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be on the volume.

    Attributes:
        files: by path, what is fetched.
        documents: by path, small texts that are at hand; published last, in this order.
        revision: immutable id of the repository; empty without one.
        recorded: paths whose digest no source promised; it is the one of what was fetched earlier, or lies
            there as a loose file already.
        standing: of these, the loose files: their digests were read just now.
    """

    files: Mapping[str, RemoteFile]
    documents: Mapping[str, str]
    revision: str = ""
    recorded: frozenset[str] = frozenset()
    standing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Resolver:
    """Asks the sources.

    Attributes:
        repository: source of the operation's repository; None where it names none.
    """

    http: HttpSource
    repository: RepositorySource | None

    def resolve(
        self, operation: InstallOperation, volume: Volume, checked: Recheck | None = None
    ) -> Wish:
        """Returns the wish; what lies on the volume already is not asked for.

        Args:
            checked: what a look at the published files told; None: nobody looked.

        Raises:
            GalleryError: as the sources do.
        """
        checked = checked or Recheck()
        recorded = frozenset(
            file.path
            for file in operation.files
            if file.sha256 is None and file.path in checked.recorded
        )
        single = tuple(
            structs.replace(file, sha256=checked.recorded[file.path])
            if file.path in recorded
            else file
            for file in operation.files
        )
        files = self._single_files(single, volume, checked)
        documents = {document.path: document.content for document in operation.documents}
        wanted = operation.repository
        if wanted is None or self.repository is None:
            return _with_standing(Wish(files, documents, recorded=recorded), volume)
        found = self.repository.resolve(wanted)
        folder = f"{wanted.folder}/" if wanted.folder else ""
        files |= {folder + file.name: file for file in found.files}
        beside = {folder + name: text for name, text in found.documents.items()}
        wish = Wish(files, {**beside, **documents}, found.revision, recorded)
        return _with_standing(wish, volume) if wanted.kind is RepositoryKind.VOLUME else wish

    def _single_files(
        self, wanted: tuple[WantedFile, ...], volume: Volume, checked: Recheck
    ) -> dict[str, RemoteFile]:
        def one(file: WantedFile) -> RemoteFile:
            if file.sha256 is not None and file.sha256 not in checked.damaged:
                facts = volume.facts(layout.blob(file.sha256))
                if facts is not None:
                    return RemoteFile(file.path, file.url, facts.size_bytes, file.sha256)
            if file.url.startswith(_OWN_VOLUME):
                return _of_volume(file, volume)
            return self.http.resolve(file)

        with ThreadPoolExecutor(_AT_ONCE, "resolve") as pool:
            return {
                file.path: found for file, found in zip(wanted, pool.map(one, wanted), strict=True)
            }


def _of_volume(file: WantedFile, volume: Volume) -> RemoteFile:
    """Returns a file of the volume itself."""
    wanted = Repository(kind=RepositoryKind.VOLUME, url=file.url)
    found = MountedSource(volume).resolve(wanted).files[0]
    named = unquote(urlsplit(file.url).path).strip("/")
    if found.local is None or "/".join(found.local) != named:
        raise StalledError(Reason.SOURCE_INVALID, f"{file.url} is a folder; name a file")
    return replace(found, name=file.path, sha256=file.sha256)


def _with_standing(wish: Wish, volume: Volume) -> Wish:
    """Takes the files that stay where they lie by the digests that they have: nobody promised one."""
    standing = {
        path: replace(file, sha256=digest_of(volume, file.local))
        for path, file in wish.files.items()
        if file.sha256 is None and file.local is not None and file.local == tuple(path.split("/"))
    }
    names = frozenset(standing)
    return replace(
        wish, files={**wish.files, **standing}, recorded=wish.recorded | names, standing=names
    )
