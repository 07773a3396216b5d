"""Unfinished files, each with a journal of the stretches that are known to be on disk.

Order: bytes, fdatasync, journal. So the journal never claims what a crash could take back, and a kill
costs at most one stretch between two marks for each connection. After an error of the disk nothing more
is claimed: the system tells it to one caller only, whoever's bytes were lost. The journal's header binds
URL, size, validator and expected digest; under any other header the file begins at zero.
"""

from __future__ import annotations

import errno
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from model_gallery.artifact.digest import sha256_of_value
from model_gallery.storage.volume import Volume, translated

__all__ = ["MARK_BYTES", "StagedFile", "Stretch"]

MARK_BYTES = 8 * 1024 * 1024
"""What a kill costs at most, for each connection."""
_RECORD = struct.Struct("<QQI")
_MAX_RECORDS = 1 << 20
_NOT_RESERVABLE = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})

Parts = tuple[str, ...]
Stretch = tuple[int, int]


@dataclass(slots=True)
class StagedFile:
    """One file on its way. Stretches may be written from several threads.

    Attributes:
        marked: stretches that the journal claimed when the file was opened.
    """

    volume: Volume
    parts: Parts
    header: str
    marked: list[Stretch] = field(default_factory=list)
    _file: int = -1
    _journal: int = -1
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _syncing: threading.Lock = field(default_factory=threading.Lock)
    _asked: int = 0
    _synced: int = 0
    _lost: int = 0

    @classmethod
    def begin(
        cls,
        volume: Volume,
        folder: Parts,
        number: int,
        identity: list[object],
        *,
        journal: bool = True,
    ) -> StagedFile:
        """Opens the file with what an earlier attempt for the same identity has made durable.

        Args:
            folder: the staging folder of the plan.
            number: place of the file in the plan.
            identity: what the bytes depend on: URL, size, validator, expected digest.
            journal: False for a file that is not worth one; it then begins at zero.
        """
        staged = cls(volume, (*folder, f"{number}.part"), sha256_of_value(identity))
        staged._file = volume.open_file(staged.parts, write=True)
        if journal:
            staged._journal = volume.open_file(staged._journal_parts, write=True)
            staged.marked = [*staged._claims()]
        if not staged.marked:
            staged.restart()
        return staged

    @classmethod
    def seed(
        cls,
        volume: Volume,
        folder: Parts,
        number: int,
        identity: list[object],
        *,
        source: Parts,
        good: Sequence[Stretch],
    ) -> None:
        """Lays a copy of a file down as if an earlier attempt had fetched the good stretches of it.

        Args:
            source: the file; it stays as it is.
            good: stretches of it that are known to be right.
        """
        staged = cls(volume, (*folder, f"{number}.part"), sha256_of_value(identity))
        opened = volume.open_file(source)
        try:
            volume.copy_in(opened, staged.parts)
        finally:
            os.close(opened)
        staged._file = volume.open_file(staged.parts, write=True)
        staged._journal = volume.open_file(staged._journal_parts, write=True)
        try:
            with translated(staged.parts, "write"):
                os.ftruncate(staged._journal, 0)
                os.pwrite(staged._journal, staged.header.encode(), 0)
            for start, end in good:
                staged.mark(start, end)
        finally:
            staged.close()

    def reserve(self, size: int) -> None:
        """Takes the room for all bytes now, where the file system can.

        Raises:
            StalledError: NoSpace.
        """
        if size <= 0:
            return
        with translated(self.parts, "reserve room for"):
            try:
                os.posix_fallocate(self._file, 0, size)
            except OSError as error:
                if error.errno not in _NOT_RESERVABLE:
                    raise
                os.ftruncate(self._file, size)

    def write_at(self, offset: int, data: memoryview) -> None:
        """Writes bytes to their place."""
        with translated(self.parts, "write"):
            view = data
            while view:
                written = os.pwrite(self._file, view, offset)
                view, offset = view[written:], offset + written

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Fills the buffer from an offset on; returns how many bytes came."""
        with translated(self.parts, "read"):
            return os.preadv(self._file, [buffer], offset)

    def mark(self, start: int, end: int) -> None:
        """Makes a written stretch durable, then claims it."""
        with translated(self.parts, "sync"):
            self._sync()
            record = _RECORD.pack(start, end, self._proof(start, end))
            with self._lock:
                length = os.lseek(self._journal, 0, os.SEEK_END)
                # A record that a crash or a full volume tore would put all that follow out of step.
                torn = (length - len(self.header)) % _RECORD.size
                os.lseek(self._journal, length - torn, os.SEEK_SET)
                os.write(self._journal, record)

    def restart(self, identity: list[object] | None = None) -> None:
        """Throws everything away and begins at zero; nobody may be writing.

        Args:
            identity: what the bytes depend on from now on; None: the same as before.
        """
        self.marked = []
        if identity is not None:
            self.header = sha256_of_value(identity)
        with translated(self.parts, "truncate"), self._lock:
            os.ftruncate(self._file, 0)
            if self._journal >= 0:
                os.ftruncate(self._journal, 0)
                os.pwrite(self._journal, self.header.encode(), 0)

    def finish(self, target: Parts) -> None:
        """Moves the whole file to its place; the caller makes the folder durable."""
        with translated(self.parts, "sync"):
            self._check_sound()
            os.fchmod(self._file, 0o644)
            os.fsync(self._file)
        journalled = self._journal >= 0
        self.close()
        self.volume.rename(self.parts, target, durable=False)
        if journalled:
            self.volume.remove(self._journal_parts)

    def close(self) -> None:
        """Gives the descriptors back; what is staged stays."""
        for descriptor in (self._file, self._journal):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._journal = -1

    def _sync(self) -> None:
        """Makes durable what the caller wrote; one sync serves all who waited for it."""
        with self._lock:
            self._asked += 1
            mine = self._asked
        with self._syncing:
            self._check_sound()
            if self._synced >= mine:
                return
            asked = self._asked
            try:
                os.fdatasync(self._file)
            except OSError as error:
                self._lost = error.errno or errno.EIO
                raise
            self._synced = asked

    def _check_sound(self) -> None:
        if self._lost:
            raise OSError(self._lost, os.strerror(self._lost))

    @property
    def _journal_parts(self) -> Parts:
        return (*self.parts[:-1], f"{self.parts[-1]}.journal")

    def _claims(self) -> Iterator[Stretch]:
        header = self.header.encode()
        with translated(self.parts, "read"):
            content = os.pread(self._journal, len(header) + _MAX_RECORDS * _RECORD.size, 0)
            length = os.fstat(self._file).st_size
        if not content.startswith(header):
            return
        records = content[len(header) :]
        whole = len(records) - len(records) % _RECORD.size
        for start, end, proof in _RECORD.iter_unpack(records[:whole]):
            # A torn or foreign record claims nothing, nor does one of bytes that are not there.
            if start < end <= length and proof == self._proof(start, end):
                yield start, end

    def _proof(self, start: int, end: int) -> int:
        return zlib.crc32(f"{self.header} {start} {end}".encode())
