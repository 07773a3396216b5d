"""Unpacks one archive into staging: each member under a number of ours, never under a name of its own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from model_gallery.artifact import imagelayer, tarstream, zipfolder
from model_gallery.artifact.archive import (
    Bounded,
    Member,
    Names,
    Window,
    broken,
    decompressed,
    unsafe,
)
from model_gallery.artifact.digest import Sha256
from model_gallery.errors import StalledError
from model_gallery.planning import room
from model_gallery.sources.base import Packed, Packing
from model_gallery.storage.layout import Parts
from model_gallery.storage.volume import Volume, translated
from model_gallery.worker import sweep

__all__ = ["Unpack", "Unpacked", "UnpackedFile"]

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


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What came out of an archive.

    Attributes:
        files: in its order.
        hides: of a layer of an image, what it hides of earlier ones (artifact/imagelayer.py).
    """

    files: tuple[UnpackedFile, ...]
    hides: tuple[str, ...] = ()


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

    def run(self, packed: Packed, archive: Parts) -> Unpacked:
        """Unpacks an archive.

        Args:
            packed: how to take its names.
            archive: where it lies, verified.

        Raises:
            StalledError: UnsafePath or InvalidFormat, naming archive and member; NoSpace.
        """
        self._names.begin()
        facts = self.volume.facts(archive)
        size = facts.size_bytes if facts else 0
        with _naming(packed), self.volume.reading(archive) as read_at:
            window = Window(read_at, size)
            if packed.packing is Packing.IMAGE:
                return self._layer(window, size)
            found = tuple(self._files(window, size, _judged(packed)))
            if not found:
                raise broken("holds no files")
            return Unpacked(found)

    def recall(self, packed: Packed, names: Iterable[str]) -> None:
        """Counts what came out of an archive earlier: one receipt lists it too.

        Raises:
            StalledError: InvalidFormat, where the plan has too many members.
        """
        with _naming(packed):
            for name in names:
                self._names.count(name)

    def _files(
        self, window: Window, size: int, judged: Callable[[str], str]
    ) -> Iterator[UnpackedFile]:
        for member in _members(window, size):
            name = self._names.take(replace(member, name=judged(member.name)))
            if name is not None:
                yield self._keep(name, member)

    def _layer(self, window: Window, size: int) -> Unpacked:
        """Most layers of an image hold nothing of the model, and need not."""
        found, hides = [], set()
        stream = Bounded(decompressed(window, _head(window)), size)
        for member in tarstream.members(stream, self._is_inside):
            path = imagelayer.inner(member.name) or ""
            hidden = imagelayer.hidden(path)
            if hidden is not None:
                self._names.count(member.name)
                if member.is_folder:
                    raise unsafe(f"member {member.name[:200]!r} is a whiteout and a folder")
                hides.add(hidden)
                continue
            name = self._names.take(replace(member, name=path))
            if name is not None:
                found.append(self._keep(name, member))
            elif path:
                hides.add(imagelayer.folder(path))
        return Unpacked(tuple(found), tuple(sorted(hides)))

    def _is_inside(self, name: str) -> bool:
        inside = imagelayer.inner(name) is not None
        if not inside:
            self._names.pass_over()
        return inside

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
        sweep.make_room(self.volume, room.missing(size, self.volume.free()[0]))
        room.check_bytes(size, self.volume.free()[0], f"for member {name!r}")


@contextmanager
def _naming(packed: Packed) -> Iterator[None]:
    """Has errors say which archive it is."""
    try:
        yield
    except StalledError as error:
        message = f"{packed.label}: {error.message}"
        raise StalledError(error.reason, message, missing_bytes=error.missing_bytes) from error


def _members(file: Window, size: int) -> Iterator[Member]:
    head = _head(file)
    if head.startswith(zipfolder.MAGIC):
        return zipfolder.members(file, size)
    return tarstream.members(Bounded(decompressed(file, head), size))


def _head(file: Window) -> bytes:
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    return head


def _judged(packed: Packed) -> Callable[[str], str]:
    """Returns what gives the names of members the form in which they are published, or refuses them."""
    if packed.packing is Packing.FOLDER and packed.folder:
        return partial(_below, packed.folder)
    return str


def _below(folder: str, name: str) -> str:
    name = name.removeprefix("./")
    if name != folder and not name.startswith(f"{folder}/"):
        raise unsafe(f"member {name[:200]!r} lies outside of {folder[:200]!r}, which the layer is")
    return name


def _write(opened: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(opened, view) :]
