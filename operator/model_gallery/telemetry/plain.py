"""Serves a few pages from memory, with nothing but asyncio.

For the sidecar, of which every serving pod has one: the operator's server would take a third more memory.
It knows GET, answers once per connection and closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from model_gallery.telemetry import sockets

__all__ = ["Page", "PlainServer"]

_LARGEST_REQUEST = 8192
_SECONDS = 5.0
"""For one connection, from its first byte to its last."""
_CONNECTIONS = 16
"""At once; those above are closed unheard."""
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    status: HTTPStatus = HTTPStatus.OK


class PlainServer:
    """The HTTP server.

    Args:
        pages: asked at each request, by path; must not block.
    """

    def __init__(self, pages: Mapping[str, Callable[[], Page]]) -> None:
        self._pages = pages
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens until closed.

        Args:
            host: empty: every address, IPv4 and IPv6.
            port: 0 for any that is free.

        Returns:
            The port.

        Raises:
            OSError: the address cannot be used.
        """
        place = sockets.listening(host, port, _CONNECTIONS)
        self._server = await asyncio.start_server(
            self._serve, sock=place, limit=_LARGEST_REQUEST, backlog=_CONNECTIONS
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stops to listen, and cuts who is still connected."""
        if self._server is not None:
            self._server.close()
            for writer in tuple(self._open):
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        crowded = len(self._open) >= _CONNECTIONS
        self._open.add(writer)
        try:
            if not crowded:
                async with asyncio.timeout(_SECONDS):
                    await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # who does not finish a request, or not within its bounds, gets no answer
        finally:
            self._open.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(_END_OF_HEAD)
        page = self._page(head.partition(b"\r\n")[0].decode("latin-1"))
        lines = (
            f"HTTP/1.1 {page.status.value} {page.status.phrase}",
            f"Content-Type: {page.content_type}",
            f"Content-Length: {len(page.body)}",
            "Connection: close",
        )
        writer.write("\r\n".join(lines).encode() + _END_OF_HEAD + page.body)
        await writer.drain()

    def _page(self, request: str) -> Page:
        words = request.split(" ")
        if len(words) != len(("method", "target", "version")):
            return _problem(HTTPStatus.BAD_REQUEST)
        if words[0] != "GET":
            return _problem(HTTPStatus.METHOD_NOT_ALLOWED)
        page = self._pages.get(words[1].partition("?")[0])
        return page() if page is not None else _problem(HTTPStatus.NOT_FOUND)


def _problem(status: HTTPStatus) -> Page:
    return Page(f"{status.phrase}\n".encode(), status=status)
