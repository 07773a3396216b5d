"""Archives of a plan: fetched like any file, unpacked into staging, their members published instead.

They are those that an entry lists, and the packed layers of an OCI artifact or image. LocalAI unpacks an
archive into the folder in which it lies; the members go to the same paths here. The archive itself is not
kept: what came out of it stands in the receipt, under the archive's digest, so it is fetched and unpacked
once. While it lies on the volume the receipt names it, so a kill leaves nothing that nobody owns; members
become contents only after the receipt lists them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.artifact import imagelayer
from model_gallery.artifact.digest import sha256_of_value
from model_gallery.artifact.imagelayer import Layer
from model_gallery.artifact.path import ArtifactPath
from model_gallery.errors import StalledError, TransientError
from model_gallery.planning.install import Found
from model_gallery.protocol.operation import InstallOperation, Repository
from model_gallery.sources import listing
from model_gallery.sources.base import Packed, Packing, RemoteFile
from model_gallery.storage import layout, receipts
from model_gallery.storage.layout import Parts
from model_gallery.storage.receipts import Receipt, ReceiptArchive, ReceiptFile
from model_gallery.storage.volume import Volume
from model_gallery.worker.contents import Contents
from model_gallery.worker.resolve import Wish

if TYPE_CHECKING:
    from model_gallery.worker.unpack import Unpack, Unpacked, UnpackedFile

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


@dataclass(frozen=True, slots=True)
class _Archive:
    """One archive of the plan.

    Attributes:
        path: what the plan calls it, beside the place of its members.
    """

    path: str
    url: str
    sha256: str | None
    packed: Packed


@dataclass(slots=True)
class Archives:
    """The archives of one operation.

    Attributes:
        damaged: digests of contents on the volume that are not what they were.
    """

    operation: InstallOperation
    volume: Volume
    contents: Contents
    damaged: Collection[str] = ()
    _archives: dict[str, _Archive] = field(default_factory=dict)
    _repository: Repository | None = None
    _cut: str = ""
    _known: set[str] = field(default_factory=set)
    _records: dict[str, ReceiptArchive] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)
    _staged: dict[str, UnpackedFile] = field(default_factory=dict)
    _came_out: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        own = receipts.read_all(self.volume).get(self.operation.owner.uid)
        self._records = {archive.sha256: archive for archive in own.archives} if own else {}
        for file in self.operation.files:
            if file.unpack:
                packed = Packed(Packing.TREE, f"archive {file.path}")
                self._archives[file.path] = _Archive(file.path, file.url, file.sha256, packed)

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._archives)

    def begin(self) -> InstallOperation:
        """Returns what is left to ask for, after the receipt names the contents that will come.

        The plain files too: what an archive holds may be a reason to refuse the plan when they are there.

        Raises:
            GalleryError: as the volume does.
        """
        self._claim({file.sha256 for file in self.operation.files if file.sha256})
        left = tuple(file for file in self.operation.files if file.path not in self._known)
        return structs.replace(self.operation, files=left)

    def add_layers(self, source: Wish, repository: Repository | None) -> None:
        """Takes the packed layers of a repository among the archives.

        Args:
            repository: as it was asked for.

        Raises:
            StalledError: UnsafeFormat under safe formats; nothing of a layer is fetched yet.
        """
        layers = [
            _Archive(path, file.url, file.sha256, file.packed)
            for path, file in source.files.items()
            if file.packed is not None
        ]
        if not layers or repository is None:
            return
        if self.operation.safe_formats:
            raise StalledError(
                Reason.UNSAFE_FORMAT,
                f"{layers[0].packed.label} must be unpacked, and may hold code; policy.formats is Safe, by"
                " the Gallery or the Model (Any would take it); or push its files as layers of their own",
            )
        self._archives |= {layer.path: layer for layer in layers}
        self._repository = repository
        self._cut = sha256_of_value(
            [
                [[one.sha256, one.packed.scope] for one in layers],
                [repository.include, repository.exclude],
            ]
        )

    def begin_layers(self, source: Wish) -> Wish:
        """Returns the wish without the layers that need not come; as `begin`, once they are known."""
        if self._repository is None:
            return source
        self._claim({file.sha256 for file in source.files.values() if file.sha256})
        left = {path: file for path, file in source.files.items() if path not in self._known}
        return replace(source, files=left)

    @property
    def all(self) -> tuple[ReceiptArchive, ...]:
        """All that a receipt has to name while this operation runs, those of older plans among them."""
        return tuple(self._records.values())

    def remembered(
        self, published: Collection[str], kept: Collection[str]
    ) -> tuple[ReceiptArchive, ...]:
        """Returns what the last receipt names: the archives of this operation, and those of a way back.

        Args:
            published: digests of the contents of this operation.
            kept: those of earlier ones; where there are none there is no way back.
        """
        current, there = set(self._digests.values()), {*published, *kept}
        return tuple(
            record
            for digest, record in sorted(self._records.items())
            if digest in current
            or (kept and not record.is_pending and there.issuperset(record.contents))
        )

    def unpack(self, wish: Wish, fetched: dict[str, ReceiptFile]) -> Wish:
        """Returns the wish with members in the place of their archives.

        Args:
            fetched: what lies on the volume, by path. The archives are taken out: members may have their
                names.

        Raises:
            StalledError: naming archive and member; the caller discards what is staged.
        """
        self.discard()
        from model_gallery.worker.unpack import Unpack  # noqa: PLC0415 - start-up time

        unpack = Unpack(self.volume, self._folder)
        for archive in self._archives.values():
            self._open(archive, unpack, fetched)
        files = {path: file for path, file in wish.files.items() if path not in self._archives}
        beside = set(files)
        for archive, member in self._members():
            _add(files, archive, member)
        files = self._chosen(files)
        self._came_out = files.keys() - beside
        for path in sorted(self._came_out):
            self._look(path, files[path])
        return replace(wish, files=files)

    def discard(self) -> None:
        """Removes what was unpacked into staging."""
        self.volume.remove_tree(self._folder)

    def without_clashes(self, wish: Wish, found: Found) -> Wish:
        """Returns the wish without those files for people that others publish under the same path."""
        files = {
            path: file
            for path, file in wish.files.items()
            if path not in self._came_out or not _in_the_way(path, file, found)
        }
        for path in wish.files.keys() - files.keys():
            _LOG.info("Left %s out: another file is there under the same name", path)
        self._forget_all_but(files)
        return replace(wish, files=files)

    def settle(self, published: Iterable[ReceiptFile]) -> None:
        """Makes contents of the staged members, now that the receipt lists them."""
        kept = {file.sha256 for file in published}
        for member in (self._staged[sha256] for sha256 in kept & self._staged.keys()):
            if self._is_lost(member.sha256, member.size_bytes):
                self.volume.rename(member.staged, layout.blob(member.sha256), durable=False)
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
            for archive in self._archives.values()
            for member in self._record(archive).members
            if (_path(archive, member.path), member.sha256) in published
        }
        for digest in set(self._digests.values()):
            record = self._records[digest]
            members = tuple(one for one in record.members if (digest, one) in kept)
            cut = record.cut if members == record.members else self._cut
            self._records[digest] = structs.replace(record, members=members, cut=cut)

    @property
    def _folder(self) -> Parts:
        return layout.staging(self.operation.owner.uid, f"{self.operation.plan_digest}.unpacked")

    def _claim(self, beside: Collection[str]) -> None:
        """Has the receipt name what will come: the archives that must, and what is fetched beside them."""
        if not self._archives:
            return
        for archive in self._archives.values():
            if self._lies(archive):
                self._known.add(archive.path)
            elif archive.sha256:
                self._records[archive.sha256] = ReceiptArchive(sha256=archive.sha256)
        for digest in beside:
            self._records.setdefault(digest, ReceiptArchive(sha256=digest))
        owner = self.operation.owner
        own = receipts.read_all(self.volume).get(owner.uid) or Receipt(
            namespace=owner.namespace, name=owner.name, uid=owner.uid, plan_digest=""
        )
        if self.all != own.archives:
            receipts.write(self.volume, structs.replace(own, archives=self.all))

    def _lies(self, archive: _Archive) -> bool:
        """Whether all that came out of an archive in the same way lies on the volume already."""
        record = self._records.get(archive.sha256 or "")
        if record is None or record.is_pending or record.scope != archive.packed.scope:
            return False
        # What was left out then may be wanted now.
        return record.cut in {"", self._cut} and not any(
            self._is_lost(member.sha256, member.size_bytes) for member in record.members
        )

    def _is_lost(self, sha256: str, size: int) -> bool:
        facts = self.volume.facts(layout.blob(sha256))
        lies = facts is not None and facts.size_bytes == size
        return not lies or sha256 in self.damaged

    def _open(self, archive: _Archive, unpack: Unpack, fetched: dict[str, ReceiptFile]) -> None:
        came = fetched.pop(archive.path, None)
        digest = self._digests[archive.path] = came.sha256 if came else archive.sha256 or ""
        if archive.path in self._known:
            record = self._records[digest]
            names = (*(member.path for member in record.members), *record.hides)
            unpack.recall(archive.packed, names)
            return
        found = _unpacked(unpack, archive.packed, layout.blob(digest))
        self._staged |= {one.sha256: one for one in found.files}
        members = tuple(
            ReceiptFile(path=one.name, size_bytes=one.size_bytes, sha256=one.sha256)
            for one in found.files
        )
        self._records[digest] = ReceiptArchive(
            sha256=digest, members=members, hides=found.hides, scope=archive.packed.scope
        )

    def _record(self, archive: _Archive) -> ReceiptArchive:
        return self._records[self._digests[archive.path]]

    def _members(self) -> Iterator[tuple[_Archive, ReceiptFile]]:
        """Yields what the archives put into their places; of an image, what its layers leave in the end."""
        layers = []
        for archive in self._archives.values():
            members, hides = self._record(archive).members, self._record(archive).hides
            if archive.packed.packing is not Packing.IMAGE:
                yield from ((archive, member) for member in members)
                continue
            layers.append(Layer({member.path: (archive, member) for member in members}, hides))
        merged = imagelayer.merged(layers)
        if layers and not merged:
            raise StalledError(
                Reason.NOT_FOUND,
                f"the image has no files below /{imagelayer.ROOT}, where a model would lie;"
                " name an image that carries one",
            )
        yield from merged.values()

    def _chosen(self, files: dict[str, RemoteFile]) -> dict[str, RemoteFile]:
        """Returns what the patterns choose of a repository, now that its names are known."""
        wanted = self._repository
        if wanted is None:
            return files
        folder = f"{wanted.folder}/" if wanted.folder else ""
        named = (replace(file, name=path.removeprefix(folder)) for path, file in files.items())
        chosen = listing.chosen(named, wanted.include, wanted.exclude)
        return {folder + file.name: file for file in chosen}

    def _look(self, path: str, file: RemoteFile) -> None:
        with self.volume.reading(self.place(file.sha256 or "")) as read_at:
            self.contents.look(path, file.size_bytes or 0, read_at)


def _unpacked(unpack: Unpack, packed: Packed, blob: Parts) -> Unpacked:
    try:
        return unpack.run(packed, blob)
    except FileNotFoundError as error:
        message = f"the content of {packed.label} went from the volume meanwhile"
        raise TransientError(Reason.INTERRUPTED, message) from error


def _add(files: dict[str, RemoteFile], archive: _Archive, member: ReceiptFile) -> None:
    path = _path(archive, member.path)
    there = files.get(path)
    if there is None:
        files[path] = RemoteFile(path, archive.url, member.size_bytes, member.sha256)
    elif there.sha256 != member.sha256 and not _is_about(path):
        raise StalledError(
            Reason.PATH_CONFLICT,
            f"{archive.packed.label}: member {member.path!r} has the path of another file of"
            " this Model with other content",
        )


def _path(archive: _Archive, name: str) -> str:
    """Returns where a member is published: LocalAI unpacks into the archive's own folder."""
    folder = ArtifactPath.parse(archive.path).parents
    try:
        return str(ArtifactPath.parse("/".join((*folder, name))))
    except StalledError as error:
        message = f"{archive.packed.label}: member: {error.message}"
        raise StalledError(error.reason, message) from error


def _in_the_way(path: str, file: RemoteFile, found: Found) -> bool:
    if not _is_about(path):
        return False
    other = found.others.get(path)
    standing = other.sha256 if other is not None else found.loose.get(path)
    return standing not in {None, file.sha256}


def _is_about(path: str) -> bool:
    return _ABOUT.fullmatch(path.rpartition("/")[2]) is not None
