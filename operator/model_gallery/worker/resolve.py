"""From the operation to the files of this moment, each with where it comes from and what it must be."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from model_gallery.protocol.operation import InstallOperation, WantedFile
from model_gallery.sources.base import RemoteFile, RepositorySource
from model_gallery.sources.http import HttpSource
from model_gallery.storage import layout
from model_gallery.storage.volume import Volume
from model_gallery.worker.recheck import Recheck

__all__ = ["Resolver", "Wish"]

_AT_ONCE = 16
"""Files asked for at the same time: each costs a round trip."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What shall be on the volume.

    Attributes:
        files: by path, what is fetched.
        documents: by path, small texts that are at hand; published last, in this order.
        revision: immutable id of the repository; empty without one.
        recorded: paths whose digest no source promised; it is the one of what was fetched earlier.
    """

    files: Mapping[str, RemoteFile]
    documents: Mapping[str, str]
    revision: str = ""
    recorded: frozenset[str] = frozenset()


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
            file.model_copy(update={"sha256": checked.recorded[file.path]})
            if file.path in recorded
            else file
            for file in operation.files
        )
        files = self._single_files(single, volume, checked)
        documents = {document.path: document.content for document in operation.documents}
        wanted = operation.repository
        if wanted is None or self.repository is None:
            return Wish(files, documents, recorded=recorded)
        found = self.repository.resolve(wanted)
        folder = f"{wanted.folder}/" if wanted.folder else ""
        files |= {folder + file.name: file for file in found.files}
        beside = {folder + name: text for name, text in found.documents.items()}
        return Wish(files, {**beside, **documents}, found.revision, recorded)

    def _single_files(
        self, wanted: tuple[WantedFile, ...], volume: Volume, checked: Recheck
    ) -> dict[str, RemoteFile]:
        def one(file: WantedFile) -> RemoteFile:
            if file.sha256 is not None and file.sha256 not in checked.damaged:
                facts = volume.facts(layout.blob(file.sha256))
                if facts is not None:
                    return RemoteFile(file.path, file.url, facts.size_bytes, file.sha256)
            return self.http.resolve(file)

        with ThreadPoolExecutor(_AT_ONCE, "resolve") as pool:
            return {
                file.path: found for file, found in zip(wanted, pool.map(one, wanted), strict=True)
            }
