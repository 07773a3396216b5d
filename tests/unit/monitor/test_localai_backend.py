"""LocalAI's backends over gRPC: real servers of grpcio, after the published backend.proto."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor import asking, probe
from model_gallery.monitor.asking import Limits
from model_gallery.protocol.backend import BackendFacts, UnloadOutcome

S = ServingState
NOW = datetime(2026, 11, 1, tzinfo=UTC)
SHORT = Limits(connect_seconds=0.5, total_seconds=0.5, body_bytes=64 * 1024)
HEALTHY = b"\x0a\x02OK"
RESIDENT = 123_456_789
Method = Callable[[bytes, Any], Awaitable[bytes]]


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def block(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def status(state: int, resident: int | None = RESIDENT) -> bytes:
    """A StatusResponse; its total is as wrong as the real one's."""
    told = (varint(1 << 3) + varint(state)) if state else b""
    if resident is None:
        return told
    entry = block(1, b"gopsutil-RSS") + varint(2 << 3) + varint(resident)
    other = block(1, b"cpu_buffer") + varint(2 << 3) + varint(7)
    return told + block(2, varint(1 << 3) + varint(42) + block(2, other) + block(2, entry))


def always(message: bytes) -> Method:
    async def answer(_request: bytes, _context: Any) -> bytes:
        return message

    return answer


@contextlib.asynccontextmanager
async def backend(**methods: Method) -> AsyncIterator[str]:
    """Serves these methods, and no others, on a free port of loopback."""
    server = grpc.aio.server()
    handlers = {name: grpc.unary_unary_rpc_method_handler(one) for name, one in methods.items()}
    service = grpc.method_handlers_generic_handler("backend.Backend", handlers)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await server.stop(None)


async def facts(base: str, *, limits: Limits | None = None, calls: list[Any] | None = None) -> Any:
    seen = calls if calls is not None else []
    async with asking.new_session() as session:
        asker = asking.Asker(
            session,
            base,
            served="m",
            limits=limits,
            on_call=lambda *call: seen.append(call[:3]),
        )
        return await probe.probe(asker, BackendType.LOCALAI_BACKEND, None, NOW)


STATES: dict[str, tuple[bytes, ServingState, int | None]] = {
    "ready, in a right one": (status(2), S.LOADED, RESIDENT),
    "busy while idle, in an inverted one": (status(1), S.LOADED, RESIDENT),
    "no model yet": (status(0), S.UNLOADED, RESIDENT),
    "an error": (status(-1), S.ERROR, RESIDENT),
    "without memory": (status(2, None), S.LOADED, None),
    "a state that no proto knows": (status(9), S.UNKNOWN, RESIDENT),
    "memory that cannot be": (status(2, -1), S.LOADED, None),
    "nothing at all": (b"", S.UNLOADED, None),
}


@pytest.mark.parametrize("case", STATES)
async def test_what_status_tells(case: str) -> None:
    response, state, memory = STATES[case]
    calls: list[Any] = []
    async with backend(Health=always(HEALTHY), Status=always(response)) as base:
        found = await facts(base, calls=calls)

    (model,) = found.models
    assert (found.live, found.ready, found.type) == (True, True, BackendType.LOCALAI_BACKEND)
    assert (model.name, model.state, model.memory_bytes) == ("m", state, memory)
    assert (model.running, model.waiting) == (None, None)
    assert calls == [("GRPC", f"/backend.Backend/{name}", "0") for name in ("Health", "Status")]


async def test_without_status_the_state_is_unknown() -> None:
    calls: list[Any] = []
    async with backend(Health=always(HEALTHY)) as base:
        found = await facts(base, calls=calls)

    assert found.ready
    assert [(model.state, model.memory_bytes) for model in found.models] == [(S.UNKNOWN, None)]
    assert calls[-1] == ("GRPC", "/backend.Backend/Status", "12")


async def test_one_that_is_not_well_is_not_ready() -> None:
    async with backend(Health=always(block(1, b"NO"))) as base:
        found = await facts(base)

    assert (found.live, found.ready, found.models) == (True, False, ())


async def mute(_request: bytes, _context: Any) -> bytes:
    await asyncio.sleep(60)
    return b""


HOSTILE: dict[str, tuple[dict[str, Method], str]] = {
    "mute": ({"Health": mute}, "no answer in time"),
    "larger than an answer may be": ({"Health": always(bytes(1 << 20))}, "more than 65536 bytes"),
    "no message": ({"Health": always(b"\xff" * 40)}, "a message that is none"),
    "a status that is none": (
        {"Health": always(HEALTHY), "Status": always(b"\x12\xff")},
        "a message that is none",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_an_answer_that_is_none(case: str) -> None:
    methods, words = HOSTILE[case]
    async with backend(**methods) as base:
        found = await facts(base, limits=SHORT)

    assert (found.live, found.ready, found.models) == (False, False, ())
    assert words in found.message


async def raw(answer: bytes) -> BackendFacts:
    """Asks a server that says this to whoever comes, and closes."""

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await reader.read(100)
            writer.write(answer)
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        found: BackendFacts = await facts(f"http://127.0.0.1:{port}", limits=SHORT)
        return found


SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
GOAWAY = b"\x00\x00\x08\x07\x00\x00\x00\x00\x00" + bytes(8)
RESET = b"\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x08"
PING = b"\x00\x00\x08\x06\x00\x00\x00\x00\x00" + bytes(8)
WIRE: dict[str, bytes] = {
    "nothing": b"",
    "HTTP/1": b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n",
    "garbage": bytes(range(256)) * 20,
    "goes away": SETTINGS + GOAWAY,
    "resets the stream": SETTINGS + RESET,
    "pings without end": SETTINGS + PING * 20_000,
}


@pytest.mark.parametrize("case", WIRE)
async def test_a_server_that_speaks_something_else(case: str) -> None:
    found = await raw(WIRE[case])

    assert (found.live, found.models) == (False, ())
    assert "Health: the exchange broke off" in found.message


async def test_where_nobody_listens() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    found = await facts(f"http://127.0.0.1:{port}")

    assert found.message == "/backend.Backend/Health: no connection could be made"


async def test_it_is_asked_without_tls_only() -> None:
    assert "set scheme to HTTP" in (await facts("https://127.0.0.1:9")).message


async def test_nobody_is_asked_in_grpc_who_was_not_named() -> None:
    asked: list[str] = []

    async def note(_request: bytes, context: Any) -> bytes:
        asked.append("")
        return HEALTHY

    async with backend(Health=note) as base, asking.new_session() as session:
        asker = asking.Asker(session, base, limits=SHORT)
        found = await probe.probe(asker, BackendType.AUTO, None, NOW)

    assert (found.type, asked) == (None, [])


async def test_its_model_is_not_taken_from_the_core() -> None:
    async with backend(Health=always(HEALTHY)) as base, asking.new_session() as session:
        asker = asking.Asker(session, base)
        result = await probe.unload(asker, BackendType.LOCALAI_BACKEND, "m", force=True)

    assert result.outcome is UnloadOutcome.UNSUPPORTED
