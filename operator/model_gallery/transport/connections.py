"""The connections of one client, so that they can all be ended from another thread."""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref
from typing import Protocol

__all__ = ["Connection", "Connections", "shut"]


class Connection(Protocol):
    """A connection, made or not, or an answer that is read from one.

    Attributes:
        sock: None before it is being made.
    """

    sock: socket.socket | None


class Connections:
    """Connections that were begun and not yet dropped."""

    def __init__(self) -> None:
        self._begun: weakref.WeakSet[Connection] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._closed = False

    @property
    def is_closed(self) -> bool:
        """Whether all were ended."""
        return self._closed

    def add(self, begun: Connection) -> None:
        """Takes a connection into account, before it is made.

        Raises:
            OSError: all are closed, and no further one shall be made.
        """
        with self._lock:
            if self._closed:
                raise OSError("the client is closed")
            self._begun.add(begun)

    def close(self) -> None:
        """Ends all connections: whoever reads from one, or waits for one, gets an error at once.

        One in the middle of its TLS handshake ends with the limit for connecting.
        """
        with self._lock:
            self._closed = True
            begun = list(self._begun)
        for connection in begun:
            shut(connection)


def shut(connection: Connection) -> None:
    """Ends the transfer; its descriptor stays that of the thread which uses it."""
    made = connection.sock
    if made is not None:
        with contextlib.suppress(OSError):
            # Below TLS: its own way drops the cipher, and what still comes would be taken for plain text.
            socket.socket.shutdown(made, socket.SHUT_RDWR)
