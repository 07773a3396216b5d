"""One HTTP client for model files and gallery indexes.

It follows redirects itself, one hop at a time, each judged anew; asks for bytes as they are; asks for the
credentials of each hop anew, so that none can leave with a redirect. Foreign errors become ours here and
nowhere else.
"""

from __future__ import annotations

import http.client
import io
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError, SSLError

from model_gallery import __version__
from model_gallery.api.conditions import Reason
from model_gallery.artifact import reference
from model_gallery.errors import GalleryError, StalledError, TransientError
from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.transport import answers
from model_gallery.transport.authorize import Authorize, nobody
from model_gallery.transport.connections import Connections, shut
from model_gallery.transport.targets import Targets

__all__ = ["Fetched", "HttpClient", "Response"]

_CONNECT_SECONDS = 10.0
_DOCUMENT_SECONDS = 120.0
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_MODIFIED = 304
_BLOCK = 64 * 1024
_CONNECTIONS_PER_HOST = 32
_OF_ANOTHER_TIME = re.compile("has expired|not yet valid")
"""How OpenSSL says that a certificate does not hold at this moment."""
_TUNNEL_REFUSED = "Tunnel connection failed: 407"
"""How the standard library tells what a proxy answered to CONNECT; it keeps no status."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer whose body is still to be read.

    Attributes:
        headers: names in lower case.
        url: of the last hop.
        trail: headers of the answers that redirected here.
    """

    status: int
    headers: Mapping[str, str]
    url: str
    trail: tuple[Mapping[str, str], ...]
    _raw: urllib3.BaseHTTPResponse

    @property
    def _body(self) -> _Answer:
        """The standard library's response: urllib3 would allocate and copy each block once more."""
        body: _Answer = self._raw._fp  # type: ignore[attr-defined]  # noqa: SLF001
        return body

    def readinto(self, buffer: memoryview) -> int:
        """Fills the buffer with the next bytes as they were sent.

        Returns:
            How many; 0 at the end.

        Raises:
            TransientError: Interrupted.
        """
        body = self._body
        try:
            count = body.readinto(buffer)
        except (http.client.HTTPException, OSError, ValueError) as error:
            raise _interrupted(self.url, error) from error
        if count == 0 and body.is_aborted:
            # Where no length was told this would be the end of the body.
            raise _interrupted(self.url, TimeoutError())
        return count

    def whole(self, max_bytes: int, seconds: float, too_large: Reason) -> bytes:
        """Returns the body of a small document.

        Args:
            seconds: after which it must have come, however it drips.
            too_large: reason of the error for more than `max_bytes`.

        Raises:
            TransientError: Interrupted.
            StalledError: it is larger than `max_bytes`.
        """
        body, block = bytearray(), memoryview(bytearray(_BLOCK))
        with _within(seconds, self.abort):
            while read := self.readinto(block):
                body += block[:read]
                if len(body) > max_bytes:
                    message = f"{answers.shown(self.url)} is larger than {max_bytes} bytes"
                    raise StalledError(too_large, message)
        announced = self.headers.get("content-length", "")
        if announced.isdecimal() and len(body) < int(announced):
            # The standard library takes the end of a cut connection for the end of the body.
            raise TransientError(
                Reason.INTERRUPTED,
                f"{answers.shown(self.url)} broke off after {len(body)} of {announced} bytes",
            )
        return bytes(body)

    def abort(self) -> None:
        """Ends the transfer from another thread: the reader gets an error at once."""
        self._body.abort()

    def release(self) -> None:
        """Keeps the connection where the body was read to its end, and closes it otherwise."""
        if self._body.isclosed():
            self._raw.release_conn()
        else:
            self._raw.close()


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole small document.

    Attributes:
        body: None where the server says that it is unchanged.
        headers: of the last hop, names in lower case.
    """

    body: bytes | None
    etag: str | None
    last_modified: str | None
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpClient:
    """A client that reaches only what the policy allows. Safe to use from several threads.

    Args:
        ca_pem: extra certificate authorities, PEM.
        proxy_authorization: asked before the first request through the policy's proxy: the value of the
            header that the proxy is told, and nobody else. What it raises, that request raises.
    """

    def __init__(
        self,
        policy: NetworkPolicy,
        *,
        ca_pem: bytes | None = None,
        proxy_authorization: Callable[[], str | None] | None = None,
    ) -> None:
        self._targets = Targets(policy)
        self._proxy_authorization = proxy_authorization
        self._policy, self._ca_pem = policy, ca_pem
        if ca_pem is not None:
            # Now, and not with the first request: whoever gave it shall hear of it.
            _ = self._context
        self._connections = Connections()
        self._plain = _pool_manager(self._targets, self._connections, None, policy.stall_seconds)

    def close(self) -> None:
        """Ends all requests, also those of other threads, which get an error at once."""
        self._connections.close()
        for name in ("_plain", "_secure", "_proxied"):
            manager = self.__dict__.get(name)
            if manager is not None:
                manager.clear()

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """Reads the machine's authorities: forty milliseconds that plain HTTP can do without."""
        context = ssl.create_default_context()
        if self._ca_pem is not None:
            try:
                context.load_verify_locations(cadata=self._ca_pem.decode("ascii"))
            except (ssl.SSLError, UnicodeError) as error:
                raise StalledError(
                    Reason.CERTIFICATE_INVALID, "the CA bundle holds no PEM certificates"
                ) from error
        return context

    @cached_property
    def _secure(self) -> urllib3.PoolManager:
        return _pool_manager(
            self._targets, self._connections, self._context, self._policy.stall_seconds
        )

    @cached_property
    def _proxied(self) -> urllib3.PoolManager:
        value = self._proxy_authorization() if self._proxy_authorization else None
        headers = {"Proxy-Authorization": value} if value else {}
        return _proxy_manager(self._policy, self._connections, self._context, headers)

    @contextmanager
    def open(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        authorize: Authorize = nobody,
        expect: Collection[int] = (),
        body: bytes | None = None,
    ) -> Iterator[Response]:
        """Asks for a URL, through redirects, and hands out the open answer.

        Args:
            authorize: asked for headers at every hop, with the URL of that hop.
            expect: statuses of 400 and more that are handed out as answers and not raised.
            body: posted, also to where a redirect leads; None: a GET. For questions that change nothing.

        Raises:
            TransientError: Unreachable, ServerError, RateLimited, Interrupted.
            StalledError: what asking again cannot mend.
        """
        response = self._ask(url, dict(headers or {}), authorize, expect, body)
        try:
            yield response
        finally:
            response.release()

    def fetch(
        self,
        url: str,
        *,
        max_bytes: int,
        etag: str | None = None,
        last_modified: str | None = None,
        accept: str = "",
        authorize: Authorize = nobody,
        deadline_seconds: float = _DOCUMENT_SECONDS,
        too_large: Reason = Reason.INDEX_INVALID,
        body: bytes | None = None,
    ) -> Fetched:
        """Fetches a small document whole, conditionally where a validator is given.

        Args:
            accept: media types to ask for; also that of the body.
            deadline_seconds: for the body of the answer.
            body: as of `open`.
            too_large: reason of the error for a document of more than `max_bytes`.

        Raises:
            TransientError: it could not be had now.
            StalledError: it is larger than `max_bytes`, or asking again cannot mend it.
        """
        headers = {"Accept": accept} if accept else {}
        if body is not None:
            headers["Content-Type"] = accept
        if etag:
            headers["If-None-Match"] = etag
        if last_modified:
            headers["If-Modified-Since"] = last_modified
        with self.open(url, headers, authorize=authorize, body=body) as response:
            tag, date = response.headers.get("etag"), response.headers.get("last-modified")
            if response.status == _NOT_MODIFIED:
                unchanged = tag or etag, date or last_modified
                return Fetched(None, *unchanged, response.url, response.headers)
            whole = response.whole(max_bytes, deadline_seconds, too_large)
            return Fetched(whole, tag, date, response.url, response.headers)

    def _ask(
        self,
        url: str,
        headers: dict[str, str],
        authorize: Authorize,
        expect: Collection[int],
        body: bytes | None,
    ) -> Response:
        previous = ""
        trail: list[Mapping[str, str]] = []
        for _ in range(_MAX_REDIRECTS + 1):
            url = reference.redirect_target(url)
            scheme = urlsplit(url).scheme
            self._targets.check_scheme(scheme, previous)
            raw = self._request(url, {**headers, **authorize(url)}, body)
            if raw.status not in _REDIRECTS or "location" not in raw.headers:
                error = answers.refusal(raw.status, raw.headers, url, self._policy.proxy)
                if error is not None and raw.status not in expect:
                    raw.close()
                    raise error
                return Response(raw.status, _lowered(raw), url, tuple(trail), raw)
            raw.close()
            trail.append(_lowered(raw))
            url, previous = urljoin(url, raw.headers["location"]), scheme
        raise StalledError(
            Reason.TOO_MANY_REDIRECTS, f"{answers.shown(url)}: more than {_MAX_REDIRECTS} redirects"
        )

    def _pools(self, url: str) -> urllib3.PoolManager:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
        if not self._policy.proxy or _is_direct(host, self._policy.no_proxy):
            return self._secure if parts.scheme == "https" else self._plain
        # The proxy resolves names; what is written as an address is still judged here.
        self._targets.check_literal(host)
        return self._proxied

    def _request(
        self, url: str, headers: dict[str, str], body: bytes | None
    ) -> urllib3.BaseHTTPResponse:
        own = {
            "User-Agent": f"model-gallery-operator/{__version__}",
            # The digest is of the bytes as published, not as a proxy may have packed them.
            "Accept-Encoding": "identity",
        }
        try:
            return self._pools(url).request(
                "GET" if body is None else "POST",
                url,
                body=body,
                headers={**own, **headers},
                redirect=False,
                preload_content=False,
            )
        except (HTTPError, OSError) as error:
            raise _translated(url, error, self._policy.proxy) from error


def _lowered(raw: urllib3.BaseHTTPResponse) -> Mapping[str, str]:
    # A header that comes several times means what its values joined mean; the last would not.
    return {key.lower(): ", ".join(raw.headers.getlist(key)) for key in raw.headers}


@contextmanager
def _within(seconds: float, end: Callable[[], None]) -> Iterator[None]:
    """Calls `end` if the block lasts longer."""
    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Head:
    """Lines of an answer's head, all of which must have come in time.

    The socket's own limit begins anew with each byte, so who drips never comes to it. Without a thread:
    there is one head for each small file.
    """

    def __init__(self, stream: io.BufferedReader, seconds: float) -> None:
        self._stream = stream
        self._end = time.monotonic() + seconds

    def readline(self, most: int) -> bytes:
        line = b""
        while not line.endswith(b"\n") and len(line) < most:
            there = self._stream.peek(1)[: most - len(line)]
            if not there:
                break
            if time.monotonic() > self._end:
                raise TimeoutError("the headers took too long to arrive")
            line += self._stream.read(there.find(b"\n") + 1 or len(there))
        return line

    def close(self) -> None:
        self._stream.close()


class _Answer(http.client.HTTPResponse):
    """An answer that can be ended from another thread, and whose head comes in time or not at all.

    Attributes:
        sock: its connection forgets it where the server is going to close it.
    """

    _connections: Connections
    _head_seconds: float

    def __init__(self, sock: socket.socket, *args: Any, **more: Any) -> None:
        super().__init__(sock, *args, **more)
        self.sock: socket.socket | None = sock
        self._is_aborted = False
        try:
            self._connections.add(self)
        except OSError:
            # Not raised: it holds the socket already, and whoever reads it is told.
            shut(self)

    @property
    def is_aborted(self) -> bool:
        return self._is_aborted or self._connections.is_closed

    def abort(self) -> None:
        self._is_aborted = True
        if not self.isclosed():
            shut(self)

    def begin(self) -> None:
        stream: Any = self.fp
        head: Any = _Head(stream, self._head_seconds)
        self.fp = head
        try:
            super().begin()
        finally:
            if self.fp is head:
                self.fp = stream


def _pool_manager(
    targets: Targets, connections: Connections, context: ssl.SSLContext | None, stall_seconds: float
) -> urllib3.PoolManager:
    manager = urllib3.PoolManager(
        ssl_context=context,
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=stall_seconds),
        retries=False,
        maxsize=_CONNECTIONS_PER_HOST,
    )
    manager.pool_classes_by_scheme = _pool_classes(
        connections, stall_seconds, lambda connection: _connected(targets, connection)
    )
    return manager


def _proxy_manager(
    policy: NetworkPolicy,
    connections: Connections,
    context: ssl.SSLContext,
    headers: Mapping[str, str],
) -> urllib3.PoolManager:
    manager = urllib3.ProxyManager(
        policy.proxy,
        proxy_headers=headers,
        ssl_context=context,
        proxy_ssl_context=context,
        timeout=urllib3.Timeout(connect=_CONNECT_SECONDS, read=policy.stall_seconds),
        retries=False,
        maxsize=_CONNECTIONS_PER_HOST,
    )
    # The proxy is the administrator's word: its address is not judged.
    manager.pool_classes_by_scheme = _pool_classes(
        connections,
        policy.stall_seconds,
        HTTPConnection._new_conn,  # noqa: SLF001
    )
    return manager


def _pool_classes(
    connections: Connections,
    head_seconds: float,
    connect: Callable[[HTTPConnection], socket.socket],
) -> dict[str, type[HTTPConnectionPool]]:
    """Returns the pools by scheme whose connections are taken into account and made by `connect`.

    Args:
        head_seconds: in which status and headers of an answer must have come.
    """

    class Answer(_Answer):
        _connections, _head_seconds = connections, head_seconds

    class PlainConnection(HTTPConnection):
        response_class = Answer

        def _new_conn(self) -> socket.socket:
            connections.add(self)
            return connect(self)

    class TlsConnection(HTTPSConnection):
        response_class = Answer

        def _new_conn(self) -> socket.socket:
            connections.add(self)
            return connect(self)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": PlainPool, "https": TlsPool}


def _is_direct(host: str, no_proxy: Collection[str]) -> bool:
    return any(
        host.endswith(rule) if rule.startswith(".") else host == rule
        for rule in (text.lower() for text in no_proxy)
    )


def _connected(targets: Targets, connection: Any) -> socket.socket:
    """Connects to the first address of the host that answers, all of them having been judged."""
    failure: OSError = OSError("the host has no address")
    for family, address in targets.resolve(connection.host, connection.port):
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.sock = made
            made.settimeout(_CONNECT_SECONDS)
            made.connect((str(address), connection.port))
        except OSError as error:
            connection.sock = None
            made.close()
            failure = error
            continue
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made
    raise NewConnectionError(connection, str(failure)) from failure


def _translated(url: str, error: Exception, proxy: str) -> GalleryError:
    where = answers.shown(url)
    reason = error.reason if isinstance(error, urllib3.exceptions.MaxRetryError) else error
    if isinstance(reason, urllib3.exceptions.ProxyError):
        reason = reason.original_error
        if str(reason).startswith(_TUNNEL_REFUSED):
            return answers.proxy_refusal(url, proxy)
    if isinstance(reason, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(reason):
        text = str(reason).partition("CERTIFICATE_VERIFY_FAILED]")[2].strip(" )'") or str(reason)
        hint = "; or the clock of the node is wrong" if _OF_ANOTHER_TIME.search(text) else ""
        return StalledError(Reason.CERTIFICATE_INVALID, f"{where}: {text[:150]}{hint}")
    if isinstance(reason, urllib3.exceptions.ReadTimeoutError | urllib3.exceptions.ProtocolError):
        return _interrupted(url, error)
    # urllib3 puts the name of the connection's class before what happened.
    what = str(reason).rpartition("): ")[2] or type(reason).__name__
    return TransientError(Reason.UNREACHABLE, f"{where}: {what[:150]}")


def _interrupted(url: str, error: Exception) -> TransientError:
    return TransientError(
        Reason.INTERRUPTED, f"{answers.shown(url)}: the transfer broke off ({type(error).__name__})"
    )
