"""Many files, files beyond 32 bits, sizes that are told wrongly, and volumes that hash slowly."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_gallery.sources.base import RemoteFile
from model_gallery.storage import layout
from model_gallery.storage.staging import StagedFile
from model_gallery.storage.volume import Volume
from model_gallery.worker.transfer import FileTransfer
from support.faultserver import Act, FaultServer, Request, answer
from support.github import blob_id
from support.worker import MIB, Worker

DATA = bytes(range(256)) * (24 * MIB // 256)
GIB = 1024 * MIB
COMMIT = "c" * 40
MANY = 10_000


@pytest.mark.timeout(600)
def test_p34_ten_thousand_files_in_a_repository(
    worker: Worker, server: FaultServer, tmp_path: Path
) -> None:
    """One request for each; the log and the result stay small, and so does the worker."""
    body = b"small"
    entry = {"type": "file", "size": len(body), "oid": blob_id(body)}
    listing = json.dumps([{**entry, "path": f"d{n % 100}/{n}.txt"} for n in range(MANY)]).encode()

    def behave(request: Request) -> Iterator[Act]:
        if "/revision/" in request.path:
            yield from answer(f'{{"sha": "{COMMIT}"}}'.encode(), request)
        elif "/tree/" in request.path:
            yield from answer(listing, request)
        else:
            yield from answer(body, request)

    server.behave = behave
    repository = {"kind": "HuggingFace", "url": f"{server.url}/me/many", "folder": "m"}
    log = tmp_path / "log"

    peak, line = worker.measured(worker.install(repository=repository), log, seconds=540)

    assert (line.reason, line.files_total) == ("Succeeded", MANY)
    assert sum(1 for path in worker.root.rglob("*.txt")) == MANY
    assert len(server.requests) < MANY + 10
    assert peak < 200 * MIB
    assert log.stat().st_size < MIB
    assert worker.log.stat().st_size <= 4096


def test_p35_a_resume_beyond_32_bits(worker: Worker, server: FaultServer) -> None:
    """Five GiB, all but the end of which an earlier worker has brought: holes, which cost no room."""
    size, missing = 5 * GIB, 24 * MIB

    def behave(request: Request) -> Iterator[Act]:
        start, end = request.span or (0, size)
        place = f"Content-Range: bytes {start}-{(end or size) - 1}/{size}\r\n"
        length = f"Content-Length: {(end or size) - start}\r\n"
        yield f'HTTP/1.1 206 X\r\n{length}ETag: "one"\r\n{place}\r\n'.encode()
        yield bytes((end or size) - start)

    server.behave = behave
    digest = hashlib.sha256()
    for _ in range(size // (64 * MIB)):
        digest.update(bytes(64 * MIB))
    sha256, url = digest.hexdigest(), f"{server.url}/m.dat"
    wish = worker.install({"path": "m.dat", "url": url, "sha256": sha256})
    remote = RemoteFile("m.dat", url, size, sha256, validator='"one"')
    volume = Volume(worker.root)
    folder = layout.staging(worker.uid, wish["planDigest"])
    staged = StagedFile.begin(volume, folder, 0, FileTransfer(0, "m.dat", remote).identity())
    staged.write_at(size - missing - 1, memoryview(b"\0"))
    staged.mark(0, size - missing)
    staged.close()
    volume.close()

    code, line = worker.run(wish)

    assert (code, line.size_bytes, line.message) == (0, size, "")
    starts = [one.span[0] for one in server.requests if one.span and one.span != (0, 1)]
    assert min(starts) >= size - missing
    assert server.sent < missing + MIB


def test_t74_the_size_is_that_of_the_last_answer(worker: Worker, server: FaultServer) -> None:
    """What redirects has a body of its own."""

    def behave(request: Request) -> Iterator[Act]:
        if request.path == "/m.dat":
            head = b"HTTP/1.1 302 X\r\nLocation: /store\r\nContent-Length: 7\r\n\r\n"
            yield head + b"go away"
        else:
            yield from answer(DATA, request)

    server.behave = behave

    code, line = worker.run(worker.install({"path": "m.dat", "url": f"{server.url}/m.dat"}))

    assert (code, line.size_bytes) == (0, len(DATA))
    assert worker.published() == {"m.dat": hashlib.sha256(DATA).hexdigest()}


def test_t69_a_file_that_was_cut_is_not_trusted(worker: Worker, server: FaultServer) -> None:
    """It lies under the final name and no receipt names it: it is nobody's to overwrite, and no model."""
    server.behave = lambda request: answer(DATA, request)
    place = worker.root / "m.dat"
    place.write_bytes(DATA[: 5 * MIB])
    file = {"path": "m.dat", "url": f"{server.url}/m.dat"}

    for promise in ({}, {"sha256": hashlib.sha256(DATA).hexdigest()}):
        code, line = worker.run(worker.install({**file, **promise}))
        assert (code, line.reason) == (43, "PathConflict")
        assert place.read_bytes() == DATA[: 5 * MIB]
    place.unlink()

    assert worker.run(worker.install(file))[0] == 0
    assert worker.published() == {"m.dat": hashlib.sha256(DATA).hexdigest()}


def test_t75_hashing_what_is_there_may_take_longer_than_a_stall(
    worker: Worker, server: FaultServer
) -> None:
    """What a resumed worker reads and hashes first does not count against the server."""

    def half(request: Request) -> Iterator[Act]:
        head, body = answer(DATA, request)
        yield head
        yield body[: 3 * MIB] if request.number > 1 else body
        yield 60.0 if request.number > 1 else 0.0

    server.behave = half
    wish = worker.install(
        {"path": "m.dat", "url": f"{server.url}/m.dat", "sha256": hashlib.sha256(DATA).hexdigest()},
        network={"allowedNetworks": ["127.0.0.0/8"], "stallSeconds": 1},
    )
    process = worker.start(wish)
    while server.sent < 6 * MIB:
        time.sleep(0.02)
    time.sleep(0.3)
    process.terminate()
    process.communicate()
    server.behave, server.sent = (lambda request: answer(DATA, request)), 0
    worker.module = "support.slowhash"
    began = time.monotonic()

    assert worker.run(wish)[0] == 0
    assert time.monotonic() - began > 2.5
    assert server.sent < len(DATA) - 3 * MIB
    assert worker.published() == {"m.dat": hashlib.sha256(DATA).hexdigest()}
