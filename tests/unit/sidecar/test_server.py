"""The plain server: what it answers, and what it does not wait for."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

import pytest

from model_gallery.telemetry import plain
from model_gallery.telemetry.plain import Page, PlainServer


@pytest.fixture
async def port():
    server = PlainServer({"/page": lambda: Page(b"text", "text/x", HTTPStatus.ACCEPTED)})
    yield await server.start("127.0.0.1", 0)
    await server.close()


async def ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_a_page(port: int) -> None:
    assert await ask(port, b"GET /page?x=1 HTTP/1.1\r\nHost: x\r\n\r\n") == (
        b"HTTP/1.1 202 Accepted\r\nContent-Type: text/x\r\nContent-Length: 4\r\n"
        b"Connection: close\r\n\r\ntext"
    )


@pytest.mark.parametrize(
    ("request_line", "want"),
    [
        (b"GET /other HTTP/1.1", b"404"),
        (b"POST /page HTTP/1.1", b"405"),
        (b"GET /page", b"400"),
        (b"\xff\xfe", b"400"),
    ],
)
async def test_a_refusal(port: int, request_line: bytes, want: bytes) -> None:
    assert (await ask(port, request_line + b"\r\n\r\n")).split(b" ")[1] == want


async def test_a_request_without_end_is_cut(port: int) -> None:
    assert await ask(port, b"GET /page HTTP/1.1\r\nX: " + b"x" * 100_000) == b""


async def test_a_slow_request_is_cut(port: int, monkeypatch) -> None:
    monkeypatch.setattr(plain, "_SECONDS", 0.1)
    assert await ask(port, b"GET /page") == b""


async def test_too_many_connections_are_closed_unheard(port: int) -> None:
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(16)]
    await asyncio.sleep(0.05)

    assert await ask(port, b"GET /page HTTP/1.1\r\n\r\n") == b""
    for _, writer in held:
        writer.close()
    await asyncio.sleep(0.05)
    assert await ask(port, b"GET /page HTTP/1.1\r\n\r\n")


async def test_it_closes_although_somebody_is_connected() -> None:
    server = PlainServer({})
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(1):
        await server.close()
        assert await reader.read() == b""
    writer.close()
