"""Staging: what a kill may cost, and when an earlier attempt's bytes may be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_gallery.artifact.digest import sha256_of_bytes
from model_gallery.storage.staging import MARK_BYTES, StagedFile
from model_gallery.storage.volume import Volume

FOLDER = (".modelgallery", "staging", "uid", "plan")
IDENTITY: list[object] = ["http://x/y", 100, '"etag"', None]
BYTES = bytes(range(256)) * (MARK_BYTES // 128)


@pytest.fixture
def volume(tmp_path: Path):
    opened = Volume(tmp_path)
    yield opened
    opened.close()


def begin(volume: Volume, identity: list[object] = IDENTITY) -> StagedFile:
    return StagedFile.begin(volume, FOLDER, 0, identity)


def test_a_kill_costs_at_most_one_stretch(volume: Volume) -> None:
    """Nothing is closed or marked here, as nothing is at kill -9."""
    first = begin(volume)
    for at in range(0, len(BYTES), 1 << 20):
        first.append(memoryview(BYTES[at : at + (1 << 20)]))
    first.append(memoryview(b"x" * 1000))

    second = begin(volume)

    assert second.done == len(BYTES)
    assert second.digest.hexdigest() == sha256_of_bytes(BYTES)
    first.close()
    second.close()


def test_another_identity_begins_at_zero(volume: Volume) -> None:
    first = begin(volume)
    first.append(memoryview(BYTES))
    first.mark()
    first.close()

    second = begin(volume, [*IDENTITY[:2], '"another"', None])

    assert second.done == 0
    second.close()


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"header": 1}', b'{"done": "x"}'])
def test_a_broken_journal_begins_at_zero(volume: Volume, tmp_path: Path, junk: bytes) -> None:
    first = begin(volume)
    first.append(memoryview(BYTES))
    first.close()
    tmp_path.joinpath(*FOLDER, "0.part.journal").write_bytes(junk)

    second = begin(volume)

    assert second.done == 0
    second.close()


def test_a_journal_that_claims_more_than_there_is_begins_at_zero(
    volume: Volume, tmp_path: Path
) -> None:
    first = begin(volume)
    first.append(memoryview(BYTES))
    first.mark()
    first.close()
    with tmp_path.joinpath(*FOLDER, "0.part").open("r+b") as file:
        file.truncate(10)

    second = begin(volume)

    assert second.done == 0
    second.close()


def test_a_finished_file_is_in_its_place_and_readable(volume: Volume, tmp_path: Path) -> None:
    staged = begin(volume)
    staged.append(memoryview(b"content"))
    staged.finish(("blobs", "x"))

    assert (tmp_path / "blobs" / "x").read_bytes() == b"content"
    assert (tmp_path / "blobs" / "x").stat().st_mode & 0o777 == 0o644
    assert volume.names(FOLDER) == []
