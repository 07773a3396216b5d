"""T76: who reads the pod's log is slow, or has stopped; nothing that is decided waits for that."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from model_gallery.protocol.report import InventoryLine, ResultLine, parse_line
from support.faultserver import Act, Request, answer, serve
from support.worker import MIB, Worker

DATA = bytes(range(256)) * (16 * MIB // 256)
PIPE_BYTES = 4096
SCAN = {"kind": "scan", "owner": {"namespace": "ns", "name": "g", "uid": "uid-g"}}


@contextlib.contextmanager
def unread(worker: Worker, wish: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a worker whose log takes no byte from the beginning."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.write(writer, b"\n" * PIPE_BYTES)
    try:
        process = worker.start(wish, output=writer)
        yield process
        process.wait()
    finally:
        os.close(writer)
        os.close(reader)


def wish(worker: Worker, url: str) -> dict[str, Any]:
    digest = hashlib.sha256(DATA).hexdigest()
    return worker.install({"path": "m.dat", "url": f"{url}/m.dat", "sha256": digest})


def told(worker: Worker) -> ResultLine:
    line = parse_line(worker.log.read_text())
    assert isinstance(line, ResultLine)
    return line


def test_t76_a_log_that_nobody_reads_costs_lines_and_not_the_transfer(worker: Worker) -> None:
    with serve() as server:
        server.behave = lambda request: answer(DATA, request)
        with unread(worker, wish(worker, server.url)) as process:
            assert process.wait(60) == 0

    assert worker.published() == {"m.dat": hashlib.sha256(DATA).hexdigest()}
    assert told(worker).fetched_bytes == len(DATA)


def test_t76_a_log_that_nobody_reads_does_not_hold_up_the_end(worker: Worker) -> None:
    def hang(request: Request) -> Iterator[Act]:
        head, body = answer(DATA, request)
        yield head
        yield body[:MIB]
        yield 60.0

    with serve() as server:
        server.behave = hang
        with unread(worker, wish(worker, server.url)) as process:
            while server.sent < MIB:
                time.sleep(0.02)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 14

    assert told(worker).reason == "Terminated"


def test_t76_a_bug_is_told_though_nobody_reads_the_log(worker: Worker) -> None:
    worker.environment["MODEL_GALLERY_OPERATION_FILE"] = "/nonexistent"
    with unread(worker, {}) as process:
        assert process.wait(30) == 60

    assert told(worker).reason == "InternalError"


def test_t76_a_slow_reader_loses_no_line_of_an_inventory(worker: Worker) -> None:
    for number in range(8000):
        (worker.root / f"{number}.gguf").touch()
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    process = worker.start(SCAN, output=writer)
    os.close(writer)
    found, result = 0, None
    with os.fdopen(reader, "rb", buffering=PIPE_BYTES) as lines:
        for text in lines:
            time.sleep(0.01)
            line = parse_line(text.decode())
            found += len(line.loose) if isinstance(line, InventoryLine) else 0
            result = line

    assert process.wait(10) == 0
    assert found == 8000
    assert isinstance(result, ResultLine)


def test_t76_a_scan_that_nobody_hears_has_not_succeeded(worker: Worker) -> None:
    """What was not told would count as gone, though the result came through in the end."""
    (worker.root / "a.gguf").touch()
    with unread(worker, SCAN) as process:
        assert process.wait(60) == 13

    assert told(worker).reason == "Interrupted"
