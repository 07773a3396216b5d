"""Through a proxy: who is asked, what it is told, and what is judged before (P70 without passwords)."""

from __future__ import annotations

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.transport.client import HttpClient
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
