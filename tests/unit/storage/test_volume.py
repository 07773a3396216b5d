"""The volume against what a backend on the same volume may have planted (T13, T14)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError, TransientError
from model_gallery.storage import layout
from model_gallery.storage.volume import Volume


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    folder.mkdir()
    (tmp_path / "canary").write_text("untouched")
    return folder


@pytest.fixture
def volume(root: Path):
    opened = Volume(root)
    yield opened
    opened.close()


def canary(root: Path) -> str:
    return (root.parent / "canary").read_text()


def test_small_files_are_put_in_place(volume: Volume, root: Path) -> None:
    volume.write(("a", "b.yaml"), b"one", ".tmp")
    volume.write(("a", "b.yaml"), b"two", ".tmp")

    assert (root / "a" / "b.yaml").read_bytes() == b"two"
    assert (root / "a" / "b.yaml").stat().st_mode & 0o777 == 0o644
    assert volume.names(("a",)) == ["b.yaml"]
    assert volume.read(("a", "b.yaml"), 10) == b"two"
    assert volume.read(("a", "b.yaml"), 2) is None


@pytest.mark.parametrize("target", ["..", "/", "../canary"])
def test_a_folder_that_is_a_link_is_not_entered(volume: Volume, root: Path, target: str) -> None:
    (root / "a").symlink_to(target)

    with pytest.raises(StalledError) as caught:
        volume.write(("a", "canary"), b"overwritten", ".tmp")

    assert caught.value.reason is Reason.UNSAFE_PATH
    assert canary(root) == "untouched"


def test_a_target_that_is_a_link_is_replaced_not_followed(volume: Volume, root: Path) -> None:
    (root / "a").symlink_to("../canary")

    volume.write(("a",), b"mine", ".tmp")

    assert canary(root) == "untouched"
    assert (root / "a").read_bytes() == b"mine"
    assert not (root / "a").is_symlink()


def test_a_fifo_does_not_make_it_wait(volume: Volume, root: Path) -> None:
    os.mkfifo(root / "a")

    with pytest.raises(StalledError) as caught:
        volume.open_file(("a",))

    assert caught.value.reason is Reason.UNSAFE_PATH


def test_staging_into_a_planted_link_is_refused(volume: Volume, root: Path) -> None:
    (root / "part").symlink_to("../canary")

    with pytest.raises(StalledError) as caught:
        volume.open_file(("part",), write=True)

    assert caught.value.reason is Reason.UNSAFE_PATH
    assert canary(root) == "untouched"


def test_staging_into_a_second_name_is_refused(volume: Volume, root: Path) -> None:
    (root / "part").hardlink_to(root.parent / "canary")

    with pytest.raises(StalledError) as caught:
        volume.open_file(("part",), write=True)

    assert caught.value.reason is Reason.UNSAFE_PATH
    assert canary(root) == "untouched"


def test_removing_a_link_leaves_what_it_points_to(volume: Volume, root: Path) -> None:
    (root / "a").symlink_to("../canary")

    assert volume.remove(("a",))
    assert not volume.remove(("a",))
    assert canary(root) == "untouched"


def test_removing_a_tree_follows_no_link(volume: Volume, root: Path) -> None:
    (root / "t" / "deep").mkdir(parents=True)
    (root / "t" / "deep" / "out").symlink_to("../../..")
    (root / "t" / "file").write_text("x")

    volume.remove_tree(("t",))

    assert not (root / "t").exists()
    assert canary(root) == "untouched"


def test_a_link_never_overwrites(volume: Volume, root: Path) -> None:
    (root / "a").write_text("a")
    (root / "b").write_text("b")

    assert not volume.link(("a",), ("b",), ".tmp")
    assert volume.link(("a",), ("c",), ".tmp")
    assert (root / "b").read_text() == "b"
    assert (root / "c").stat().st_ino == (root / "a").stat().st_ino


def test_a_folder_in_the_files_place_is_named(volume: Volume, root: Path) -> None:
    (root / "a").mkdir()

    with pytest.raises(StalledError) as caught:
        volume.facts(("a",))

    assert caught.value.reason is Reason.UNSAFE_PATH


def test_empty_folders_go_up_to_the_first_that_is_not(volume: Volume, root: Path) -> None:
    (root / "a" / "b" / "c").mkdir(parents=True)
    (root / "a" / "stays").write_text("x")

    volume.remove_empty(("a", "b", "c"))

    assert [path.name for path in (root / "a").iterdir()] == ["stays"]


@pytest.mark.parametrize("act", [lambda it: it.facts(("a",)), lambda it: it.remove_tree(())])
def test_a_look_that_the_volume_refuses_is_no_bug(
    volume: Volume, root: Path, monkeypatch: pytest.MonkeyPatch, act
) -> None:
    """A stale handle, as NFS gives one."""
    (root / "a").write_text("x")

    def stale(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, "stale")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", stale)
        with pytest.raises(TransientError) as caught:
            act(volume)

    assert caught.value.reason is Reason.VOLUME_IO_ERROR


@pytest.fixture
def keeping(root: Path) -> Iterator[Volume]:
    made = Volume(root, keep_folders=True)
    yield made
    made.close()


def test_a_folder_of_ours_is_walked_to_once(
    keeping: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeping.write(layout.blob("a"), b"one", ".tmp")
    opened: list[object] = []
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *rest, **more: opened.append(path) or real(path, *rest, **more)
    )

    assert keeping.read(layout.blob("a"), 10) == b"one"
    assert keeping.facts(layout.blob("b")) is None
    assert opened == ["a"]


def test_a_folder_of_ours_that_somebody_removed_is_made_anew(keeping: Volume, root: Path) -> None:
    keeping.write(layout.blob("a"), b"one", ".tmp")
    root.joinpath(*layout.blob("a")).unlink()
    root.joinpath(*layout.BLOBS).rmdir()

    keeping.write(layout.blob("b"), b"two", ".tmp")

    assert root.joinpath(*layout.blob("b")).read_bytes() == b"two"
    assert keeping.facts(layout.blob("b")) is not None


def _open_descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


def test_few_folders_stay_open(keeping: Volume) -> None:
    before = _open_descriptors()

    for number in range(50):
        keeping.write((*layout.staging("uid", str(number)), "0.part"), b"", ".tmp")

    assert _open_descriptors() <= before + 8


def test_a_folder_may_be_listed_while_it_is_listed(volume: Volume) -> None:
    names = [f"{number}.part" for number in range(3)]
    folder = layout.staging("uid", "plan")
    for name in names:
        volume.write((*folder, name), b"", ".tmp")

    found = []
    for parts, _ in volume.walk(folder):
        assert volume.names(folder) == names
        found.append(parts[-1])
    assert sorted(found) == names
