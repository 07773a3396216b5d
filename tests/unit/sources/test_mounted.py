"""Files on volumes: what is there, and nothing beside it (T13, T15)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Repository, RepositoryKind
from model_gallery.sources.mounted import MountedSource
from model_gallery.storage.volume import Volume


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "volume"
    for name in ("a.gguf", "m/x.json", "m/deep/y.gguf", ".modelgallery/receipts/r.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("canary")
    return root


def names(root: Path, url: str) -> list[str]:
    wanted = Repository(kind=RepositoryKind.CLAIM, url=url)
    volume = Volume(root)
    try:
        return [file.name for file in MountedSource(volume).resolve(wanted).files]
    finally:
        volume.close()


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("pvc://c/a.gguf", ["a.gguf"]),
        ("pvc://c/m/", ["deep/y.gguf", "x.json"]),
        ("pvc://c/m", ["deep/y.gguf", "x.json"]),
        ("pvc://c/", ["a.gguf", "m/deep/y.gguf", "m/x.json"]),
        ("file:///m/deep/y.gguf", ["y.gguf"]),
    ],
)
def test_files_and_folders(root: Path, url: str, found: list[str]) -> None:
    assert names(root, url) == found


@pytest.mark.parametrize(
    "url",
    ["pvc://c/none", "pvc://c/link", "pvc://c/folder/", "pvc://c/folder/secret", "pvc://c/fifo"],
)
def test_absent_and_forbidden_give_one_answer(root: Path, url: str) -> None:
    (root / "link").symlink_to("../outside/secret")
    (root / "folder").symlink_to("../outside")
    os.mkfifo(root / "fifo")

    with pytest.raises(StalledError) as caught:
        names(root, url)

    assert caught.value.reason is Reason.NOT_FOUND
    assert "can be read" in caught.value.message


def test_lost_and_found_is_nobodys(root: Path) -> None:
    (root / "lost+found").mkdir(mode=0)

    assert names(root, "pvc://c/") == ["a.gguf", "m/deep/y.gguf", "m/x.json"]


def test_a_link_among_files_is_named_and_may_be_left_out(root: Path) -> None:
    (root / "m" / "link").symlink_to("../../outside/secret")
    wanted = Repository(kind=RepositoryKind.CLAIM, url="pvc://c/m/")
    volume = Volume(root)

    with pytest.raises(StalledError) as caught:
        MountedSource(volume).resolve(wanted)
    without = MountedSource(volume).resolve(structs.replace(wanted, exclude=("link",)))
    volume.close()

    assert caught.value.reason is Reason.UNSAFE_PATH
    assert "link" in caught.value.message
    assert len(without.files) == 2


@pytest.mark.parametrize(
    "url", ["pvc://c/../outside/secret", "pvc://c/%2e%2e/outside", "file:///.modelgallery/x"]
)
def test_paths_do_not_leave_the_volume(root: Path, url: str) -> None:
    with pytest.raises(StalledError) as caught:
        names(root, url)

    assert caught.value.reason is Reason.UNSAFE_PATH
