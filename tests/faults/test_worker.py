"""The worker as a process, against a real HTTP server that misbehaves, on a real folder."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_gallery.protocol.report import parse_line
from support.worker import MIB, REPOSITORY, Origin, Worker

RANGE = 16 * MIB
"""What one connection may lose: what it had not marked, and what was in its socket's buffers."""


@pytest.fixture(scope="module")
def server() -> Iterator[Origin]:
    port = 18000 + os.getpid() % 2000
    script = REPOSITORY / "hack" / "origin" / "server.py"
    process = subprocess.Popen([sys.executable, script, "--port", str(port)])
    origin = Origin(port)
    for _ in range(100):
        try:
            origin.call("/-/stats")
            break
        except OSError:
            time.sleep(0.05)
    yield origin
    process.terminate()
    process.wait()


@pytest.fixture
def origin(server: Origin) -> Origin:
    server.call("/-/reset", {})
    return server


PATH = "/gen/1Mi/1/model.gguf"


def wanted(origin: Origin, path: str = PATH, name: str = "a/model.gguf", **more: Any) -> Any:
    return {"path": name, "url": origin.url + path, "sha256": origin.sha256(path), **more}


def wait_for_bytes(origin: Origin, path: str, count: int) -> None:
    deadline = time.monotonic() + 30
    while origin.bytes(path) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_install_then_remove_leaves_the_volume_as_it_was(origin: Origin, worker: Worker) -> None:
    file = wanted(origin)
    wish = worker.install(file, documents=[{"path": "m.yaml", "content": "name: m\n"}])

    code, result = worker.run(wish)

    assert (code, result.verified, result.files_total) == (0, True, 1)
    assert worker.published().keys() == {"a/model.gguf", "m.yaml"}
    assert worker.published()["a/model.gguf"] == file["sha256"]
    assert (worker.root / "a" / "model.gguf").stat().st_mode & 0o777 == 0o644

    code, _ = worker.remove()

    assert code == 0
    assert worker.everything() == []


def test_installing_again_asks_the_origin_for_nothing(origin: Origin, worker: Worker) -> None:
    wish = worker.install(wanted(origin))
    worker.run(wish)
    origin.call("/-/reset", {})

    code, result = worker.run(wish)

    assert (code, result.fetched_bytes) == (0, 0)
    assert origin.requests(PATH) == 0


def test_wrong_bytes_of_the_right_size_are_never_published(origin: Origin, worker: Worker) -> None:
    """P29: the two obvious Python downloaders accept these."""
    wish = worker.install(wanted(origin))
    origin.faults(PATH, corrupt=True)
    seen: list[bool] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.001):
            seen.append((worker.root / "a" / "model.gguf").exists())

    watcher = threading.Thread(target=look)
    watcher.start()
    code, result = worker.run(wish)
    stop.set()
    watcher.join()

    assert (code, result.reason) == (30, "ChecksumMismatch")
    assert wish["files"][0]["sha256"] in result.message
    assert not any(seen)
    assert worker.published() == {}
    assert origin.bytes(PATH) <= 2 * MIB + 2


def test_a_killed_worker_loses_at_most_one_stretch(origin: Origin, worker: Worker) -> None:
    """P01: kill -9 at half of the file; the next worker goes on from there."""
    path = "/gen/64Mi/7/big.gguf"
    file = wanted(origin, path)
    origin.faults(path, rate=48 * MIB)
    process = worker.start(worker.install(file))
    wait_for_bytes(origin, path, 32 * MIB)
    process.kill()
    process.communicate()
    assert worker.published() == {}

    code, _ = worker.run(worker.install(file))

    assert code == 0
    assert worker.published() == {"a/model.gguf": file["sha256"]}
    assert origin.bytes(path) <= 64 * MIB + origin.connections(path) * RANGE


def test_told_to_stop_it_ends_at_once_and_keeps_what_came(origin: Origin, worker: Worker) -> None:
    path = "/gen/64Mi/7/big.gguf"
    file = wanted(origin, path)
    origin.faults(path, rate=24 * MIB)
    process = worker.start(worker.install(file))
    wait_for_bytes(origin, path, 24 * MIB)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)

    assert process.returncode == 14
    assert parse_line(worker.log.read_text()).reason == "Terminated"

    origin.faults(path)
    code, _ = worker.run(worker.install(file))

    assert code == 0
    assert origin.bytes(path) <= 64 * MIB + origin.connections(path) * RANGE


def test_a_connection_cut_midway_is_taken_up_again(origin: Origin, worker: Worker) -> None:
    path = "/gen/16Mi/3/cut.gguf"
    file = wanted(origin, path)
    origin.faults(path, cutAfter=5 * MIB)

    code, _ = worker.run(worker.install(file))

    assert code == 0
    assert origin.bytes(path) <= 17 * MIB


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [(404, 20, "NotFound"), (410, 20, "NotFound"), (401, 21, "Unauthorized")],
)
def test_a_refusal_is_told_at_once(
    origin: Origin, worker: Worker, status: int, code: int, reason: str
) -> None:
    wish = worker.install(wanted(origin))
    origin.faults(PATH, status=status)

    found, result = worker.run(wish)

    assert (found, result.reason) == (code, reason)
    assert origin.requests(PATH) == 1
    assert "?" not in result.message


def test_an_inside_address_is_refused(origin: Origin, worker: Worker) -> None:
    wish = worker.install(wanted(origin), network={"allowedNetworks": []})

    code, result = worker.run(wish)

    assert (code, result.reason) == (22, "TargetNotAllowed")
    assert origin.requests(PATH) == 0


def test_content_without_a_promise_is_recorded(origin: Origin, worker: Worker) -> None:
    file = wanted(origin)
    promised = file.pop("sha256")

    code, result = worker.run(worker.install(file))

    assert (code, result.verified) == (0, False)
    assert result.files[0].sha256 == promised


def test_two_models_share_a_content_and_the_last_takes_it_along(
    origin: Origin, tmp_path: Path
) -> None:
    first, second = Worker(tmp_path / "volume", "one"), Worker(tmp_path / "volume", "two")
    file = wanted(origin)
    first.run(first.install(file))
    origin.call("/-/reset", {})
    code, result = second.run(second.install(file))
    assert (code, result.fetched_bytes, origin.requests(PATH)) == (0, 0, 0)

    first.remove()
    assert second.published() == {"a/model.gguf": file["sha256"]}
    second.remove()
    assert second.everything() == []


def test_other_content_under_the_same_path_is_a_conflict(origin: Origin, tmp_path: Path) -> None:
    """Five pairs of the real gallery are like that; the origin of ours destroys the first."""
    first, second = Worker(tmp_path / "volume", "one"), Worker(tmp_path / "volume", "two")
    file = wanted(origin)
    first.run(first.install(file))

    code, result = second.run(second.install(wanted(origin, "/gen/1Mi/2/model.gguf")))

    assert (code, result.reason) == (43, "PathConflict")
    assert "ns/one" in result.message
    assert first.published() == {"a/model.gguf": file["sha256"]}


def test_a_loose_file_is_taken_over_or_left_alone(origin: Origin, worker: Worker) -> None:
    file = wanted(origin)
    place = worker.root / "a" / "model.gguf"
    place.parent.mkdir()
    place.write_bytes(b"somebody's")
    code, result = worker.run(worker.install(file))
    assert (code, result.reason) == (43, "PathConflict")
    assert place.read_bytes() == b"somebody's"

    with urllib.request.urlopen(file["url"], timeout=10) as answer:  # noqa: S310
        place.write_bytes(answer.read())
    origin.call("/-/reset", {})
    code, result = worker.run(worker.install(file))

    assert (code, result.fetched_bytes) == (0, 0)
    assert origin.bytes(PATH) <= 1


def test_a_changed_wish_replaces_and_cleans_up(origin: Origin, worker: Worker) -> None:
    worker.run(worker.install(wanted(origin), wanted(origin, "/gen/1Mi/9/x.bin", "x.bin")))
    newer = wanted(origin, "/gen/1Mi/5/model.gguf")

    code, _ = worker.run(worker.install(newer))

    assert code == 0
    assert worker.published() == {"a/model.gguf": newer["sha256"]}
    worker.remove()
    assert worker.everything() == []


def test_retain_leaves_the_files_and_nothing_of_ours(origin: Origin, worker: Worker) -> None:
    file = wanted(origin)
    worker.run(worker.install(file))

    worker.remove(retain=True)

    assert worker.published() == {"a/model.gguf": file["sha256"]}
    assert worker.everything() == ["a", "a/model.gguf"]


def test_a_link_in_the_place_of_a_folder_does_not_hold_a_removal_up(
    origin: Origin, worker: Worker, tmp_path: Path
) -> None:
    """Files that stay are not looked for, nor is what a killed worker may have left beside them."""
    worker.run(worker.install(wanted(origin)))
    (worker.root / "a").rename(tmp_path / "moved")
    (worker.root / "a").symlink_to(tmp_path / "moved")

    code, _ = worker.remove(retain=True)

    assert code == 0
    assert worker.everything() == ["a"]
    assert [path.name for path in (tmp_path / "moved").iterdir()] == ["model.gguf"]


def test_a_planted_link_is_not_written_through(
    origin: Origin, worker: Worker, tmp_path: Path
) -> None:
    """T13: the folder of the target is a link out of the volume."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (worker.root / "a").symlink_to(outside)

    code, result = worker.run(worker.install(wanted(origin)))

    assert (code, result.reason) == (34, "UnsafePath")
    assert list(outside.iterdir()) == []


def test_a_page_instead_of_a_model_is_named(origin: Origin, worker: Worker) -> None:
    page = b"<!DOCTYPE html><html>please log in</html>"
    request = urllib.request.Request(origin.url + "/-/upload?path=/page.gguf", page)  # noqa: S310
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    code, result = worker.run(worker.install({"path": "m.gguf", "url": origin.url + "/page.gguf"}))

    assert (code, result.reason) == (33, "InvalidFormat")
    assert "HTML page" in result.message
    assert worker.published() == {}


def test_a_file_of_no_bytes_is_a_file(origin: Origin, worker: Worker) -> None:
    request = urllib.request.Request(origin.url + "/-/upload?path=/empty", b"")  # noqa: S310
    urllib.request.urlopen(request, timeout=10).close()  # noqa: S310

    code, _ = worker.run(worker.install({"path": "empty", "url": origin.url + "/empty"}))

    assert code == 0
    assert worker.published() == {"empty": hashlib.sha256(b"").hexdigest()}
