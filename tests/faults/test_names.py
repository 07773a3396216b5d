"""Names that Models fight over or share, with the real worker: nothing is overwritten, nothing is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.faultserver import FaultServer, answer, serve
from support.worker import Worker

CONFLICTS = {
    "ds4flash.gguf": ("q2-imatrix", "q2-q4-imatrix", "q4"),
    "llama-cpp/mmproj/mmproj-F32.gguf": ("9b", "27b", "122b-a10b", "397b-a17b"),
    "mmproj-F16.gguf": ("gemma-4-31b-it", "ovisocr2"),
    "mmproj/mmproj-F16.gguf": ("qwen3-vl-30b-a3b-instruct", "qwen3-vl-30b-a3b-thinking"),
    "llama-cpp/mmproj/Qwen3-VL-Reranker-8B.mmproj-f16.gguf": ("8b", "2b-i1"),
}
"""The paths of LocalAI's public gallery under which entries publish different contents."""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """Every path is a file that holds its own name."""
    with serve() as one:
        one.behave = lambda request: answer(request.path.encode(), request)
        yield one


def file(server: FaultServer, path: str, content: str) -> dict[str, Any]:
    """A file whose content is told apart by a word."""
    return {
        "path": path,
        "url": f"{server.url}/{content}",
        "sha256": digest(f"/{content}".encode()),
    }


def pair(tmp_path: Path) -> tuple[Worker, Worker]:
    return Worker(tmp_path / "volume", "first"), Worker(tmp_path / "volume", "second")


def blobs(worker: Worker) -> set[str]:
    return {path.name for path in (worker.root / ".modelgallery/blobs/sha256").glob("*")}


@pytest.mark.parametrize("path", CONFLICTS)
def test_a_path_of_the_real_gallery_with_other_content_is_refused(
    server: FaultServer, tmp_path: Path, path: str
) -> None:
    """Not overwritten, not fetched, and nothing else of the second Model is published either."""
    held, *others = CONFLICTS[path]
    first = Worker(tmp_path / "volume", held)
    document = {"path": f"{held}.yaml", "content": f"name: {held}\n"}
    assert first.run(first.install(file(server, path, held), documents=[document]))[0] == 0
    before = first.everything(), first.published(), len(server.requests)

    for name in others:
        second = Worker(tmp_path / "volume", name)
        wish = second.install(
            file(server, f"{name}.gguf", "weights"),
            file(server, path, name),
            documents=[{"path": f"{name}.yaml", "content": f"name: {name}\n"}],
        )
        code, result = second.run(wish)

        assert (code, result.reason) == (43, "PathConflict")
        assert f"Model ns/{held} " in result.message
        assert repr(path) in result.message
        assert (first.everything(), first.published()) == before[:2]
        # A size is asked for by a range of one byte.
        assert {request.span for request in server.requests[before[2] :]} <= {(0, 1)}


def test_the_loser_of_a_conflict_goes_without_taking_the_winner_along(
    server: FaultServer, tmp_path: Path
) -> None:
    first, second = pair(tmp_path)
    first.run(first.install(file(server, "mmproj-F16.gguf", "gemma")))
    second.run(second.install(file(server, "mmproj-F16.gguf", "ovis")))
    before = first.everything()

    assert second.remove()[0] == 0

    assert first.everything() == before


@pytest.mark.parametrize(("held", "path"), [("set", "set/x"), ("set/x", "set"), ("a/b", "a/b/c/d")])
def test_a_folder_in_the_place_of_a_file_names_the_other_model(
    server: FaultServer, tmp_path: Path, held: str, path: str
) -> None:
    first, second = pair(tmp_path)
    first.run(first.install(file(server, held, "one")))
    before = first.everything()

    code, result = second.run(second.install(file(server, path, "two")))

    assert (code, result.reason) == (43, "PathConflict")
    assert f"Model ns/{first.uid} " in result.message
    assert f"{path!r} would be " in result.message
    assert f"publishes {held!r}" in result.message
    assert first.everything() == before


def test_the_loser_of_a_conflict_wins_once_the_first_is_gone(
    server: FaultServer, tmp_path: Path
) -> None:
    first, second = pair(tmp_path)
    wish = second.install(file(server, "mmproj-F16.gguf", "ovis"))
    first.run(first.install(file(server, "mmproj-F16.gguf", "gemma")))
    assert second.run(wish)[1].reason == "PathConflict"
    first.remove()

    assert second.run(wish)[0] == 0
    assert second.published() == {"mmproj-F16.gguf": digest(b"/ovis")}


@pytest.mark.parametrize("path", ["a/shared.gguf", "b/other.gguf"], ids=["same path", "other path"])
@pytest.mark.parametrize("leaver", [0, 1], ids=["the first goes", "the second goes"])
def test_who_stays_stays_whole(server: FaultServer, tmp_path: Path, path: str, leaver: int) -> None:
    """One content, two Models: it lies on the volume once and goes with the last of them."""
    workers = pair(tmp_path)
    for worker, place in zip(workers, ("a/shared.gguf", path), strict=True):
        wish = worker.install(
            file(server, place, "shared"),
            file(server, f"{worker.uid}.gguf", worker.uid),
            documents=[{"path": f"{worker.uid}.yaml", "content": f"name: {worker.uid}\n"}],
        )
        assert worker.run(wish)[0] == 0
    assert blobs(workers[0]) == {digest(b"/shared"), digest(b"/first"), digest(b"/second")}
    goes, stays = workers[leaver], workers[1 - leaver]

    assert goes.remove()[0] == 0

    owner = {"namespace": "ns", "name": stays.uid, "uid": stays.uid}
    code, result = stays.run({"kind": "verify", "owner": owner})
    assert (code, result.problems_total) == (0, 0)
    assert stays.published() == {
        ("a/shared.gguf", path)[1 - leaver]: digest(b"/shared"),
        f"{stays.uid}.gguf": digest(f"/{stays.uid}".encode()),
        f"{stays.uid}.yaml": digest(f"name: {stays.uid}\n".encode()),
    }
    assert blobs(stays) == {digest(b"/shared"), digest(f"/{stays.uid}".encode())}
    assert stays.remove()[0] == 0
    assert stays.everything() == []


def test_who_moves_on_leaves_the_shared_content_to_the_other(
    server: FaultServer, tmp_path: Path
) -> None:
    """An update is a removal of what the new plan no longer has."""
    first, second = pair(tmp_path)
    for worker in (first, second):
        worker.run(worker.install(file(server, "shared.gguf", "shared")))

    code, _ = first.run(first.install(file(server, "own.gguf", "newer")))

    assert code == 0
    assert second.published() == {
        "shared.gguf": digest(b"/shared"),
        "own.gguf": digest(b"/newer"),
    }


def test_who_shares_a_path_cannot_change_it_for_the_other(
    server: FaultServer, tmp_path: Path
) -> None:
    first, second = pair(tmp_path)
    for worker in (first, second):
        worker.run(worker.install(file(server, "shared.gguf", "shared")))

    code, result = first.run(first.install(file(server, "shared.gguf", "newer")))

    assert (code, result.reason) == (43, "PathConflict")
    assert "ns/second" in result.message
    assert second.published() == {"shared.gguf": digest(b"/shared")}


@pytest.mark.parametrize(("before", "after"), [("q/1", "q"), ("q", "q/1"), ("a/b/c", "a")])
def test_a_file_that_becomes_its_own_folder_is_refused_by_name(
    server: FaultServer, tmp_path: Path, before: str, after: str
) -> None:
    """And the Model stays as it was; another path is taken."""
    worker = Worker(tmp_path / "volume")
    assert worker.run(worker.install(file(server, before, "one")))[0] == 0

    code, result = worker.run(worker.install(file(server, after, "one")))

    assert (code, result.reason) == (43, "PathConflict")
    assert f"{after!r} cannot come while the Model itself publishes {before!r}" in result.message
    assert worker.published() == {before: digest(b"/one")}
    assert worker.run(worker.install(file(server, "r", "one")))[0] == 0
    assert worker.published() == {"r": digest(b"/one")}
