"""What a GitHub, and the stores behind it, do wrong: nothing wrong is published, no token goes astray."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_gallery.protocol import operation
from model_gallery.protocol.report import ResultLine
from support import scripted
from support.github import API, COMMIT, GitHub, as_json, blob_id, pointer, sha256
from support.scripted import SECRET, Answer, Asked
from support.worker import MIB, Worker

DATA = random.Random(8).randbytes(12 * MIB)  # noqa: S311 - content
CONFIG = b'{"a": 1}'


@pytest.fixture
def hub() -> Iterator[GitHub]:
    with scripted.serve() as server, scripted.serve() as store:
        made = GitHub(server, store, files={"config.json": CONFIG})
        made.add_large("model.dat", DATA)
        made.add_asset(4, "model.dat", DATA)
        yield made


def wish(worker: Worker, hub: GitHub, *, release: bool = False, **more: Any) -> dict[str, Any]:
    kind = "GitHubRelease" if release else "GitHub"
    return worker.install(repository={"kind": kind, "url": hub.url, "folder": "m", **more})


def install(worker: Worker, hub: GitHub, **more: Any) -> tuple[int, ResultLine]:
    return worker.run(wish(worker, hub, **more))


WHOLE = {"m/config.json": sha256(CONFIG), "m/model.dat": sha256(DATA)}


def test_files_and_what_lfs_keeps_of_them_are_published(worker: Worker, hub: GitHub) -> None:
    code, line = install(worker, hub)

    assert (code, line.message) == (0, "")
    assert worker.published() == WHOLE
    assert (line.revision, line.verified) == (COMMIT, True)
    # Many connections, one address: it is asked for anew only where a store refuses it.
    assert len(hub.batches) == 1


def test_an_address_that_expires_on_the_way_is_asked_for_anew(worker: Worker, hub: GitHub) -> None:
    """Several connections ask for ranges, and after the first one all are refused."""
    served = 0

    def store(asked: Asked) -> Answer:
        nonlocal served
        served += 1
        if served == 2:
            hub.signed = f"sig={served}"
        return hub._stored(asked)

    hub.store.routes["/*"] = store
    code, line = install(worker, hub)

    assert (code, line.message) == (0, "")
    assert worker.published() == WHOLE
    assert 2 <= len(hub.batches) <= 4


def test_an_address_that_is_always_refused_ends(worker: Worker, hub: GitHub) -> None:
    hub.store.routes["/*"] = Answer(status=403)

    code, line = install(worker, hub)

    assert (code, line.reason.value) == (21, "Unauthorized")
    assert len(hub.batches) < 10


def test_a_tag_that_moves_on_the_way_changes_nothing(worker: Worker, hub: GitHub) -> None:
    """After the tag was read it names another commit, with another tree."""
    asked_before = 0

    def commit(_: Asked) -> Answer:
        nonlocal asked_before
        asked_before += 1
        return as_json({"sha": COMMIT if asked_before == 1 else "e" * 40})

    hub.server.routes[f"{API}/commits/v1"] = commit

    code, line = install(worker, hub, revision="v1")

    assert (code, line.revision) == (0, COMMIT)
    assert worker.published() == WHOLE
    assert asked_before == 1
    assert not any("e" * 40 in one.path for one in hub.server.asked)


@pytest.mark.parametrize("token", [True, False])
def test_an_asset_that_is_replaced_on_the_way_is_not_taken(
    worker: Worker, hub: GitHub, tmp_path: Path, *, token: bool
) -> None:
    """By its id it is gone, by its name it has another digest."""
    if token:
        give_token(worker, tmp_path)

    def release(_: Asked) -> Answer:
        answer = as_json(hub.release())
        hub.assets.clear()
        hub.add_asset(5, "model.dat", DATA[::-1])
        return answer

    hub.server.routes[f"{API}/releases/latest"] = release

    code, line = install(worker, hub, release=True)

    assert (code, line.reason.value) == ((20, "NotFound") if token else (30, "ChecksumMismatch"))
    assert worker.published() == {}
    hub.server.routes[f"{API}/releases/latest"] = lambda _: as_json(hub.release())
    assert install(worker, hub, release=True)[0] == 0
    assert worker.published() == {"m/model.dat": sha256(DATA[::-1])}


def give_token(worker: Worker, tmp_path: Path) -> None:
    folder = tmp_path / "secret"
    folder.mkdir()
    (folder / "token").write_text(SECRET)
    (folder / "allowed-hosts").write_text("127.0.0.1")
    worker.environment[operation.ENV_CREDENTIALS] = str(folder)


@pytest.mark.parametrize("release", [True, False])
def test_the_token_does_not_go_to_the_store(
    worker: Worker, hub: GitHub, tmp_path: Path, *, release: bool
) -> None:
    give_token(worker, tmp_path)
    process = worker.start(wish(worker, hub, release=release), keep_output=True)
    told = b"".join(process.communicate(timeout=60))

    assert process.returncode == 0
    assert hub.server.seen(SECRET)
    assert hub.store.asked
    assert hub.store.seen("uthorization") == hub.store.seen(SECRET) == []
    assert SECRET.encode() not in told


@pytest.mark.parametrize("place", [f"{API}/commits/HEAD", f"{API}/git/blobs/{blob_id(CONFIG)}"])
def test_a_limit_is_told_with_its_end(worker: Worker, hub: GitHub, place: str) -> None:
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 900)}
    hub.server.routes[place] = Answer(status=403, headers=reset)

    code, line = install(worker, hub)

    assert (code, line.reason.value) == (12, "RateLimited")
    assert 800 < (line.retry_after_seconds or 0) <= 900
    assert worker.published() == {}


def test_wrong_bytes_of_the_right_size_are_found_by_the_git_id(worker: Worker, hub: GitHub) -> None:
    hub.server.routes[f"{API}/git/blobs/{blob_id(CONFIG)}"] = Answer(b'{"a": 2}')

    code, line = install(worker, hub)

    assert (code, line.reason.value) == (30, "ChecksumMismatch")
    assert blob_id(CONFIG) in line.message
    assert worker.published() == {}


def test_a_pointer_without_attributes_is_no_model(worker: Worker, hub: GitHub) -> None:
    """P33: git hands out the pointer as the file then; it is published in no case."""
    del hub.files[".gitattributes"]

    code, line = install(worker, hub)

    assert (code, line.reason.value) == (33, "InvalidFormat")
    assert "git-LFS pointer" in line.message
    assert worker.published() == {}


def test_a_tree_that_is_cut_gives_all_files_or_none(worker: Worker, hub: GitHub) -> None:
    whole = hub.listing()
    tree = f"{API}/git/trees/{COMMIT}"
    hub.server.routes[f"{tree}?recursive=1"] = as_json({"tree": [], "truncated": True})
    hub.server.routes[tree] = as_json({**whole, "truncated": True})
    assert install(worker, hub)[1].reason.value == "SourceInvalid"
    assert worker.published() == {}

    hub.server.routes[tree] = as_json(whole)
    assert install(worker, hub)[0] == 0
    assert worker.published() == WHOLE


@pytest.mark.parametrize(
    "name", ["../../evil", "/evil", "a/../../evil", ".modelgallery/x", "a\\..\\b"]
)
def test_names_that_leave_the_folder_are_refused(worker: Worker, hub: GitHub, name: str) -> None:
    hub.files[name] = pointer(DATA)

    code, line = install(worker, hub)

    assert (code, line.reason.value) == (34, "UnsafePath")
    assert worker.published() == {}
    assert not (worker.root.parent / "evil").exists()


def test_a_store_inside_is_not_asked(worker: Worker, hub: GitHub) -> None:
    """T26: the address that LFS tells is judged as any other."""
    hub.store.url = "http://[::1]:1"

    code, line = install(worker, hub)

    assert (code, line.reason.value) == (22, "TargetNotAllowed")
    assert worker.published() == {}
