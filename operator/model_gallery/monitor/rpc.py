"""One unary gRPC call to one pod, without TLS: an empty message out, one small message back.

The same bounds as for requests over HTTP/1 (asking.py): an address and no name, no redirect, nothing
longer or later than the limits. The frames are h2's; a call is one connection, made and closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from model_gallery import __version__
from model_gallery.monitor.asking import Asker, Unanswered

__all__ = ["OK", "UNIMPLEMENTED", "Reply", "call"]

OK, UNIMPLEMENTED = 0, 12
"""Codes of gRPC."""

_EMPTY = bytes(5)
"""A message of no bytes: not compressed, length 0."""
_PREFIX = 5
_BLOCK = 65536
_OVERHEAD = 65536
"""Bytes of frames and headers around a message; a server that sends only those is no backend."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer.

    Attributes:
        code: of gRPC, 0 for success.
        message: the bytes of the message; empty with most other codes.
    """

    code: int
    message: bytes = b""


@dataclass(slots=True)
class _Exchange:
    """What came so far."""

    most: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    ended: bool = False

    def take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                self.headers |= _texts(event.headers or ())
            case h2.events.DataReceived():
                self.body += event.data or b""
                if len(self.body) > self.most:
                    raise Unanswered(f"it answered with more than {self.most} bytes")
            case h2.events.StreamEnded():
                self.ended = True
            case h2.events.StreamReset() | h2.events.ConnectionTerminated():
                raise Unanswered("the exchange broke off")
            case _:
                pass  # settings, windows, pings: h2 has answered them

    def reply(self) -> Reply:
        if self.headers.get(":status") != "200":
            raise Unanswered("it answered with something that is no gRPC")
        code = self.headers.get("grpc-status", "")
        if not (code.isascii() and code.isdecimal() and len(code) < _PREFIX):
            raise Unanswered("it answered with something that is no gRPC")
        if int(code) != OK:
            return Reply(int(code))
        length = int.from_bytes(self.body[1:_PREFIX], "big")
        if len(self.body) < _PREFIX or self.body[0] or length != len(self.body) - _PREFIX:
            raise Unanswered("it answered with something that is no one message")
        return Reply(OK, bytes(self.body[_PREFIX:]))


async def call(asker: Asker, path: str) -> Reply:
    """Calls one method with an empty message.

    Args:
        path: `/<package>.<Service>/<Method>`, a constant of a backend's module.

    Raises:
        Unanswered: always this, whatever went wrong.
    """
    began, code = time.monotonic(), "cancelled"
    try:
        reply = await _bounded(asker, path)
        code = str(reply.code)
    except Unanswered as error:
        code = "timeout" if error.timed_out else "refused" if error.refused else "error"
        message = f"{path}: {error.message}"
        raise Unanswered(message, timed_out=error.timed_out, refused=error.refused) from error
    finally:
        asker.told("GRPC", path, code, time.monotonic() - began)
    return reply


async def _bounded(asker: Asker, path: str) -> Reply:
    parts = urlsplit(asker.base)
    if parts.scheme != "http":
        raise Unanswered("it is asked without TLS only; set scheme to HTTP", refused=True)
    try:
        async with asyncio.timeout(asker.limits.total_seconds):
            reader, writer = await _connected(asker, parts.hostname or "", parts.port or 0)
            try:
                return await _exchange(reader, writer, path, parts.netloc, asker.limits.body_bytes)
            finally:
                writer.transport.abort()
    except TimeoutError as error:
        raise Unanswered("no answer in time", timed_out=True) from error
    except (h2.exceptions.H2Error, OSError, ValueError) as error:
        raise Unanswered(f"the exchange broke off ({type(error).__name__})") from error


async def _connected(
    asker: Asker, host: str, port: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        async with asyncio.timeout(asker.limits.connect_seconds):
            return await asyncio.open_connection(host, port)
    except TimeoutError as error:
        raise Unanswered("no connection in time", refused=True) from error
    except OSError as error:
        raise Unanswered("no connection could be made", refused=True) from error


async def _exchange(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    path: str,
    authority: str,
    most: int,
) -> Reply:
    frames = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    frames.initiate_connection()
    stream = frames.get_next_available_stream_id()
    frames.send_headers(stream, _request(path, authority))
    frames.send_data(stream, _EMPTY, end_stream=True)
    found, received = _Exchange(most), 0
    while not found.ended:
        writer.write(frames.data_to_send())
        await writer.drain()
        data = await reader.read(_BLOCK)
        received += len(data)
        if not data:
            raise Unanswered("the exchange broke off")
        if received > most + _OVERHEAD:
            raise Unanswered(f"it answered with more than {most} bytes")
        for event in frames.receive_data(data):
            found.take(event)
            if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                frames.acknowledge_received_data(event.flow_controlled_length, stream)
    return found.reply()


def _request(path: str, authority: str) -> list[tuple[str, str]]:
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", f"model-gallery-operator/{__version__}"),
    ]


def _texts(headers: Iterable[tuple[bytes | str, bytes | str]]) -> dict[str, str]:
    return {_text(key): _text(value) for key, value in headers}


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
