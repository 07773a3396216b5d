"""What a backend planted in the operator's own folder stops nobody's worker (T13, T14)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.faultserver import answer, serve
from support.worker import Worker

CONTENT = b"weights" * 1000
OTHER = b"others" * 1000
NOBODYS = (
    "receipts/dead.json",
    f"blobs/sha256/{'a' * 64}",
    f"marks/{'a' * 64}",
    "staging/dead",
    "staging/late/plan",
    "else",
)
"""Where nothing lies that one of the two Models owns."""


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Worker, Worker, Callable[[Worker], dict[str, Any]]]]:
    """Two Models of one volume, of which the first is installed, and how each is."""
    first, second = (Worker(tmp_path / "volume", uid) for uid in ("uid-1", "uid-2"))
    contents = {"uid-1": CONTENT, "uid-2": OTHER}
    with serve() as server:
        server.behave = lambda request: iter(answer(contents[request.path[1:]], request))

        def wish(worker: Worker) -> dict[str, Any]:
            file = {"path": f"{worker.uid}.dat", "url": f"{server.url}/{worker.uid}"}
            return worker.install({**file, "sha256": sha(contents[worker.uid])})

        assert first.run(wish(first))[0] == 0
        yield first, second, wish


KINDS: dict[str, Callable[[Path, Path], None]] = {
    "link": lambda place, canary: place.symlink_to(canary),
    "link to a folder": lambda place, canary: place.symlink_to(canary.parent),
    "second name": lambda place, canary: place.hardlink_to(canary),
    "FIFO": lambda place, _: os.mkfifo(place),
    "folder": lambda place, _: (place / "inner").mkdir(parents=True),
}


@pytest.mark.parametrize("plant", KINDS.values(), ids=KINDS)
def test_every_worker_goes_on(
    both: Any, tmp_path: Path, plant: Callable[[Path, Path], None]
) -> None:
    """Verification, scan, collection, another Model's install, and the removal of both."""
    first, second, wish = both
    canary = tmp_path / "outside" / "canary"
    canary.parent.mkdir()
    canary.write_bytes(b"untouched")
    for name in NOBODYS:
        place = first.root / ".modelgallery" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        plant(place, canary)
    owner = {"namespace": "ns", "name": "uid-1", "uid": "uid-1"}

    verify = {"kind": "verify", "owner": owner}
    scan = {"kind": "scan", "owner": owner, "models": ["uid-1", "late"]}
    runs = [
        first.run(verify),
        first.run(scan),
        first.run({**scan, "collect": True, "collectAgeSeconds": 0}),
        second.run(wish(second)),
        first.run(wish(first)),
    ]
    published = first.published()
    runs += [first.remove(), second.remove()]

    assert [(code, line.message) for code, line in runs if code] == []
    assert not runs[0][1].problems_total
    assert published == {"uid-1.dat": sha(CONTENT), "uid-2.dat": sha(OTHER)}
    assert first.published() == {}
    assert [path.read_bytes() for path in canary.parent.iterdir()] == [b"untouched"]


def test_a_second_name_in_staging_is_not_written_through(both: Any) -> None:
    """T14: whoever planted it knows the uid and the digest of the plan; both are no secret."""
    _, second, wish = both
    canary = second.root / "canary"
    canary.write_bytes(b"untouched")
    operation = wish(second)
    folder = second.root / ".modelgallery" / "staging" / "uid-2" / operation["planDigest"]
    folder.mkdir(parents=True)
    staged = folder / "0.part"
    staged.hardlink_to(canary)

    code, line = second.run(operation)

    assert (code, line.reason) == (34, "UnsafePath")
    assert "0.part" in line.message
    assert canary.read_bytes() == b"untouched"
    staged.unlink()
    assert second.run(operation)[0] == 0


def test_ones_own_receipt_that_is_a_link_is_written_anew(both: Any, tmp_path: Path) -> None:
    first, _, wish = both
    receipt = first.root / ".modelgallery" / "receipts" / "uid-1.json"
    (tmp_path / "canary").write_text("untouched")
    receipt.unlink()
    receipt.symlink_to(tmp_path / "canary")

    assert first.run(wish(first))[0] == 0
    assert not receipt.is_symlink()
    assert (tmp_path / "canary").read_text() == "untouched"
    assert first.remove()[0] == 0
    assert first.published() == {}
