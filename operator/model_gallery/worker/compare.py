"""Compares what lies on the volume with what a receipt says, by reading all of it."""

from __future__ import annotations

from dataclasses import dataclass

from model_gallery.artifact.digest import Sha256
from model_gallery.protocol.report import Problem
from model_gallery.storage import layout, marks
from model_gallery.storage.layout import Parts
from model_gallery.storage.marks import Marker
from model_gallery.storage.receipts import ReceiptFile
from model_gallery.storage.staging import Stretch
from model_gallery.storage.volume import Volume
from model_gallery.transport.throttle import Throttle

__all__ = ["Comparer", "Verdict", "digest_of"]

_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a published file and its content stand.

    Attributes:
        path: what is wrong under the published path; None: nothing.
        content: what is wrong with the one copy of the content; None: nothing. A document has no
            such copy, so it never has this problem.
        good: stretches of the damaged content that are known to be right; empty: none is known.
    """

    path: Problem | None
    content: Problem | None = None
    good: tuple[Stretch, ...] = ()


@dataclass(slots=True)
class Comparer:
    """Reads files and judges them.

    Attributes:
        throttle: limits how fast the volume is read.
        read_bytes: what was read so far.
    """

    volume: Volume
    throttle: Throttle
    read_bytes: int = 0

    def judge(self, file: ReceiptFile) -> Verdict:
        """Reads a published file to its end, and its content where that is another file.

        Raises:
            GalleryError: the volume fails, or something other than a file is in the place.
        """
        parts, blob = tuple(file.path.split("/")), layout.blob(file.sha256)
        path, content = self.volume.facts(parts), self.volume.facts(blob)
        if not file.fetched:
            return Verdict(self._problem(parts, file)[0])
        if content is None:
            return Verdict(self._problem(parts, file)[0], Problem.MISSING)
        problem, good = self._problem(blob, file)
        if path is not None and path.inode == content.inode:
            return Verdict(problem, problem, good)
        return Verdict(self._problem(parts, file)[0], problem, good)

    def _problem(
        self, parts: Parts, file: ReceiptFile
    ) -> tuple[Problem | None, tuple[Stretch, ...]]:
        facts = self.volume.facts(parts)
        if facts is None:
            return Problem.MISSING, ()
        if facts.size_bytes != file.size_bytes:
            return Problem.DAMAGED, ()
        digest, marker = self._read(parts, file.size_bytes)
        if digest == file.sha256:
            return None, ()
        return Problem.DAMAGED, self._good(marker, file)

    def _read(self, parts: Parts, size: int) -> tuple[str, Marker]:
        digest, marker, position = Sha256(), Marker.of(size), 0
        buffer = memoryview(bytearray(_BLOCK))
        with self.volume.reading(parts) as read_at:
            while count := read_at(position, buffer[: marker.room(position)]):
                digest.update(buffer[:count])
                position += count
                marker.hashed(position, digest)
                self.read_bytes += count
                self.throttle.take(count)
        return digest.hexdigest(), marker

    def _good(self, marker: Marker, file: ReceiptFile) -> tuple[Stretch, ...]:
        """Returns all but the first chunk that is wrong.

        What follows it cannot be judged before it is mended; if more is wrong, the whole digest says
        so in the end, and everything is fetched.
        """
        known = marks.read(self.volume, file.sha256)
        if known is None or known.size_bytes != file.size_bytes or known.chunk != marker.chunk:
            return ()
        wrong = marker.differs(known)
        if wrong is None:
            return ()
        start, end = wrong * marker.chunk, min((wrong + 1) * marker.chunk, file.size_bytes)
        around = ((0, start), (end, file.size_bytes))
        return tuple((begin, stop) for begin, stop in around if begin < stop)


def digest_of(volume: Volume, parts: Parts) -> str:
    """Returns the sha256 of a file of the volume, which is read whole."""
    digest = Sha256()
    with open(volume.open_file(parts), "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
