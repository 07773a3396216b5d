"""What targets share: bytes as a file, scratch volumes, and the judgement of an error."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from model_gallery.errors import GalleryError
from model_gallery.storage.volume import Volume

__all__ = ["allowed", "reader", "volume"]

_MOST_BYTES = 4096


@contextlib.contextmanager
def allowed() -> Iterator[None]:
    """Lets our own errors through, and no others; they must be fit for a condition and for a log."""
    told = ""
    try:
        yield
    except GalleryError as error:
        told = error.message
    assert len(told.encode()) <= _MOST_BYTES


def reader(data: bytes) -> Callable[[int, memoryview], int]:
    """Returns a function that fills a buffer from an offset of the bytes on."""

    def read_at(offset: int, buffer: memoryview) -> int:
        piece = data[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)

    return read_at


@contextlib.contextmanager
def volume() -> Iterator[tuple[Volume, Path]]:
    """Makes a volume in a folder of its own; beside it lies a file that nobody may touch."""
    with tempfile.TemporaryDirectory() as folder:
        canary, root = Path(folder) / "canary", Path(folder) / "volume"
        canary.write_text("untouched")
        root.mkdir()
        made = Volume(root)
        try:
            yield made, root
        finally:
            made.close()
        assert canary.read_text() == "untouched"
        assert sorted(path.name for path in Path(folder).iterdir()) == ["canary", "volume"]
