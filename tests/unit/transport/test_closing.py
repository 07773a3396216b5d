"""A client that is closed lets go of whoever waits in another thread."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model_gallery.errors import GalleryError, TransientError
from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.transport.client import HttpClient
from support.faultserver import Act, Request, answer, serve
from support.tls import context
from support.worker import MIB

BEGINNINGS = {
    "/body": "Content-Length: 100\r\n\r\n",
    "/last": "Content-Length: 100\r\nConnection: close\r\n\r\n",
    "/open": "Connection: close\r\n\r\n",
}


@pytest.fixture
def mute() -> Iterator[tuple[str, threading.Event]]:
    """A server that takes connections and answers only the beginning; its URL, and when it was asked."""
    asked = threading.Event()
    taken: list[socket.socket] = []

    def serve() -> None:
        while True:
            try:
                made, _ = server.accept()
            except OSError:
                return
            taken.append(made)
            path = made.recv(4096).split()[1].decode()
            if path in BEGINNINGS:
                made.sendall(f"HTTP/1.1 200 OK\r\n{BEGINNINGS[path]}so far".encode())
            asked.set()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)
    thread.join()
    for made in taken:
        made.close()


def client() -> HttpClient:
    return HttpClient(NetworkPolicy(allowed_networks=("127.0.0.0/8",)))


def beside(ask: Callable[[], object]) -> tuple[threading.Thread, list[BaseException]]:
    met: list[BaseException] = []

    def run() -> None:
        try:
            ask()
        except GalleryError as error:
            met.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, met


@pytest.mark.parametrize("where", ["/headers", *BEGINNINGS])
def test_who_waits_for_a_mute_server_is_let_go(
    mute: tuple[str, threading.Event], where: str
) -> None:
    url, asked = mute
    http = client()
    thread, met = beside(lambda: http.fetch(url + where, max_bytes=1000))
    assert asked.wait(10)

    http.close()

    thread.join(10)
    assert not thread.is_alive()
    assert len(met) == 1


def test_a_closed_client_asks_nobody(mute: tuple[str, threading.Event]) -> None:
    url, asked = mute
    http = client()
    http.close()
    with pytest.raises(GalleryError):
        http.fetch(url, max_bytes=1000)
    assert not asked.is_set()


def test_a_document_that_breaks_off_is_none() -> None:
    """An index that was cut at the end of a line is a shorter index, if nobody counts."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            made, _ = server.accept()
            with made:
                made.recv(4096)
                made.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n- name: a\n")

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(TransientError, match="broke off after 10 of 100 bytes"):
            client().fetch(f"http://127.0.0.1:{server.getsockname()[1]}/", max_bytes=1000)
        thread.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_what_is_read_after_an_abort_is_what_was_sent(tmp_path: Path, scheme: str) -> None:
    """What had come already is the file's: it may be kept. With TLS it would be the cipher's."""
    data = bytes(range(256)) * (4 * MIB // 256)

    def behave(request: Request) -> Iterator[Act]:
        yield from answer(data, request)
        yield 10.0

    with serve(context(tmp_path) if scheme == "https" else None) as server:
        server.behave = behave
        pem = (tmp_path / "cert.pem").read_bytes() if scheme == "https" else None
        policy = NetworkPolicy(allowed_networks=("127.0.0.0/8",))
        got, block = bytearray(), memoryview(bytearray(10_000))
        with HttpClient(policy, ca_pem=pem).open(server.url) as response:
            got += block[: response.readinto(block)]
            time.sleep(0.2)
            response.abort()
            with contextlib.suppress(TransientError):
                while count := response.readinto(block):
                    got += block[:count]

    assert got == data[: len(got)]
    assert len(got) < len(data)
