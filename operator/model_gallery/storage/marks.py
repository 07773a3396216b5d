"""Digests along a content: of its first chunk, its first two, and so on to the end.

They cost nothing while the content is hashed anyway, and tell in which chunk a damage begins, so that
a repair fetches that chunk and not the whole file.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from model_gallery.artifact.digest import Sha256
from model_gallery.protocol.message import MalformedError, decoded
from model_gallery.storage import layout
from model_gallery.storage.volume import Volume

__all__ = ["LEAST_CHUNK", "Marker", "Marks", "chunk_bytes", "read", "remove", "write"]

_LOG = logging.getLogger(__name__)
LEAST_CHUNK = 16 * 1024 * 1024
_MOST_CHUNKS = 1024
_DIGITS = 32
"""Enough to find a place: the whole content is still judged by its whole digest."""
_MAX_BYTES = 256 * 1024


class Marks(msgspec.Struct, frozen=True, kw_only=True):
    """The digests of one content.

    Attributes:
        size_bytes: of the content.
        chunk: bytes between two marks; the last chunk may be shorter.
        prefixes: the first 32 hex digits of the sha256 of everything up to each chunk's end.
    """

    size_bytes: Annotated[int, msgspec.Meta(ge=0)]
    chunk: Annotated[int, msgspec.Meta(ge=1)]
    prefixes: Annotated[tuple[str, ...], msgspec.Meta(max_length=_MOST_CHUNKS)]


_DECODER = msgspec.json.Decoder(Marks)


@dataclass(slots=True)
class Marker:
    """Collects marks while a content is hashed in file order.

    Attributes:
        chunk: bytes between two marks.
    """

    size_bytes: int
    chunk: int
    _prefixes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, size_bytes: int) -> Marker:
        """Returns an empty collection for a content of that size."""
        return cls(size_bytes, chunk_bytes(size_bytes))

    def room(self, position: int) -> int:
        """Returns how many bytes may be hashed from a position on before the next mark."""
        return self.chunk - position % self.chunk

    def hashed(self, position: int, digest: Sha256) -> None:
        """Takes the digest of everything up to a position, where it is one of a mark."""
        if position and (position % self.chunk == 0 or position == self.size_bytes):
            self._prefixes.append(digest.hexdigest()[:_DIGITS])

    def marks(self) -> Marks:
        """Returns what was collected."""
        return Marks(size_bytes=self.size_bytes, chunk=self.chunk, prefixes=tuple(self._prefixes))

    def differs(self, known: Marks) -> int | None:
        """Returns the first chunk whose mark is not the known one; None where all so far are."""
        for number, (found, wanted) in enumerate(zip(self._prefixes, known.prefixes, strict=False)):
            if found != wanted:
                return number
        return None


def chunk_bytes(size_bytes: int) -> int:
    """Returns the distance of the marks: a power of two that keeps them few."""
    chunk = LEAST_CHUNK
    while chunk * _MOST_CHUNKS < size_bytes:
        chunk *= 2
    return chunk


def read(volume: Volume, sha256: str) -> Marks | None:
    """Returns the marks of a content; None where there are none that can be used."""
    content = volume.read(layout.marks(sha256), _MAX_BYTES)
    if content is None:
        return None
    try:
        return decoded(_DECODER, content)
    except MalformedError:
        _LOG.warning("Ignored unreadable marks", extra={"content": sha256})
        return None


def write(volume: Volume, sha256: str, marks: Marks, owner: str) -> None:
    """Puts the marks of a content in place.

    Args:
        owner: uid of the Model that is being worked for.
    """
    content = msgspec.json.encode(marks)
    volume.write(layout.marks(sha256), content, layout.temporary(owner))


def remove(volume: Volume, sha256: str) -> None:
    """Removes the marks of a content that goes."""
    if volume.remove(layout.marks(sha256)):
        volume.remove_empty(layout.MARKS)
