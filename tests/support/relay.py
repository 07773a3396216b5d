"""A relay of bytes before a real server: it may speak TLS, remembers what it was told, and calls a hook."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from support.listening import listening

_BLOCK = 65536


@dataclass
class Relay:
    """What goes through it.

    Attributes:
        heard: all bytes that came for the server.
        hook: called with each piece of them before it is passed on.
    """

    url: str
    heard: bytearray = field(default_factory=bytearray)
    hook: Callable[[bytes], None] = lambda _: None


@contextlib.contextmanager
def before(server: str, context: ssl.SSLContext | None = None) -> Iterator[Relay]:
    """Listens on a free port of loopback until the end of the block, for the server at a URL."""
    place = urlsplit(server)
    assert place.hostname
    assert place.port
    target = (place.hostname, place.port)
    relay = Relay("")
    with listening(lambda client: _serve(relay, client, target, context)) as port:
        relay.url = f"{'https' if context else 'http'}://127.0.0.1:{port}"
        yield relay


def _serve(
    relay: Relay,
    client: socket.socket,
    target: tuple[str, int],
    context: ssl.SSLContext | None,
) -> None:
    def hear(piece: bytes) -> None:
        relay.heard.extend(piece)
        relay.hook(piece)

    with contextlib.suppress(OSError):
        if context is not None:
            client = context.wrap_socket(client, server_side=True)
        with client, socket.create_connection(target) as server:
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server, hear)
            back.join()


def _copy(
    source: socket.socket, target: socket.socket, hear: Callable[[bytes], None] = lambda _: None
) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(_BLOCK):
            hear(block)
            target.sendall(block)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
