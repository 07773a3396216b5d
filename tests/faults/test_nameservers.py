"""P24: a DNS server that misbehaves, with the worker's real resolver."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.faultserver import CLOSE, Act, FaultServer, Request, answer
from support.faultserver import serve as serve_files
from support.nameserver import GARBAGE, NXDOMAIN, SERVFAIL, SILENCE, NameServer, Reply, serve
from support.worker import MIB, Worker

DATA = random.Random(8).randbytes(12 * MIB)  # noqa: S311 - content
HERE, NOBODY, INSIDE = "127.0.0.1", "127.0.0.9", "10.1.2.3"
IMPATIENT = "timeout:1 attempts:1"


@pytest.fixture
def names() -> Iterator[NameServer]:
    if os.geteuid() != 0:
        pytest.skip("another resolv.conf needs root")
    with serve() as running:
        yield running


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """Answers well, one request to a connection, so that each asks for the name anew."""
    with serve_files() as running:

        def behave(request: Request) -> Iterator[Act]:
            yield from answer(DATA, request, headers="Connection: close\r\n")
            yield CLOSE

        running.behave = behave
        yield running


@pytest.fixture
def worker(tmp_path: Path, names: NameServer) -> Worker:
    one = Worker(tmp_path / "volume")
    names.used_by(one)
    return one


def install(worker: Worker, server: FaultServer) -> tuple[int, str, str]:
    port = server.url.rpartition(":")[2]
    file: dict[str, Any] = {
        "path": "m.gguf",
        "url": f"http://models.test:{port}/m.gguf",
        "sha256": hashlib.sha256(DATA).hexdigest(),
    }
    code, line = worker.run(worker.install(file))
    return code, line.reason.value, line.message


def is_published(worker: Worker) -> bool:
    return worker.published() == {"m.gguf": hashlib.sha256(DATA).hexdigest()}


@pytest.mark.parametrize("reply", [NXDOMAIN, SERVFAIL, SILENCE, GARBAGE])
def test_p24_a_name_that_does_not_resolve_may_resolve_later(
    worker: Worker, server: FaultServer, names: NameServer, reply: Reply
) -> None:
    names.used_by(worker, IMPATIENT)
    names.reply = lambda _: reply

    code, reason, message = install(worker, server)

    assert (code, reason) == (10, "Unreachable")
    assert "host models.test does not resolve" in message
    assert names.asked
    assert server.requests == []

    names.reply = lambda _: (HERE,)
    assert install(worker, server)[0] == 0
    assert is_published(worker)


@pytest.mark.parametrize("reply", [NXDOMAIN, SERVFAIL, (NOBODY,)])
def test_p24_a_name_that_is_lost_on_the_way_costs_no_byte(
    worker: Worker, server: FaultServer, names: NameServer, reply: Reply
) -> None:
    """The first request finds it, the next ones do not, and one worker gets past that."""
    names.used_by(worker, IMPATIENT)
    names.reply = lambda number: reply if 2 <= number <= 6 else (HERE,)

    assert install(worker, server)[0] == 0

    assert is_published(worker)
    assert len(names.asked) > 6
    assert server.sent < len(DATA) + MIB


def test_p24_a_slow_name_server_is_waited_for(
    worker: Worker, server: FaultServer, names: NameServer
) -> None:
    names.reply, names.seconds = lambda _: (HERE,), 0.5

    assert install(worker, server)[0] == 0
    assert is_published(worker)


def test_p24_of_two_addresses_the_one_that_answers_is_used(
    worker: Worker, server: FaultServer, names: NameServer
) -> None:
    names.reply = lambda _: (NOBODY, HERE)

    assert install(worker, server)[0] == 0
    assert is_published(worker)


def test_p24_t29_an_address_that_turns_inside_is_refused(
    worker: Worker, server: FaultServer, names: NameServer
) -> None:
    names.reply = lambda number: (HERE,) if number == 1 else (INSIDE,)

    code, reason, message = install(worker, server)

    assert (code, reason) == (22, "TargetNotAllowed")
    assert INSIDE in message
    assert worker.published() == {}
    assert len(server.requests) == 1
