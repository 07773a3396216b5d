"""How serving backends are asked: small bounded requests to one pod, none of which can lead anywhere else.

A backend is not trusted: it may be hostile, hung, or something else altogether. So no answer redirects,
none is longer than the limit, none is waited for without end, and whatever goes wrong is one error.
A key goes to the pod's own address only.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import aiohttp
from yarl import URL

from model_gallery import __version__

__all__ = ["Answer", "Asker", "Limits", "OnCall", "Route", "Unanswered", "new_session"]

_OK = 200
_LOCKED = frozenset({401, 403})
_REDIRECTS = range(300, 400)
_KEEP_ALIVE_SECONDS = 2.0
"""Long enough for the requests of one round; longer, and a server that closes sooner breaks the next."""
_MAX_MARKS = 250_000
"""Commas and brackets: a bound on the objects that a JSON text becomes."""

OnCall = Callable[[str, str, str, float], None]
"""Told of each request: method, route without any name in it, status or kind of failure, seconds."""


class Unanswered(Exception):  # noqa: N818 - it is no fault of ours, and often none of anybody's
    """There is no answer that can be used.

    Attributes:
        message: one sentence without names of models and without anything that the backend said.
        timed_out: the backend took the connection, and then no whole answer came in time.
        refused: no connection could be made.
    """

    def __init__(self, message: str, *, timed_out: bool = False, refused: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.timed_out = timed_out
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Limits:
    """What a backend may cost.

    Attributes:
        connect_seconds: until the connection stands.
        total_seconds: until the last byte of an answer.
        body_bytes: of an answer; a longer one is no answer.
        round_seconds: for all requests of one probe together.
    """

    connect_seconds: float = 1.0
    total_seconds: float = 5.0
    body_bytes: int = 1024 * 1024
    round_seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Route:
    """One request that may be sent; all of them are constants of the backends' modules.

    Attributes:
        template: path and query, with `{model}` where a model's name goes.
        seconds: how long an answer may take, where that differs from the common limit.
    """

    method: Literal["GET", "POST"]
    template: str
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.template}"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer that is no redirect.

    Attributes:
        server: the header of that name; empty where there is none.
        date: the backend's own clock, to the second, where it tells it.
    """

    route: Route
    status: int
    body: bytes
    server: str = ""
    date: datetime | None = None

    @property
    def ok(self) -> bool:
        """Whether it is what was asked for."""
        return self.status == _OK

    @property
    def locked(self) -> bool:
        """Whether it wants another key, or one at all."""
        return self.status in _LOCKED

    def json(self) -> Any:
        """Returns the document, with None for numbers that JSON does not know (NaN, Infinity).

        Raises:
            Unanswered: it is none, or one that is too large or too deep.
        """
        if sum(map(self.body.count, (b",", b"[", b"{"))) > _MAX_MARKS:
            raise Unanswered(f"{self.route} answered with more than {_MAX_MARKS} values")
        try:
            return json.loads(self.body, parse_constant=_nothing)
        except RecursionError as error:
            raise Unanswered(
                f"{self.route} answered with JSON that is nested too deeply"
            ) from error
        except ValueError as error:
            raise Unanswered(f"{self.route} answered with something that is no JSON") from error


def _nothing(_constant: str) -> None:
    return None


def _nobody(_method: str, _route: str, _code: str, _seconds: float) -> None:
    return None


def new_session(*, connections: int = 64) -> aiohttp.ClientSession:
    """Returns the session that all askers share; whoever makes it closes it.

    It keeps no cookies, knows no proxies, and unpacks nothing, since a small answer can unpack to a
    large one.

    Args:
        connections: open at once; a request that waits for one uses up its own time, so let there be
            no more rounds of probing at once.
    """
    connector = aiohttp.TCPConnector(
        limit=connections, keepalive_timeout=_KEEP_ALIVE_SECONDS, use_dns_cache=False
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        headers={
            "User-Agent": f"model-gallery-operator/{__version__}",
            "Accept-Encoding": "identity",
        },
    )


class Asker:
    """Asks one backend.

    Args:
        session: of `new_session`.
        base: `http://<address>:<port>` or `https://...`; an address, since a name could change its mind.
        token: sent as a bearer token where not empty.
        insecure: with https, whoever answers is believed.
        served: the model that it serves, where the Gallery says so.
        on_call: told of each request when it is over.

    Raises:
        ValueError: the base is another kind of URL.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        base: str,
        *,
        token: str = "",
        insecure: bool = False,
        served: str = "",
        limits: Limits | None = None,
        on_call: OnCall = _nobody,
    ) -> None:
        self.limits = limits or Limits()
        self.served = served
        self._session = session
        self._base = _checked(base)
        self._headers = {"Authorization": f"Bearer {token.strip()}"} if token.strip() else {}
        self._verify = not (insecure and base.startswith("https:"))
        self._on_call = on_call

    @property
    def base(self) -> str:
        """Where it is asked."""
        return self._base

    def told(self, method: str, route: str, code: str, seconds: float) -> None:
        """Counts a request that went another way."""
        self._on_call(method, route, code, seconds)

    @property
    def has_token(self) -> bool:
        """Whether it shows a key."""
        return bool(self._headers)

    async def ask(
        self, route: Route, *, model: str = "", body: Mapping[str, Any] | None = None
    ) -> Answer:
        """Sends one request.

        Args:
            model: what stands for `{model}` in the route.
            body: sent as JSON.

        Raises:
            Unanswered: always this, whatever went wrong; redirects are wrong.
        """
        began, code = time.monotonic(), "cancelled"
        try:
            answer = await self._answer(route, model, body)
            code = str(answer.status)
        except Unanswered as error:
            code = "timeout" if error.timed_out else "refused" if error.refused else "error"
            raise
        finally:
            self._on_call(route.method, route.template, code, time.monotonic() - began)
        if answer.status in _REDIRECTS:
            raise Unanswered(
                f"{route} answered with a redirect ({answer.status}), which is not followed"
            )
        return answer

    async def try_ask(self, route: Route, *, model: str = "") -> Answer | None:
        """As `ask`, for what a backend need not have: None where the answer is not 200."""
        try:
            answer = await self.ask(route, model=model)
        except Unanswered:
            return None
        return answer if answer.ok else None

    async def try_json(self, route: Route, *, model: str = "") -> Any:
        """As `try_ask`, for a document: None also where the answer is none."""
        answer = await self.try_ask(route, model=model)
        try:
            return answer.json() if answer else None
        except Unanswered:
            return None

    async def _answer(self, route: Route, model: str, body: Mapping[str, Any] | None) -> Answer:
        try:
            async with asyncio.timeout(route.seconds or self.limits.total_seconds):
                return await self._exchange(route, model, body)
        except aiohttp.ConnectionTimeoutError as error:
            raise Unanswered(f"{route}: no connection in time", refused=True) from error
        except TimeoutError as error:
            raise Unanswered(f"{route}: no answer in time", timed_out=True) from error
        except aiohttp.ClientConnectorError as error:
            raise Unanswered(f"{route}: {_why(error)}", refused=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise Unanswered(f"{route}: the exchange broke off ({type(error).__name__})") from error

    async def _exchange(self, route: Route, model: str, body: Mapping[str, Any] | None) -> Answer:
        async with self._session.request(
            route.method,
            URL(self._base + _filled(route.template, model), encoded=True),
            json=body,
            headers=self._headers,
            allow_redirects=False,
            ssl=self._verify,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self.limits.connect_seconds),
        ) as response:
            content = await self._body(route, response)
            headers = response.headers
            return Answer(
                route,
                response.status,
                content,
                headers.get("Server", ""),
                _date(headers.get("Date")),
            )

    async def _body(self, route: Route, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for block in response.content.iter_any():
            body += block
            if len(body) > self.limits.body_bytes:
                raise Unanswered(f"{route} answered with more than {self.limits.body_bytes} bytes")
        return bytes(body)


def _checked(base: str) -> str:
    parts = urlsplit(base)
    host = ipaddress.ip_address(parts.hostname or "")
    shown = f"[{host}]" if host.version == 6 else str(host)  # noqa: PLR2004 - IPv6
    if parts.scheme not in {"http", "https"} or not parts.port:
        raise ValueError("a backend is asked at http(s)://<address>:<port>")
    made = f"{parts.scheme}://{shown}:{parts.port}"
    if made != base:
        raise ValueError(f"{made} is all that the URL of a backend may say")
    return made


def _filled(template: str, model: str) -> str:
    # A dot segment would be another path, and quoting leaves dots as they are.
    if "{model}" in template and not re.search(r"[^.]", model):
        raise ValueError("no name of a model")
    return template.replace("{model}", quote(model, safe=""))


def _date(header: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(header) if header else None
    except (ValueError, OverflowError):
        return None
    # One that names no zone of its own (-0000) is of UTC, and is compared with times that have one.
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _why(error: aiohttp.ClientConnectorError) -> str:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "the certificate is not trusted"
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return "there is no TLS"
    if isinstance(error.os_error, ConnectionRefusedError):
        return "the connection was refused"
    return "no connection could be made"
