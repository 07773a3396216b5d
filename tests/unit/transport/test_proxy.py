"""Through a proxy: who is asked, what it is told, and what is judged before (P70)."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError, TransientError
from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.transport.client import HttpClient
from support import faultserver as origins
from support import proxy as proxies
from support.scripted import Answer, serve


def client(proxy: str, *no_proxy: str) -> HttpClient:
    return HttpClient(
        NetworkPolicy(allowed_networks=("127.0.0.1/32",), proxy=proxy, no_proxy=no_proxy)
    )


def test_everything_goes_through_the_proxy() -> None:
    with serve() as proxy:
        proxy.routes = {"http://models.example/a": Answer(b"through")}

        fetched = client(proxy.url).fetch("http://models.example/a", max_bytes=100)

    assert fetched.body == b"through"


def test_hosts_without_a_proxy_are_reached_directly() -> None:
    with serve() as proxy, serve() as server:
        server.routes = {"/a": Answer(b"direct")}

        fetched = client(proxy.url, "127.0.0.1").fetch(f"{server.url}/a", max_bytes=100)

    assert fetched.body == b"direct"
    assert proxy.asked == []


@pytest.mark.parametrize(
    ("host", "rule", "direct"),
    [("a.corp", ".corp", True), ("a.corp", "corp", False), ("corp", ".corp", False)],
)
def test_rules_for_hosts_without_a_proxy(host: str, rule: str, direct: bool) -> None:
    found = client("http://127.0.0.1:9", rule)

    assert (found._pools(f"http://{host}/") is found._plain) == direct


@pytest.mark.parametrize("host", ["10.0.0.1", "169.254.169.254", "[::1]", "2130706434", "0x7f.2"])
def test_an_inside_address_is_not_even_asked_of_the_proxy(host: str) -> None:
    with serve() as proxy:
        with pytest.raises(StalledError) as caught:
            client(proxy.url).fetch(f"http://{host}/", max_bytes=100)

        assert proxy.asked == []
    assert caught.value.reason is Reason.TARGET_NOT_ALLOWED


@pytest.mark.parametrize("direct", [True, False])
def test_the_password_does_not_leave_with_a_redirect(direct: bool) -> None:
    """From an origin behind the proxy to one that is reached without it, or to another behind it."""
    with (
        proxies.serve("someone", "s3cret") as proxy,
        origins.serve() as first,
        origins.serve() as last,
    ):
        # Another name of the same address: only one of the two is reached without the proxy.
        begin = first.url.replace("127.0.0.1", "0177.0.0.1")
        first.behave = lambda _: origins.status(302, f"Location: {last.url}/b\r\n")
        last.behave = lambda request: origins.answer(b"body", request)
        policy = NetworkPolicy(
            allowed_networks=("127.0.0.1/32",),
            proxy=proxy.url,
            no_proxy=("127.0.0.1",) if direct else (),
        )
        told = HttpClient(policy, proxy_authorization=lambda: proxy.expected)
        fetched = told.fetch(f"{begin}/a", max_bytes=100)
        told.close()
        asked = [request.raw.lower() for request in (*first.requests, *last.requests)]

    assert fetched.body == b"body"
    assert proxy.shown == [proxy.expected] * (1 if direct else 2)
    assert len(asked) == 2
    assert not any(b"authorization" in raw for raw in asked)


@pytest.fixture
def closed_proxy() -> Iterator[str]:
    """The URL of a proxy that serves nobody without a password."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_CONNECT = do_GET  # noqa: N815 - the standard library asks for this name

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_is_named(closed_proxy: str, scheme: str) -> None:
    with pytest.raises(StalledError) as caught:
        client(closed_proxy).fetch(f"{scheme}://models.example/a?sig=secret", max_bytes=100)

    assert caught.value.reason is Reason.UNAUTHORIZED
    host = closed_proxy.removeprefix("http://")
    assert f"the proxy {host} asks for a user name and password" in caught.value.message
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_transient(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(TransientError) as caught:
        client(f"http://127.0.0.1:{port}").fetch(f"{scheme}://models.example/a", max_bytes=100)

    assert caught.value.reason is Reason.UNREACHABLE
    assert "Connection refused" in caught.value.message
    assert "OSError(" not in caught.value.message
