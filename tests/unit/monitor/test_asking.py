"""Whatever a backend does, asking it ends soon, costs little, leads nowhere else, and raises one error."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiohttp import ClientConnectorCertificateError
from aiohttp.client_reqrep import ConnectionKey

from model_gallery.monitor.asking import Asker, Limits, Route, Unanswered

ROUTE = Route("GET", "/x")
NAMED = Route("GET", "/m/{model}/state?model={model}")
LIMITS = Limits(connect_seconds=0.2, total_seconds=0.4)


@asynccontextmanager
async def raw(talk):
    """A server of bytes."""
    tasks = set()

    async def handle(reader, writer):
        tasks.add(asyncio.current_task())
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def refused(asker, route=ROUTE, **more) -> Unanswered:
    with pytest.raises(Unanswered) as caught:
        await asker.ask(route, **more)
    return caught.value


async def test_an_answer_comes_whole(backend, asker) -> None:
    backend.on("GET /x", {"a": 1}, 503, Server="llama.cpp", Date="Sun, 22 Nov 2026 12:00:00 GMT")

    answer = await asker.ask(ROUTE)

    assert (answer.status, answer.json(), answer.server) == (503, {"a": 1}, "llama.cpp")
    assert answer.date.isoformat() == "2026-11-22T12:00:00+00:00"
    assert not answer.ok


async def test_a_date_without_a_zone_of_its_own_is_of_utc(backend, asker) -> None:
    """Times of ours have a zone, and a comparison of the two would raise."""
    backend.on("GET /x", b"{}", Date="Sun, 22 Nov 2026 12:00:00 -0000")

    assert (await asker.ask(ROUTE)).date == datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


async def test_a_date_that_is_none_is_none(backend, asker) -> None:
    backend.on("GET /x", Date="yesterday")

    assert (await asker.ask(ROUTE)).date is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 300, 304])
async def test_no_redirect_is_followed(backend, session, status: int) -> None:
    reached = []

    async def inner(writer):
        reached.append(writer)

    async with raw(inner) as other:
        backend.on("GET /x", b"", status, Location=f"{other}/latest/meta-data")
        error = await refused(Asker(session, backend.url, token="key", limits=LIMITS))

    assert not error.refused
    assert not error.timed_out
    assert reached == []
    assert f"redirect ({status})" in error.message


async def test_the_addresses_of_clouds_are_not_asked_by_redirect(backend, asker) -> None:
    backend.on("GET /x", b"", 302, Location="http://169.254.169.254/latest/meta-data/")

    assert "redirect" in (await refused(asker)).message
    assert backend.asked == ["GET /x"]


async def test_a_body_of_the_limit_is_an_answer_and_one_byte_more_is_none(backend, asker) -> None:
    size = asker.limits.body_bytes
    backend.on("GET /x", b"x" * size)
    backend.on("GET /x", b"x" * (size + 1))

    assert len((await asker.ask(ROUTE)).body) == size
    assert f"more than {size} bytes" in (await refused(asker)).message


async def test_an_endless_body_is_read_to_the_limit_only(session) -> None:
    sent = 0

    async def talk(writer):
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(160):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async with raw(talk) as url:
        error = await refused(Asker(session, url, limits=Limits()))

    assert "more than 1048576 bytes" in error.message
    assert sent < 10 * 1024 * 1024


async def test_a_packed_answer_is_not_unpacked(backend, asker) -> None:
    backend.on("GET /x", gzip.compress(b" " * 50_000_000), **{"Content-Encoding": "gzip"})

    answer = await asker.ask(ROUTE)

    assert len(answer.body) < 100_000
    assert backend.headers[0]["Accept-Encoding"] == "identity"
    with pytest.raises(Unanswered, match="no JSON"):
        answer.json()


async def test_a_backend_that_takes_the_connection_and_hangs(backend, asker) -> None:
    backend.hang("GET /x")

    error = await refused(asker)

    assert (error.timed_out, error.refused) == (True, False)
    assert error.message == "GET /x: no answer in time"


async def test_an_answer_that_drips_is_not_waited_for(session) -> None:
    async def talk(writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(50):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)

    async with raw(talk) as url:
        error = await asyncio.wait_for(refused(Asker(session, url, limits=LIMITS)), 1.5)

    assert error.timed_out


async def test_a_route_has_its_own_patience(backend, asker) -> None:
    backend.hang("GET /x")

    with pytest.raises(Unanswered) as caught:
        await asyncio.wait_for(asker.ask(Route("GET", "/x", seconds=0.05)), 0.3)

    assert caught.value.timed_out


async def test_nothing_listens(session) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    error = await refused(Asker(session, f"http://127.0.0.1:{port}", limits=LIMITS))

    assert (error.timed_out, error.refused) == (False, True)
    assert error.message == "GET /x: the connection was refused"


async def test_a_connection_that_never_stands_is_no_busy_backend(session) -> None:
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}"

        error = await refused(Asker(session, url, limits=LIMITS))

    assert (error.timed_out, error.refused) == (False, True)


@pytest.mark.parametrize(
    "said",
    [
        b"garbage\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 99999999999999999999 OK\r\n\r\n",
    ],
    ids=lambda said: repr(said[:40]),
)
async def test_what_is_no_http_is_one_error(session, said: bytes) -> None:
    async def talk(writer):
        writer.write(said)
        await writer.drain()

    async with raw(talk) as url:
        error = await refused(Asker(session, url, limits=LIMITS))

    assert not error.refused
    assert error.message.startswith("GET /x")


async def test_plain_http_is_no_tls(backend, session) -> None:
    asker = Asker(session, backend.url.replace("http:", "https:"), limits=LIMITS)

    error = await refused(asker)

    assert error.refused
    assert error.message in {"GET /x: there is no TLS", "GET /x: no connection could be made"}


@pytest.mark.parametrize(("insecure", "verified"), [(False, True), (True, False)])
async def test_whom_to_believe_is_the_callers_choice_with_tls_only(
    backend, session, monkeypatch, insecure: bool, verified: bool
) -> None:
    asked = []
    request = session._request

    async def watched(*args, **kwargs):
        asked.append(kwargs["ssl"])
        return await request(*args, **kwargs)

    monkeypatch.setattr(session, "_request", watched)
    await refused(
        Asker(session, backend.url.replace("http:", "https:"), insecure=insecure, limits=LIMITS)
    )
    await Asker(session, backend.url, insecure=insecure, limits=LIMITS).ask(ROUTE)

    assert asked == [verified, True]


@pytest.mark.parametrize(
    ("token", "header"),
    [("abc", "Bearer abc"), ("abc\n", "Bearer abc"), ("", None), (" \n", None)],
)
async def test_the_key_is_shown_where_there_is_one(backend, session, token: str, header) -> None:
    asker = Asker(session, backend.url, token=token, limits=LIMITS)

    await asker.ask(ROUTE)

    assert backend.headers[0].get("Authorization") == header
    assert asker.has_token == (header is not None)


async def test_a_key_that_is_no_header_is_not_in_the_message(backend, session) -> None:
    error = await refused(Asker(session, backend.url, token="can\r\nary", limits=LIMITS))

    assert "ary" not in error.message
    assert backend.asked == []


async def test_cookies_and_proxies_are_not_known(backend, asker, monkeypatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    backend.on("GET /x", b"", 200, **{"Set-Cookie": "a=b"})

    await asker.ask(ROUTE)
    await asker.ask(ROUTE)

    assert "Cookie" not in backend.headers[1]


@pytest.mark.parametrize(
    ("model", "sent"),
    [
        ("a/b:c", "GET /m/a%2Fb%3Ac/state?model=a%2Fb%3Ac"),
        (
            "a&autoload=true#x?",
            "GET /m/a%26autoload%3Dtrue%23x%3F/state?model=a%26autoload%3Dtrue%23x%3F",
        ),
        ("../../x", "GET /m/..%2F..%2Fx/state?model=..%2F..%2Fx"),
        ("a%2e b", "GET /m/a%252e%20b/state?model=a%252e%20b"),
        ("é\r\nX: y", "GET /m/%C3%A9%0D%0AX%3A%20y/state?model=%C3%A9%0D%0AX%3A%20y"),
    ],
)
async def test_names_are_quoted(backend, asker, calls, model: str, sent: str) -> None:
    await asker.ask(NAMED, model=model)

    assert backend.asked == [sent]
    assert calls[0][1] == NAMED.template


@pytest.mark.parametrize("model", ["", ".", "..", "\ud800"])
async def test_a_name_that_is_another_path_is_not_sent(backend, asker, model: str) -> None:
    await refused(asker, NAMED, model=model)

    assert backend.asked == []


async def test_a_body_is_json(backend, asker) -> None:
    await asker.ask(Route("POST", "/x"), body={"model": 'a"b'})

    assert backend.bodies == [{"model": 'a"b'}]


async def test_each_call_is_told_without_names(backend, asker, calls) -> None:
    backend.on("GET /x", b"", 200)
    backend.on("GET /x", b"", 302)
    await asker.ask(ROUTE)
    await refused(asker)
    backend.hang("GET /x")
    await refused(asker)

    assert [call[:3] for call in calls] == [
        ("GET", "/x", "200"),
        ("GET", "/x", "302"),
        ("GET", "/x", "timeout"),
    ]
    assert calls[2][3] >= asker.limits.total_seconds


async def test_a_call_that_the_caller_gives_up_is_told(backend, asker, calls) -> None:
    backend.hang("GET /x")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asker.ask(ROUTE), 0.1)

    assert calls[0][2] == "cancelled"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": NaN, "b": [Infinity, -Infinity, 1]}', {"a": None, "b": [None, None, 1]}),
        (b"null", None),
        (b'"\\ud800"', "\ud800"),
    ],
)
async def test_json_that_can_be_read(backend, asker, body: bytes, value: object) -> None:
    backend.on("GET /x", body)

    assert (await asker.ask(ROUTE)).json() == value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "no JSON"),
        (b"<html>", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b'{"a":1', "no JSON"),
        (b"9" * 5000, "no JSON"),
        (b"[" * 200_000, "too deeply"),
        (b'{"a":' * 100_000, "too deeply"),
        (b"[" + b"0," * 260_000 + b"0]", "more than 250000 values"),
    ],
    ids=["empty", "html", "bytes", "cut", "huge number", "deep arrays", "deep objects", "many"],
)
async def test_json_that_is_none(backend, asker, body: bytes, message: str) -> None:
    backend.on("GET /x", body)
    answer = await asker.ask(ROUTE)

    with pytest.raises(Unanswered, match=message):
        answer.json()
    assert await asker.try_json(ROUTE) is None


async def test_what_need_not_be_there(backend, asker) -> None:
    backend.on("GET /x", {"a": 1})

    assert await asker.try_json(ROUTE) == {"a": 1}
    assert await asker.try_ask(Route("GET", "/y")) is None
    assert await asker.try_json(Route("GET", "/y")) is None
    backend.hang("GET /x")
    assert await asker.try_ask(ROUTE) is None


@pytest.mark.parametrize("base", ["http://10.0.0.1:80", "https://[fd00::1]:8443", "http://[::1]:1"])
async def test_an_address_and_a_port(session, base: str) -> None:
    assert Asker(session, base)._base == base


@pytest.mark.parametrize(
    "base",
    [
        "http://10.0.0.1",
        "http://localhost:80",
        "http://backend.svc:80",
        "ftp://10.0.0.1:80",
        "http://10.0.0.1:80/path",
        "http://10.0.0.1:80?x",
        "http://user@10.0.0.1:80",
        "http://2130706433:80",
        "http://10.0.0.1:99999",
        "http://10.0.0.1:0",
        "10.0.0.1:80",
        "",
    ],
)
async def test_any_other_base_is_refused(session, base: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Asker(session, base)


async def test_connections_are_bounded(session) -> None:
    assert session.connector.limit == 64
    assert not session.trust_env


async def test_an_untrusted_certificate_is_named(session, monkeypatch) -> None:
    key = ConnectionKey("10.0.0.1", 443, True, True, None, None, None)

    def refuse(*_args, **_kwargs):
        raise ClientConnectorCertificateError(key, ssl.CertificateError("self-signed"))

    monkeypatch.setattr(session, "request", refuse)

    error = await refused(Asker(session, "https://10.0.0.1:443"))

    assert error.refused
    assert error.message == "GET /x: the certificate is not trusted"


def test_a_route_says_what_it_is() -> None:
    assert str(NAMED) == "GET /m/{model}/state?model={model}"
    assert json.dumps(Limits().total_seconds) == "5.0"
