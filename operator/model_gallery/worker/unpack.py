"""Unpacks one archive into staging: each member under a number of ours, never under a name of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from model_gallery.api.conditions import Reason
from model_gallery.artifact import tarstream, zipfolder
from model_gallery.artifact.archive import Bounded, Member, Names, Window, broken, decompressed
from model_gallery.artifact.digest import Sha256
from model_gallery.errors import StalledError
from model_gallery.storage.layout import Parts
from model_gallery.storage.volume import Volume, translated
from model_gallery.worker.contents import ReadAt

__all__ = ["Unpack", "UnpackedFile"]

_RESERVE = 0.05
_HEAD_BYTES = 512


@dataclass(frozen=True, slots=True)
class UnpackedFile:
    """One member on the volume, whole and synced.

    Attributes:
        name: path below the folder of the archive, judged.
        staged: where it lies.
    """

    name: str
    size_bytes: int
    sha256: str
    staged: Parts


@dataclass(slots=True)
class Unpack:
    """Unpacks the archives of one plan.

    Attributes:
        folder: where members are staged; nothing else lies there.
    """

    volume: Volume
    folder: Parts
    _names: Names = field(default_factory=Names)
    _number: int = 0

    def run(self, path: str, archive: Parts) -> list[UnpackedFile]:
        """Returns the files of an archive, in its order.

        Args:
            path: how messages name the archive.
            archive: where it lies, verified.

        Raises:
            StalledError: UnsafePath or InvalidFormat, naming archive and member; NoSpace.
        """
        self._names.begin()
        facts = self.volume.facts(archive)
        size = facts.size_bytes if facts else 0
        try:
            with self.volume.reading(archive) as read_at:
                found = [*self._files(read_at, size)]
            if not found:
                raise broken("holds no files")
        except StalledError as error:
            raise StalledError(error.reason, f"archive {path}: {error.message}") from error
        return found

    def _files(self, read_at: ReadAt, size: int) -> Iterator[UnpackedFile]:
        for member in _members(Window(read_at, size), size):
            name = self._names.take(member)
            if name is not None:
                yield self._keep(name, member)

    def _keep(self, name: str, member: Member) -> UnpackedFile:
        self._check_free(name, member.size_bytes)
        self._number += 1
        staged = (*self.folder, f"{self._number}.member")
        digest = Sha256()
        self.volume.remove(staged)
        opened = self.volume.open_file(staged, write=True)
        try:
            for block in member.blocks:
                digest.update(block)
                with translated(staged, "write"):
                    _write(opened, block)
            with translated(staged, "sync"):
                os.fchmod(opened, 0o644)
                os.fsync(opened)
        finally:
            os.close(opened)
        return UnpackedFile(name, member.size_bytes, digest.hexdigest(), staged)

    def _check_free(self, name: str, size: int) -> None:
        """Members are not known before the archive is there, so each is asked for by itself."""
        free, _ = self.volume.free()
        if size * (1 + _RESERVE) > free:
            raise StalledError(
                Reason.NO_SPACE,
                f"member {name!r} needs {size} bytes and {free} are free on the volume"
                f" (a reserve of {_RESERVE:.0%} included); free some or enlarge it",
            )


def _members(file: Window, size: int) -> Iterator[Member]:
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    if head.startswith(zipfolder.MAGIC):
        return zipfolder.members(file, size)
    return tarstream.members(Bounded(decompressed(file, head), size))


def _write(opened: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(opened, view) :]
