"""Staging: what a kill may cost, and when an earlier attempt's bytes may be used."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError, TransientError
from model_gallery.storage import staging
from model_gallery.storage.staging import StagedFile
from model_gallery.storage.volume import Volume

FOLDER = (".modelgallery", "staging", "uid", "plan")
JOURNAL = (*FOLDER, "0.part.journal")
IDENTITY: list[object] = ["http://x/y", 100, '"etag"', None]
DATA = memoryview(bytes(range(256)) * 16)


@pytest.fixture
def volume(tmp_path: Path):
    opened = Volume(tmp_path)
    yield opened
    opened.close()


def begin(volume: Volume, identity: list[object] = IDENTITY) -> StagedFile:
    return StagedFile.begin(volume, FOLDER, 0, identity)


def marked(volume: Volume, *stretches: tuple[int, int]) -> None:
    """Leaves a file behind as a killed process does: nothing is closed in order."""
    first = begin(volume)
    for start, end in stretches:
        first.write_at(start, DATA[start:end])
        first.mark(start, end)
    first.write_at(2000, DATA[2000:2100])
    first.close()


def test_what_was_marked_is_there_again(volume: Volume) -> None:
    marked(volume, (0, 100), (500, 800))

    second = begin(volume)

    buffer = memoryview(bytearray(300))
    assert second.marked == [(0, 100), (500, 800)]
    assert second.read_at(500, buffer) == 300
    assert buffer == DATA[500:800]
    second.close()


def test_another_identity_begins_at_zero(volume: Volume) -> None:
    marked(volume, (0, 100))

    second = begin(volume, [*IDENTITY[:2], '"another"', None])

    assert second.marked == []
    assert second.read_at(0, memoryview(bytearray(10))) == 0
    second.close()


@pytest.mark.parametrize("junk", [b"", b"x" * 64, b"0" * 63, b"\0" * 500])
def test_a_broken_journal_begins_at_zero(volume: Volume, tmp_path: Path, junk: bytes) -> None:
    marked(volume, (0, 100))
    tmp_path.joinpath(*JOURNAL).write_bytes(junk)

    second = begin(volume)

    assert second.marked == []
    second.close()


@pytest.mark.parametrize("cut", [1, 19])
def test_a_torn_record_claims_nothing(volume: Volume, tmp_path: Path, cut: int) -> None:
    marked(volume, (0, 100), (500, 800))
    journal = tmp_path.joinpath(*JOURNAL)
    os.truncate(journal, journal.stat().st_size - cut)

    second = begin(volume)

    assert second.marked == [(0, 100)]
    second.close()


def test_a_flipped_bit_in_a_record_claims_nothing(volume: Volume, tmp_path: Path) -> None:
    marked(volume, (0, 100))
    journal = tmp_path.joinpath(*JOURNAL)
    content = bytearray(journal.read_bytes())
    content[64 + 8] ^= 1
    journal.write_bytes(content)

    second = begin(volume)

    assert second.marked == []
    second.close()


def test_a_journal_that_claims_more_than_there_is_claims_nothing(
    volume: Volume, tmp_path: Path
) -> None:
    marked(volume, (0, 100))
    os.truncate(tmp_path.joinpath(*FOLDER, "0.part"), 10)

    second = begin(volume)

    assert second.marked == []
    second.close()


def test_a_restart_may_bind_the_journal_to_another_state(volume: Volume) -> None:
    other: list[object] = ["http://x/y", 200, '"new"', None]
    first = begin(volume)
    first.mark(0, 0)
    first.restart(other)
    first.write_at(0, DATA[:50])
    first.mark(0, 50)
    first.close()

    second = begin(volume, other)

    assert second.marked == [(0, 50)]
    second.close()


def test_room_is_taken_before_the_first_byte(volume: Volume, tmp_path: Path) -> None:
    staged = begin(volume)
    staged.reserve(1 << 20)

    assert tmp_path.joinpath(*FOLDER, "0.part").stat().st_blocks * 512 >= 1 << 20
    staged.close()


def test_room_that_is_not_there_is_refused(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    staged = begin(volume)
    monkeypatch.setattr(staging.os, "posix_fallocate", full)

    with pytest.raises(StalledError) as caught:
        staged.reserve(1 << 20)

    assert caught.value.reason is Reason.NO_SPACE
    staged.close()


def test_without_a_journal_a_file_begins_at_zero(volume: Volume, tmp_path: Path) -> None:
    first = StagedFile.begin(volume, FOLDER, 0, IDENTITY, journal=False)
    first.write_at(0, DATA)
    first.close()

    second = StagedFile.begin(volume, FOLDER, 0, IDENTITY, journal=False)

    assert second.read_at(0, memoryview(bytearray(10))) == 0
    assert not tmp_path.joinpath(*JOURNAL).exists()
    second.close()


def test_a_finished_file_is_in_its_place_and_readable(volume: Volume, tmp_path: Path) -> None:
    staged = begin(volume)
    staged.write_at(0, memoryview(b"content"))
    staged.finish(("blobs", "x"))

    assert (tmp_path / "blobs" / "x").read_bytes() == b"content"
    assert (tmp_path / "blobs" / "x").stat().st_mode & 0o777 == 0o644
    assert volume.names(FOLDER) == []


def test_a_torn_record_costs_no_record_after_it(volume: Volume) -> None:
    marked(volume, (0, 100))
    opened = volume.open_file(JOURNAL, write=True)
    with os.fdopen(opened, "ab") as file:
        file.write(b"torn")

    second = begin(volume)
    second.mark(500, 800)
    second.close()

    third = begin(volume)
    assert third.marked == [(0, 100), (500, 800)]
    third.close()


def test_after_an_error_of_the_disk_nothing_is_claimed(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second sync of the same bytes succeeds, though they are lost: the system forgets."""
    first = begin(volume)
    first.write_at(0, DATA[:1000])
    errors = [OSError(errno.EIO, "lost")]
    monkeypatch.setattr(os, "fdatasync", lambda _: _raise(errors))

    for act in (lambda: first.mark(0, 100), lambda: first.mark(100, 200), _finish(first)):
        with pytest.raises(TransientError) as caught:
            act()
        assert caught.value.reason is Reason.VOLUME_IO_ERROR

    assert errors == []
    first.close()
    second = begin(volume)
    assert second.marked == []
    second.close()


def test_one_sync_serves_all_who_wait(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = begin(volume)
    begun, go_on, synced = threading.Event(), threading.Event(), []

    def fdatasync(_: int) -> None:
        synced.append(1)
        begun.set()
        assert go_on.wait(30)

    monkeypatch.setattr(os, "fdatasync", fdatasync)
    staged.write_at(0, DATA[:800])
    threads = [
        threading.Thread(target=staged.mark, args=(start, start + 100), daemon=True)
        for start in range(0, 800, 100)
    ]
    threads[0].start()
    assert begun.wait(30)
    for thread in threads[1:]:
        thread.start()
    while staged._asked < len(threads):
        pass
    go_on.set()
    for thread in threads:
        thread.join()

    assert len(synced) == 2
    staged.close()
    again = begin(volume)
    assert sorted(again.marked) == [(start, start + 100) for start in range(0, 800, 100)]
    again.close()


def _raise(errors: list[OSError]) -> None:
    if errors:
        raise errors.pop()


def _finish(staged: StagedFile) -> Callable[[], None]:
    return lambda: staged.finish(("blob",))
