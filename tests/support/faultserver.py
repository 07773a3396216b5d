"""A server that does on the wire what a test says: raw bytes, pauses, resets, without an HTTP library."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from support.listening import listening

RESET = "reset"
CLOSE = "close"
Act = bytes | float | str
"""Bytes to send, seconds to wait, or RESET or CLOSE."""

_RANGE = re.compile(rb"\r\nrange: bytes=(\d+)-(\d*)", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        number: from 1, over all connections.
        span: first byte and the byte after the last one, where a range was asked for.
    """

    number: int
    path: str
    raw: bytes
    moment: float

    @property
    def span(self) -> tuple[int, int | None] | None:
        match = _RANGE.search(self.raw)
        if match is None:
            return None
        return int(match[1]), int(match[2]) + 1 if match[2] else None


Behaviour = Callable[[Request], Iterator[Act]]


@dataclass
class FaultServer:
    """What is served, and what was asked."""

    url: str
    behave: Behaviour | None = None
    requests: list[Request] = field(default_factory=list)
    sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def answer(
    data: bytes,
    request: Request,
    *,
    etag: str = '"one"',
    headers: str = "",
    ranges: bool = True,
    total: int | None = None,
) -> Iterator[Act]:
    """A right answer, from which faults differ."""
    span = request.span if ranges else None
    total = len(data) if total is None else total
    tag = f"ETag: {etag}\r\n" if etag else ""
    if span is None:
        yield f"HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n{tag}{headers}\r\n".encode()
        yield data
        return
    start, end = span[0], min(len(data), span[1] or len(data))
    place = f"Content-Range: bytes {start}-{end - 1}/{total}\r\n"
    head = f"HTTP/1.1 206 Partial Content\r\nContent-Length: {end - start}\r\n{place}{tag}{headers}\r\n"
    yield head.encode()
    yield data[start:end]


def status(code: int, headers: str = "") -> Iterator[Act]:
    yield f"HTTP/1.1 {code} X\r\nContent-Length: 0\r\n{headers}\r\n".encode()


@contextlib.contextmanager
def serve(context: ssl.SSLContext | None = None) -> Iterator[FaultServer]:
    """Listens on a free port of loopback until the end of the block."""
    server = FaultServer("")
    with listening(lambda connection: _converse(server, connection, context)) as port:
        server.url = f"{'https' if context else 'http'}://127.0.0.1:{port}"
        yield server


def _converse(
    server: FaultServer, connection: socket.socket, context: ssl.SSLContext | None
) -> None:
    with contextlib.suppress(OSError):
        if context is not None:
            connection = context.wrap_socket(connection, server_side=True)
        with connection:
            while (request := _request(server, connection)) is not None:
                if server.behave is None or not _perform(
                    server, connection, server.behave(request)
                ):
                    return
                if b"\r\nconnection: close" in request.raw.lower():
                    return


def _request(server: FaultServer, connection: socket.socket) -> Request | None:
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = connection.recv(65536)
        if not piece:
            return None
        raw += piece
    with server.lock:
        path = raw.split(b" ", 2)[1].decode()
        request = Request(len(server.requests) + 1, path, raw, time.monotonic())
        server.requests.append(request)
    return request


def _perform(server: FaultServer, connection: socket.socket, acts: Iterator[Act]) -> bool:
    """Returns whether the connection goes on."""
    for act in acts:
        if isinstance(act, bytes):
            connection.sendall(act)
            with server.lock:
                server.sent += len(act)
        elif isinstance(act, str):
            if act == RESET:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        else:
            time.sleep(act)
    return True
