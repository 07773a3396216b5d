"""Archives of a plan: fetched like any file, unpacked into staging, their members published instead.

LocalAI unpacks an archive into the folder in which it lies; the members go to the same paths here. The
archive itself is not kept: what came out of it stands in the receipt, under the archive's digest, so it is
fetched and unpacked once. While it lies on the volume the receipt names it, so a kill leaves nothing that
nobody owns; members become contents only after the receipt lists them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from model_gallery.api.conditions import Reason
from model_gallery.artifact.path import ArtifactPath
from model_gallery.errors import StalledError, TransientError
from model_gallery.planning.install import Found
from model_gallery.protocol.operation import InstallOperation, WantedFile
from model_gallery.sources.base import RemoteFile
from model_gallery.storage import layout, receipts
from model_gallery.storage.layout import Parts
from model_gallery.storage.receipts import Receipt, ReceiptArchive, ReceiptFile
from model_gallery.storage.volume import Volume
from model_gallery.worker.contents import Contents
from model_gallery.worker.resolve import Wish

if TYPE_CHECKING:
    from model_gallery.worker.unpack import Unpack, UnpackedFile

__all__ = ["Archives", "check_policy"]

_LOG = logging.getLogger(__name__)
_ABOUT = re.compile(
    r"(?:model_card|readme|licen[cs]e|copying|notice|authors|changelog)(?:[._-]\w+)?", re.IGNORECASE
)
"""Files for people to read. Many archives bring one under the same name, and no backend loads it."""


def check_policy(operation: InstallOperation) -> None:
    """Refuses archives under safe formats, before anything is asked for.

    Raises:
        StalledError: UnsafeFormat, naming the file and the policy.
    """
    if not operation.safe_formats:
        return
    for file in operation.files:
        if file.unpack:
            raise StalledError(
                Reason.UNSAFE_FORMAT,
                f"{file.path} is an archive that must be unpacked, and may hold code;"
                " policy.formats is Safe, by the Gallery or the Model (Any would take it)",
            )


@dataclass(slots=True)
class Archives:
    """The archives of one operation.

    Attributes:
        damaged: digests of contents on the volume that are not what they were.
        known: by path of the archive, what came out of it before and still lies on the volume.
    """

    operation: InstallOperation
    volume: Volume
    contents: Contents
    damaged: Collection[str] = ()
    known: dict[str, tuple[ReceiptFile, ...]] = field(default_factory=dict)
    _records: dict[str, ReceiptArchive] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)
    _staged: dict[str, UnpackedFile] = field(default_factory=dict)

    @property
    def wanted(self) -> tuple[WantedFile, ...]:
        """The files that are archives."""
        return tuple(file for file in self.operation.files if file.unpack)

    def begin(self) -> InstallOperation:
        """Returns what is left to fetch, after the receipt names the contents that will come.

        The plain files too: what an archive holds may be a reason to refuse the plan when they are there.

        Raises:
            GalleryError: as the volume does.
        """
        owner = self.operation.owner
        own = receipts.read_all(self.volume).get(owner.uid) or Receipt(
            namespace=owner.namespace, name=owner.name, uid=owner.uid, plan_digest=""
        )
        self._records = {archive.sha256: archive for archive in own.archives}
        if not self.wanted:
            return self.operation
        for file in self.wanted:
            members = self._lying(file)
            if members:
                self.known[file.path] = members
            elif file.sha256:
                self._records[file.sha256] = ReceiptArchive(sha256=file.sha256)
        for digest in {file.sha256 for file in self.operation.files if file.sha256}:
            self._records.setdefault(digest, ReceiptArchive(sha256=digest))
        if self.all != own.archives:
            receipts.write(self.volume, own.model_copy(update={"archives": self.all}))
        left = tuple(file for file in self.operation.files if file.path not in self.known)
        return self.operation.model_copy(update={"files": left})

    @property
    def all(self) -> tuple[ReceiptArchive, ...]:
        """All that a receipt has to name while this operation runs, those of older plans among them."""
        return tuple(self._records.values())

    @property
    def current(self) -> tuple[ReceiptArchive, ...]:
        """The archives of this operation, as the last receipt names them."""
        return tuple(self._records[digest] for digest in sorted(set(self._digests.values())))

    def unpack(self, wish: Wish, fetched: Mapping[str, ReceiptFile]) -> Wish:
        """Returns the wish with members in the place of their archives.

        Args:
            fetched: what lies on the volume, by path.

        Raises:
            StalledError: naming archive and member; the caller discards what is staged.
        """
        self.discard()
        from model_gallery.worker.unpack import Unpack  # noqa: PLC0415 - start-up time

        unpack = Unpack(self.volume, self._folder)
        archives = {file.path for file in self.wanted}
        files = {path: file for path, file in wish.files.items() if path not in archives}
        for archive in self.wanted:
            for member in self._members(archive, unpack, fetched):
                _add(files, archive, member)
        return replace(wish, files=files)

    def discard(self) -> None:
        """Removes what was unpacked into staging."""
        self.volume.remove_tree(self._folder)

    def without_clashes(self, wish: Wish, found: Found) -> Wish:
        """Returns the wish without those files for people that others publish under the same path."""
        beside = {file.path for file in self.operation.files}
        files = {
            path: file
            for path, file in wish.files.items()
            if path in beside or not _in_the_way(path, file, found)
        }
        for path in wish.files.keys() - files.keys():
            _LOG.info("Left %s out: another file is there under the same name", path)
        self._forget_all_but(files)
        return replace(wish, files=files)

    def settle(self, published: Iterable[ReceiptFile]) -> None:
        """Makes contents of the staged members, now that the receipt lists them."""
        kept = {file.sha256 for file in published}
        for member in (self._staged[sha256] for sha256 in kept & self._staged.keys()):
            blob = layout.blob(member.sha256)
            facts = self.volume.facts(blob)
            lies = facts is not None and facts.size_bytes == member.size_bytes
            if not lies or member.sha256 in self.damaged:
                self.volume.rename(member.staged, blob, durable=False)
        if self._staged:
            self.volume.sync(layout.BLOBS)

    def place(self, sha256: str) -> Parts:
        """Returns where a content lies: in staging before `settle`, else under its digest."""
        member = self._staged.get(sha256)
        return member.staged if member else layout.blob(sha256)

    def _forget_all_but(self, files: Mapping[str, RemoteFile]) -> None:
        """Takes from the records what no folder publishes: nobody else would own its content."""
        published = {(path, file.sha256) for path, file in files.items()}
        kept = {
            (self._digests[archive.path], member)
            for archive in self.wanted
            for member in self._records[self._digests[archive.path]].members
            if (_path(archive, member.path), member.sha256) in published
        }
        for digest in set(self._digests.values()):
            members = tuple(one for one in self._records[digest].members if (digest, one) in kept)
            self._records[digest] = ReceiptArchive(sha256=digest, members=members)

    @property
    def _folder(self) -> Parts:
        return layout.staging(self.operation.owner.uid, f"{self.operation.plan_digest}.unpacked")

    def _lying(self, file: WantedFile) -> tuple[ReceiptFile, ...]:
        """Returns the members of an archive where all of them lie on the volume already."""
        record = self._records.get(file.sha256 or "")
        for member in record.members if record else ():
            facts = self.volume.facts(layout.blob(member.sha256))
            lies = facts is not None and facts.size_bytes == member.size_bytes
            if not lies or member.sha256 in self.damaged:
                return ()
        return record.members if record else ()

    def _members(
        self, archive: WantedFile, unpack: Unpack, fetched: Mapping[str, ReceiptFile]
    ) -> tuple[ReceiptFile, ...]:
        digest = self._digests[archive.path] = archive.sha256 or fetched[archive.path].sha256
        for known in self.known.get(archive.path, ()):
            self._look(archive, known, layout.blob(known.sha256))
        if archive.path in self.known:
            return self.known[archive.path]
        found = _unpacked(unpack, archive.path, layout.blob(digest))
        members = tuple(
            ReceiptFile(path=one.name, size_bytes=one.size_bytes, sha256=one.sha256)
            for one in found
        )
        for one, member in zip(found, members, strict=True):
            self._look(archive, member, one.staged)
            self._staged[one.sha256] = one
        self._records[digest] = ReceiptArchive(sha256=digest, members=members)
        return members

    def _look(self, archive: WantedFile, member: ReceiptFile, place: Parts) -> None:
        with self.volume.reading(place) as read_at:
            self.contents.look(_path(archive, member.path), member.size_bytes, read_at)


def _unpacked(unpack: Unpack, path: str, blob: Parts) -> list[UnpackedFile]:
    try:
        return unpack.run(path, blob)
    except FileNotFoundError as error:
        message = f"the content of {path} went from the volume meanwhile"
        raise TransientError(Reason.INTERRUPTED, message) from error


def _add(files: dict[str, RemoteFile], archive: WantedFile, member: ReceiptFile) -> None:
    path = _path(archive, member.path)
    there = files.get(path)
    if there is None:
        files[path] = RemoteFile(path, archive.url, member.size_bytes, member.sha256)
    elif there.sha256 != member.sha256 and not _is_about(path):
        raise StalledError(
            Reason.PATH_CONFLICT,
            f"archive {archive.path}: member {member.path!r} has the path of another file of"
            " this Model with other content",
        )


def _path(archive: WantedFile, name: str) -> str:
    """Returns where a member is published: LocalAI unpacks into the archive's own folder."""
    folder = ArtifactPath.parse(archive.path).parents
    try:
        return str(ArtifactPath.parse("/".join((*folder, name))))
    except StalledError as error:
        message = f"archive {archive.path}: member: {error.message}"
        raise StalledError(error.reason, message) from error


def _in_the_way(path: str, file: RemoteFile, found: Found) -> bool:
    if not _is_about(path):
        return False
    other = found.others.get(path)
    standing = other.sha256 if other is not None else found.loose.get(path)
    return standing not in {None, file.sha256}


def _is_about(path: str) -> bool:
    return _ABOUT.fullmatch(path.rpartition("/")[2]) is not None
