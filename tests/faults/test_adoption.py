"""Files of the volume itself as sources, with the real worker: taken over where they lie, or linked."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from support.worker import Worker

CONTENT = b"weights" * 1000


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    """A volume with a file and a folder that somebody brought along."""
    made = Worker(tmp_path / "volume")
    for name in ("loose file.gguf", "llm/a.gguf", "llm/config.json"):
        place = made.root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(CONTENT + name.encode())
    return made


def file(path: str, uri: str = "file:///loose%20file.gguf", **more: Any) -> dict[str, Any]:
    return {"path": path, "url": uri, **more}


LOOSE = sha(CONTENT + b"loose file.gguf")


@pytest.mark.parametrize("promise", [{"sha256": LOOSE}, {}], ids=["promised", "as it is"])
def test_taken_over_where_it_lies(worker: Worker, promise: dict[str, str]) -> None:
    """Then it is the Model's: verified by its digest, and gone with it."""
    before = (worker.root / "loose file.gguf").stat().st_ino
    wish = worker.install(file("loose file.gguf", **promise))

    for _ in range(2):
        code, line = worker.run(wish)
        assert (code, line.reason, line.verified) == (0, "Succeeded", bool(promise))
        assert [(one.path, one.sha256) for one in line.files] == [("loose file.gguf", LOOSE)]
        assert line.fetched_bytes == 0
    assert (worker.root / "loose file.gguf").stat().st_ino == before
    assert worker.remove()[0] == 0
    assert "loose file.gguf" not in worker.published()


@pytest.mark.parametrize("promise", [{"sha256": LOOSE}, {}], ids=["promised", "as it is"])
def test_published_under_another_name(worker: Worker, promise: dict[str, str]) -> None:
    assert worker.run(worker.install(file("models/b.gguf", **promise)))[0] == 0

    published = worker.published()
    assert (published["models/b.gguf"], published["loose file.gguf"]) == (LOOSE, LOOSE)
    assert worker.remove()[0] == 0
    assert worker.published()["loose file.gguf"] == LOOSE


def test_what_was_taken_over_and_then_damaged_cannot_be_mended(worker: Worker) -> None:
    wish = worker.install(file("loose file.gguf"))
    assert worker.run(wish)[0] == 0
    (worker.root / "loose file.gguf").write_bytes(CONTENT)

    code, line = worker.run({**wish, "recheck": True})

    assert (code, line.reason) == (30, "ChecksumMismatch")
    assert worker.published()["loose file.gguf"] == sha(CONTENT)


REFUSED = {
    "other content where it lies": (file("loose file.gguf", sha256="b" * 64), "PathConflict"),
    "other content elsewhere": (file("b.gguf", sha256="b" * 64), "ChecksumMismatch"),
    "a folder": (file("llm", "file:///llm"), "SourceInvalid"),
    "a folder with one file": (file("x", "file:///one"), "SourceInvalid"),
    "what is not there": (file("c.gguf", "file:///c.gguf"), "NotFound"),
    "the operator's own folder": (file("c", "file:///.modelgallery/receipts"), "UnsafePath"),
    "what lies beside the volume": (file("c", "file:///../secret"), "UnsafePath"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(worker: Worker, case: str) -> None:
    (worker.root / "one").mkdir()
    (worker.root / "one/x").write_bytes(CONTENT)
    wish, reason = REFUSED[case]
    before = worker.published()

    assert worker.run(worker.install(wish))[1].reason == reason
    assert worker.published() == before
    assert not list(worker.root.glob(".modelgallery/blobs/sha256/*"))


def test_a_folder_is_taken_over_where_it_lies(worker: Worker) -> None:
    wish = {"kind": "Volume", "url": "file:///llm/", "folder": "llm"}
    before = worker.published()

    code, line = worker.run(worker.install(repository=wish))

    assert (code, line.fetched_bytes, line.files_total) == (0, 0, 2)
    assert worker.published() == before
    assert worker.remove()[0] == 0
    assert worker.published().keys() == {"loose file.gguf"}
