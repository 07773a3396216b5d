"""Which files belong to which Model, as the receipts on a volume say."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from model_gallery.monitor.attribution import Owner
from model_gallery.sidecar.files import FileIndex
from model_gallery.storage import layout
from model_gallery.storage.volume import Volume
from support.serving import Gallery, gallery

A, B = Owner("team", "a", "uid-a"), Owner("team", "b", "uid-b")


@pytest.fixture
def volume():
    with gallery() as made:
        yield made


@pytest.fixture
def index(volume: Gallery):
    opened = Volume(volume.root)
    yield FileIndex(opened, volume.root)
    opened.close()


def inode(path: Path) -> int:
    return path.stat().st_ino


def test_files_by_inode_and_path(volume: Gallery, index: FileIndex) -> None:
    path = volume.publish("a", "a.gguf")
    found = index.current(0.0)

    assert found.by_inode == {inode(path): (A,)}
    assert found.by_path["a.gguf"] == (A,)
    assert found.device == path.stat().st_dev
    assert found.folder.path.endswith(str(volume.root))


def test_a_shared_content_has_both_owners(volume: Gallery, index: FileIndex) -> None:
    path = volume.publish("a", "a.gguf", content=b"same")
    volume.publish("b", "sub/b.gguf", content=b"same")

    assert index.current(0.0).by_inode == {inode(path): (A, B)}


def test_blobs_count_where_there_are_no_hard_links(volume: Gallery, index: FileIndex) -> None:
    path = volume.publish("a", "a.gguf")
    blob = next((volume.root.joinpath(*layout.BLOBS)).iterdir())
    path.unlink()
    shutil.copyfile(blob, path)

    assert set(index.current(0.0).by_inode) == {inode(path), inode(blob)}


def test_a_link_in_place_of_a_file_leads_nowhere(volume: Gallery, index: FileIndex) -> None:
    """A backend with the volume could have planted it."""
    path = volume.publish("a", "a.gguf")
    known = inode(path)
    path.unlink()
    path.symlink_to("/etc/passwd")

    assert set(index.current(0.0).by_inode) == {known}  # its blob
    assert inode(Path("/etc/passwd")) != known


def test_changes_are_seen_after_ten_seconds_and_not_before(
    volume: Gallery, index: FileIndex
) -> None:
    volume.publish("a", "a.gguf")
    assert set(index.current(0.0).by_inode.values()) == {(A,)}
    volume.publish("b", "b.gguf")

    assert set(index.current(9.0).by_inode.values()) == {(A,)}
    assert set(index.current(10.0).by_inode.values()) == {(A,), (B,)}


def test_without_a_change_nothing_is_read_for_minutes(volume: Gallery, index: FileIndex) -> None:
    volume.publish("a", "a.gguf")
    first = index.current(0.0)

    assert index.current(20.0) is first
    assert index.current(320.0) is not first


def test_a_model_that_goes(volume: Gallery, index: FileIndex) -> None:
    volume.publish("a", "a.gguf")
    index.current(0.0)
    volume.root.joinpath(*layout.receipt("uid-a")).unlink()

    assert index.current(10.0).by_inode == {}


def test_a_volume_without_models(index: FileIndex) -> None:
    assert index.current(0.0).by_inode == {}


def test_while_the_volume_fails_the_last_look_stands(
    volume: Gallery, index: FileIndex, caplog
) -> None:
    volume.publish("a", "a.gguf")
    first = index.current(0.0)
    folder = volume.root.joinpath(*layout.RECEIPTS)
    folder.rename(volume.root / "aside")
    folder.write_text("no folder")

    assert index.current(10.0) is first
    assert "Kept what was known of the volume" in caplog.text


def test_the_folder_is_known_by_its_file_system(volume: Gallery, index: FileIndex) -> None:
    volume.publish("a", "a.gguf")
    facts = volume.root.stat()

    assert index.current(0.0).folder.device == f"{os.major(facts.st_dev)}:{os.minor(facts.st_dev)}"
