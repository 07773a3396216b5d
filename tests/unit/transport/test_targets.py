"""Which addresses may be reached (T25 to T29): every way to write an inside address is refused."""

from __future__ import annotations

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.transport.targets import Targets

INSIDE = [
    "127.0.0.1",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.5.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
]


@pytest.mark.parametrize("host", INSIDE)
def test_inside_addresses_are_refused(host: str) -> None:
    with pytest.raises(StalledError) as caught:
        Targets(NetworkPolicy()).resolve(host, 80)

    assert caught.value.reason is Reason.TARGET_NOT_ALLOWED
    assert "allowedNetworks" in caught.value.message


@pytest.mark.parametrize("host", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_allowed(host: str) -> None:
    assert Targets(NetworkPolicy()).resolve(host, 80)


def test_a_listed_network_is_allowed_and_no_more() -> None:
    targets = Targets(NetworkPolicy(allowed_networks=("10.1.0.0/16",)))

    assert targets.resolve("10.1.2.3", 80)
    with pytest.raises(StalledError):
        targets.resolve("10.2.0.1", 80)


@pytest.mark.parametrize(
    ("scheme", "previous", "plain"),
    [("http", "", False), ("http", "https", True), ("ftp", "", True), ("file", "https", True)],
)
def test_schemes_that_are_refused(scheme: str, previous: str, plain: bool) -> None:
    with pytest.raises(StalledError) as caught:
        Targets(NetworkPolicy(allow_plain_http=plain)).check_scheme(scheme, previous)

    assert caught.value.reason is Reason.TARGET_NOT_ALLOWED


def test_schemes_that_are_allowed() -> None:
    Targets(NetworkPolicy()).check_scheme("http")
    Targets(NetworkPolicy()).check_scheme("https", "http")
