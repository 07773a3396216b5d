"""Unfinished files, each with a journal of how far its bytes are known to be on disk.

Order: bytes, fdatasync, journal. So the journal never claims what a crash could take back, and a kill
costs at most one stretch between two marks. The journal's header binds URL, size, validator and expected
digest; under any other header the file begins at zero.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from model_gallery.artifact.digest import Sha256, sha256_of_value
from model_gallery.storage.layout import Parts
from model_gallery.storage.volume import Volume, translated

__all__ = ["MARK_BYTES", "StagedFile"]

MARK_BYTES = 8 * 1024 * 1024
_BLOCK = 1024 * 1024
_JOURNAL_LIMIT = 4096


@dataclass(slots=True)
class StagedFile:
    """One file on its way, with the running digest of its bytes.

    Attributes:
        done: bytes written so far.
        marked: bytes that the journal claims.
    """

    volume: Volume
    parts: Parts
    header: str
    done: int = 0
    marked: int = 0
    digest: Sha256 = field(default_factory=Sha256)
    _file: int = -1

    @classmethod
    def begin(
        cls, volume: Volume, folder: Parts, number: int, identity: list[object]
    ) -> StagedFile:
        """Opens the file, at the last mark of an earlier attempt for the same identity.

        Args:
            folder: the staging folder of the plan.
            number: place of the file in the plan.
            identity: what the bytes depend on: URL, size, validator, expected digest.
        """
        staged = cls(volume, (*folder, f"{number}.part"), sha256_of_value(identity))
        staged._file = volume.open_file(staged.parts, write=True)
        staged._resume()
        return staged

    def append(self, data: memoryview) -> None:
        """Takes the next bytes."""
        with translated(self.parts, "write"):
            view = data
            while view:
                view = view[os.write(self._file, view) :]
        self.digest.update(data)
        self.done += len(data)
        if self.done - self.marked >= MARK_BYTES:
            self.mark()

    def mark(self) -> None:
        """Makes the bytes so far durable, then claims them."""
        with translated(self.parts, "sync"):
            os.fdatasync(self._file)
        content = json.dumps({"header": self.header, "done": self.done}).encode()
        self.volume.write(self._journal, content, f"{self._journal[-1]}.tmp")
        self.marked = self.done

    def restart(self) -> None:
        """Throws everything away and begins at zero."""
        self.volume.remove(self._journal)
        self.done = self.marked = 0
        self.digest = Sha256()
        with translated(self.parts, "truncate"):
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)

    def head(self, length: int) -> bytes:
        """Returns the first bytes."""
        return os.pread(self._file, length, 0)

    def finish(self, target: Parts) -> None:
        """Moves the whole file to its place, durably; the journal goes."""
        with translated(self.parts, "sync"):
            os.fchmod(self._file, 0o644)
            os.fsync(self._file)
        self.close()
        self.volume.rename(self.parts, target)
        self.volume.remove(self._journal)

    def close(self) -> None:
        """Gives the descriptor back; what is staged stays."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    @property
    def _journal(self) -> Parts:
        return (*self.parts[:-1], f"{self.parts[-1]}.journal")

    def _resume(self) -> None:
        content = self.volume.read(self._journal, _JOURNAL_LIMIT)
        try:
            journal = json.loads(content or b"{}")
            claimed = int(journal["done"]) if journal.get("header") == self.header else 0
        except (ValueError, TypeError, KeyError, AttributeError):
            claimed = 0
        if claimed <= 0 or os.fstat(self._file).st_size < claimed:
            self.restart()
            return
        with translated(self.parts, "read"):
            os.ftruncate(self._file, claimed)
            self._digest_prefix(claimed)
            os.lseek(self._file, claimed, os.SEEK_SET)
        self.done = self.marked = claimed

    def _digest_prefix(self, length: int) -> None:
        buffer = memoryview(bytearray(_BLOCK))
        offset = 0
        while offset < length:
            read = os.preadv(self._file, [buffer[: min(_BLOCK, length - offset)]], offset)
            self.digest.update(buffer[:read])
            offset += read
