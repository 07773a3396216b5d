"""Marks: where along a content a damage begins."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from model_gallery.artifact.digest import Sha256
from model_gallery.storage import layout, marks
from model_gallery.storage.marks import Marker, Marks
from model_gallery.storage.volume import Volume

MIB = 1024 * 1024
A = "a" * 64
KNOWN = Marks(size_bytes=4, chunk=16 * MIB, prefixes=("0" * 32,))


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    opened = Volume(tmp_path)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("size", "chunk"),
    [
        (0, 16 * MIB),
        (1, 16 * MIB),
        (16 * 1024 * MIB, 16 * MIB),
        (16 * 1024 * MIB + 1, 32 * MIB),
        (2**40, 1024 * MIB),
        (2**53, 2**43),
    ],
)
def test_marks_are_few_however_large_the_content(size: int, chunk: int) -> None:
    assert marks.chunk_bytes(size) == chunk
    assert size <= chunk * 1024


def marked(content: bytes, chunk: int, block: int) -> Marker:
    """Marks of a content that is hashed in blocks, as those who hash do it."""
    marker, digest, position = Marker(len(content), chunk), Sha256(), 0
    reading = io.BytesIO(content)
    while part := reading.read(min(block, marker.room(position))):
        digest.update(part)
        position += len(part)
        marker.hashed(position, digest)
    return marker


CONTENT = bytes(range(100))


@pytest.mark.parametrize("block", [1, 3, 7, 10, 64, 1000])
@pytest.mark.parametrize("size", [1, 9, 10, 11, 20, 95, 100])
def test_a_mark_is_the_digest_of_all_before_it(size: int, block: int) -> None:
    content = CONTENT[:size]
    ends = [*range(10, size, 10), size]

    found = marked(content, 10, block).marks()

    assert found == Marks(
        size_bytes=size,
        chunk=10,
        prefixes=tuple(hashlib.sha256(content[:end]).hexdigest()[:32] for end in ends),
    )


def test_nothing_has_no_marks() -> None:
    assert marked(b"", 10, 5).marks().prefixes == ()


@pytest.mark.parametrize(("offset", "chunk"), [(0, 0), (9, 0), (10, 1), (55, 5), (94, 9)], ids=str)
def test_the_first_chunk_that_differs(offset: int, chunk: int) -> None:
    content = bytearray(CONTENT[:95])
    known = marked(bytes(content), 10, 10).marks()
    content[offset] ^= 1

    assert marked(bytes(content), 10, 10).differs(known) == chunk


def test_of_two_damages_the_first_is_told() -> None:
    content = bytearray(CONTENT)
    known = marked(CONTENT, 10, 10).marks()
    content[31] ^= 1
    content[77] ^= 1

    assert marked(bytes(content), 10, 10).differs(known) == 3


def test_what_is_the_same_does_not_differ() -> None:
    assert marked(CONTENT, 10, 3).differs(marked(CONTENT, 10, 64).marks()) is None


def test_marks_lie_beside_the_contents(volume: Volume, tmp_path: Path) -> None:
    marks.write(volume, A, KNOWN, "uid")

    assert marks.read(volume, A) == KNOWN
    assert [path.name for path in tmp_path.joinpath(*layout.MARKS).iterdir()] == [A]


def test_newer_marks_take_the_place_of_older_ones(volume: Volume) -> None:
    newer = structs.replace(KNOWN, size_bytes=5)
    marks.write(volume, A, KNOWN, "uid")
    marks.write(volume, A, newer, "uid")

    assert marks.read(volume, A) == newer


def test_the_most_marks_there_can_be_are_read_again(volume: Volume) -> None:
    most = Marks(size_bytes=2**53, chunk=2**43, prefixes=("f" * 32,) * 1024)
    marks.write(volume, A, most, "uid")

    assert marks.read(volume, A) == most


def test_without_marks_there_are_none(volume: Volume) -> None:
    assert marks.read(volume, A) is None


BROKEN = {
    "nothing": b"",
    "no JSON": b"\x00\xff",
    "half of it": b'{"size_bytes": 4, "chunk"',
    "something else": b"[1, 2]",
    "a field that is missing": b'{"size_bytes": 4, "chunk": 16}',
    "chunks of nothing": b'{"size_bytes": 4, "chunk": 0, "prefixes": []}',
    "a size below nothing": b'{"size_bytes": -1, "chunk": 16, "prefixes": []}',
    "more than there can be": b'{"size_bytes":4,"chunk":16,"prefixes":['
    + b",".join([b'"a"'] * 1025)
    + b"]}",
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN.keys())
def test_marks_that_cannot_be_used_are_none(volume: Volume, tmp_path: Path, content: bytes) -> None:
    """Whatever wrote them: a repair fetches the whole file then."""
    place = tmp_path.joinpath(*layout.marks(A))
    place.parent.mkdir(parents=True)
    place.write_bytes(content)

    assert marks.read(volume, A) is None


def test_marks_go_with_their_content(volume: Volume, tmp_path: Path) -> None:
    marks.write(volume, A, KNOWN, "uid")

    marks.remove(volume, A)
    marks.remove(volume, A)

    assert marks.read(volume, A) is None
    assert not tmp_path.joinpath(*layout.MARKS).exists()


def test_the_marks_of_others_stay(volume: Volume) -> None:
    marks.write(volume, A, KNOWN, "uid")
    marks.write(volume, "b" * 64, KNOWN, "uid")

    marks.remove(volume, A)

    assert marks.read(volume, "b" * 64) == KNOWN
