"""A forwarding HTTP proxy that serves who knows its password: plain requests and tunnels."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from support.listening import listening

_BLOCK = 65536


@dataclass
class Proxy:
    """What it was asked for.

    Attributes:
        lines: request lines that it let through.
        refused: request lines of those who did not know the password.
        shown: every Proxy-Authorization value that came, in order.
    """

    url: str
    expected: str
    lines: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)


@contextlib.contextmanager
def serve(user: str, password: str) -> Iterator[Proxy]:
    """Listens on a free port of loopback until the end of the block."""
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    proxy = Proxy("", f"Basic {token}")
    with listening(lambda client: _serve(proxy, client)) as port:
        proxy.url = f"http://127.0.0.1:{port}"
        yield proxy


def _serve(proxy: Proxy, client: socket.socket) -> None:
    with contextlib.suppress(OSError), client:
        told = b""
        while b"\r\n\r\n" not in told:
            piece = client.recv(_BLOCK)
            if not piece:
                return
            told += piece
        head, _, body = told.partition(b"\r\n\r\n")
        line, *rest = head.decode("latin-1").split("\r\n")
        headers = {key.lower(): value.strip() for key, _, value in (h.partition(":") for h in rest)}
        shown = headers.get("proxy-authorization", "")
        proxy.shown.append(shown)
        if shown != proxy.expected:
            proxy.refused.append(line)
            client.sendall(
                b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n"
                b"Connection: close\r\n\r\n"
            )
            return
        proxy.lines.append(line)
        length = int(headers.get("content-length", 0))
        while len(body) < length and (piece := client.recv(_BLOCK)):
            body += piece
        _forward(client, line, rest, body)


def _forward(client: socket.socket, line: str, headers: list[str], body: bytes) -> None:
    """One request for each connection: what belongs to the proxy goes no further."""
    method, target, _ = line.split(" ")
    if method == "CONNECT":
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 Established\r\n\r\n")
            _join(client, server)
        return
    url = urlsplit(target)
    kept = [one for one in headers if not one.lower().startswith(("proxy-", "connection:"))]
    path = url.path + (f"?{url.query}" if url.query else "")
    request = "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""])
    with socket.create_connection((url.hostname or "", url.port or 80)) as server:
        server.sendall(request.encode("latin-1") + body)
        _copy(server, client)


def _join(one: socket.socket, other: socket.socket) -> None:
    back = threading.Thread(target=_copy, args=(other, one), daemon=True)
    back.start()
    _copy(one, other)
    back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(_BLOCK):
            target.sendall(block)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
