"""P22: servers that send a byte now and then, so that no wait for a single byte is ever too long."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.errors import TransientError
from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.transport import client
from model_gallery.transport.client import HttpClient
from support.faultserver import Act, FaultServer, Request, serve

POLICY = NetworkPolicy(allowed_networks=("127.0.0.0/8",), stall_seconds=1.0)
HEADS = {
    "status line": (b"", b"HTTP/1.1 200 OK and so on, for as long as anybody listens"),
    "one header": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 60),
    "many headers": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 20),
}
BODIES = {
    "of a length": b"Content-Length: 1000\r\n\r\n",
    "in chunks": b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n",
    "to the end": b"Connection: close\r\n\r\n",
}


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serve() as running:
        yield running


def dripping(first: bytes, rest: bytes) -> Iterator[Act]:
    yield first
    for byte in rest:
        yield bytes([byte])
        yield 0.1


@pytest.mark.parametrize("where", HEADS)
def test_p22_a_head_that_drips(server: FaultServer, where: str) -> None:
    server.behave = lambda _: dripping(*HEADS[where])
    began = time.monotonic()

    with pytest.raises(TransientError) as caught, HttpClient(POLICY).open(server.url):
        pass

    assert caught.value.reason is Reason.INTERRUPTED
    assert time.monotonic() - began < 4


def test_p22_a_handshake_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS reads many times before the first byte of an answer."""
    monkeypatch.setattr(client, "_CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_greet_slowly, args=(listening,), daemon=True).start()
        began = time.monotonic()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"

        with pytest.raises(TransientError) as caught, HttpClient(POLICY).open(url):
            pass

    assert caught.value.reason in {Reason.UNREACHABLE, Reason.INTERRUPTED}
    assert time.monotonic() - began < 4


def _greet_slowly(listening: socket.socket) -> None:
    with listening.accept()[0] as made, contextlib.suppress(OSError):
        for byte in b"\x16\x03\x03\x20\x00\x02\x00\x1f\xfc\x03\x03" + bytes(100):
            made.send(bytes([byte]))
            time.sleep(0.1)


@pytest.mark.parametrize("how", BODIES)
def test_p22_a_document_that_drips(server: FaultServer, how: str) -> None:
    """However its end is told: a part of it is never taken for the whole."""
    server.behave = lambda _: dripping(b"HTTP/1.1 200 OK\r\n" + BODIES[how], b"x" * 100)
    began = time.monotonic()

    with pytest.raises(TransientError) as caught:
        HttpClient(POLICY).fetch(server.url, max_bytes=10_000, deadline_seconds=1.0)

    assert caught.value.reason is Reason.INTERRUPTED
    assert time.monotonic() - began < 4


def test_heads_are_read_as_the_standard_library_does(server: FaultServer) -> None:
    """In pieces, with several answers on one connection, and with what comes before the last one."""

    def behave(request: Request) -> Iterator[Act]:
        yield b"HTTP/1.1 100 Continue\r\n\r\n"
        for piece in (
            b"HTTP/1.1 2",
            b"00 OK\r",
            b'\nETag: "a',
            b'"\r\nContent-Le',
            b"ngth: 1\r\n\r",
        ):
            yield piece
            yield 0.02
        yield f"\n{request.number}".encode()

    server.behave = behave
    asking = HttpClient(POLICY)

    found = [asking.fetch(server.url, max_bytes=10) for _ in range(3)]

    assert [(one.body, one.etag) for one in found] == [(b"1", '"a"'), (b"2", '"a"'), (b"3", '"a"')]


@pytest.mark.parametrize(
    "head",
    [b"", b"HTTP/1.1 ", b"nonsense\r\n\r\n", b"A" * 70_000, b"HTTP/1.1 200 O" + b"K" * 70_000],
)
def test_heads_that_are_none(server: FaultServer, head: bytes) -> None:
    def behave(_: Request) -> Iterator[Act]:
        yield head
        yield "close"

    server.behave = behave

    with pytest.raises(TransientError), HttpClient(POLICY).open(server.url):
        pass
