"""Receipts that a backend has written: what they name stays inside, or they are none (T13)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Owner, RemoveOperation
from model_gallery.storage import receipts
from model_gallery.storage.receipts import ReceiptFile
from model_gallery.storage.volume import Volume
from model_gallery.worker.remove import Remove

A = "a" * 64
OUTSIDE = "../../../../canary"
FILE = {"path": "m.gguf", "size_bytes": 4, "sha256": A}
RECEIPT = {"namespace": "ns", "name": "m", "uid": "u", "plan_digest": "d", "files": [FILE]}
OWNER = Owner(namespace="ns", name="m", uid="u")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    (folder / ".modelgallery" / "receipts").mkdir(parents=True)
    (folder / ".modelgallery" / "blobs" / "sha256").mkdir(parents=True)
    (tmp_path / "canary").write_text("untouched")
    return folder


@pytest.fixture
def volume(root: Path) -> Iterator[Volume]:
    opened = Volume(root)
    yield opened
    opened.close()


def put(root: Path, **changes: Any) -> None:
    text = json.dumps({**RECEIPT, **changes})
    (root / ".modelgallery" / "receipts" / "u.json").write_text(text)


def test_a_receipt_is_read(volume: Volume, root: Path) -> None:
    put(root)

    assert receipts.read_all(volume)["u"].files[0].sha256 == A


FORGED: dict[str, dict[str, Any]] = {
    "a file": {"files": [{**FILE, "sha256": OUTSIDE}]},
    "a file that leaves": {"leaving": [{**FILE, "sha256": OUTSIDE}]},
    "a content that is kept": {"kept": [{"sha256": OUTSIDE, "size_bytes": 4, "until": 1}]},
    "an archive": {"archives": [{"sha256": OUTSIDE}]},
    "a member of an archive": {
        "archives": [{"sha256": A, "members": [{**FILE, "sha256": "../x"}]}]
    },
    "a path": {"files": [{**FILE, "path": "../canary"}]},
    "a size beyond all numbers": {"files": [{**FILE, "size_bytes": 10**30}]},
    "sizes that are too much together": {"files": [{**FILE, "size_bytes": 2**53}] * 2},
    "a time beyond all numbers": {"kept": [{"sha256": A, "size_bytes": 4, "until": 2**64}]},
    "upper case": {"files": [{**FILE, "sha256": "A" * 64}]},
    "nothing": {"files": [{**FILE, "sha256": ""}]},
}


@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED)
def test_a_digest_that_is_a_path_removes_nothing_outside(
    volume: Volume, root: Path, changes: dict[str, Any]
) -> None:
    """Contents lie under their digests, and a removal takes them from there."""
    put(root, **changes)

    assert receipts.read_all(volume) == {}
    Remove(RemoveOperation(owner=OWNER), volume).run()
    assert (root.parent / "canary").read_text() == "untouched"


def test_a_receipt_that_could_not_be_read_again_is_not_written(volume: Volume, root: Path) -> None:
    """Or nobody would own what it names, and the one before would be lost with it."""
    put(root)
    before = receipts.read_all(volume)["u"]
    file = ReceiptFile(path="a/" * 2000 + "b", size_bytes=1, sha256=A)

    with pytest.raises(StalledError) as caught:
        receipts.write(volume, structs.replace(before, files=(file,) * 4100))

    assert caught.value.reason is Reason.SOURCE_INVALID
    assert receipts.read_all(volume) == {"u": before}
