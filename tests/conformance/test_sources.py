"""What every source must do, against a real server of its kind: the table of docs/sources.md."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.conformance import Kind, kind_of, sha256
from support.worker import MIB, Worker

DATA = random.Random(3).randbytes(40 * MIB)  # noqa: S311 - content
KINDS = [
    *("http", "huggingface", "github", "githubrelease", "oci", "modelpack", "oras", "image"),
    *("ollama", "s3", "claim"),
]


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "volume")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kind]:
    with kind_of(request.param, tmp_path, DATA) as running:
        yield running


def prepared(worker: Worker, kind: Kind, tmp_path: Path) -> Worker:
    if kind.name == "claim":
        worker.environment["MODEL_GALLERY_SOURCE"] = str(tmp_path / "claim")
    if kind.secret:
        folder = tmp_path / "secret"
        folder.mkdir(exist_ok=True)
        for key, value in kind.secret.items():
            (folder / key).write_text(value)
        worker.environment["MODEL_GALLERY_CREDENTIALS"] = str(folder)
    return worker


def test_it_is_fetched_pinned_and_verified(worker: Worker, kind: Kind, tmp_path: Path) -> None:
    code, line = prepared(worker, kind, tmp_path).run(worker.install(**kind.wish))

    assert (code, line.message) == (0, "")
    assert worker.published() == {kind.path: sha256(DATA)}
    assert bool(line.revision) == kind.pinned
    assert line.verified == kind.promised


def test_fetching_again_moves_no_bytes(worker: Worker, kind: Kind, tmp_path: Path) -> None:
    prepared(worker, kind, tmp_path).run(worker.install(**kind.wish))
    if kind.promised:
        kind.stored.write_bytes(b"x" * kind.stored.stat().st_size)

    code, line = worker.run(worker.install(**kind.wish))

    assert code == 0
    assert line.fetched_bytes == (0 if kind.promised else len(DATA))
    assert worker.published() == {kind.path: sha256(DATA)}


def test_wrong_bytes_of_the_right_size(worker: Worker, kind: Kind, tmp_path: Path) -> None:
    if not kind.promised:
        pytest.skip(f"{kind.name} promises no digest")
    good = kind.stored.read_bytes()
    kind.stored.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))

    code, line = prepared(worker, kind, tmp_path).run(worker.install(**kind.wish))

    assert (code, line.reason) == (30, "ChecksumMismatch")
    assert worker.published() == {}


def test_a_kill_is_resumed(worker: Worker, kind: Kind, tmp_path: Path) -> None:
    wish = worker.install(**kind.wish, bandwidthBytes=48 * MIB)
    process = prepared(worker, kind, tmp_path).start(wish)
    time.sleep(0.9)
    process.kill()
    process.communicate()

    code, _ = worker.run(worker.install(**kind.wish))

    assert code == 0
    assert worker.published() == {kind.path: sha256(DATA)}


def test_what_is_not_there(worker: Worker, kind: Kind, tmp_path: Path) -> None:
    code, line = prepared(worker, kind, tmp_path).run(worker.install(**kind.missing))

    assert (code, line.reason) == (20, "NotFound")
    assert line.message


def test_wrong_credentials(worker: Worker, tmp_path: Path) -> None:
    with kind_of("s3", tmp_path, DATA) as kind:
        kind.secret["secretAccessKey"] = "wrong"

        code, line = prepared(worker, kind, tmp_path).run(worker.install(**kind.wish))

    assert (code, line.reason) == (21, "Unauthorized")
    assert "canary" not in line.message
