"""Which addresses may be connected to, judged on the resolved address at the moment of connecting.

A name is resolved once; if any of its addresses is refused the whole name is, so that neither a second
DNS answer nor a mixed one gets past the check. The connection goes to the address that was judged.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError, TransientError
from model_gallery.protocol.operation import NetworkPolicy

__all__ = ["Targets"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SHARED = ipaddress.ip_network("100.64.0.0/10")


@dataclass(frozen=True, slots=True)
class Targets:
    """The administrator's policy as a judge of addresses."""

    policy: NetworkPolicy

    def check_scheme(self, scheme: str, previous: str = "") -> None:
        """Refuses plain HTTP where the policy does, and always after https.

        Args:
            scheme: of the URL about to be asked.
            previous: scheme of the URL that redirected here; empty for the first.

        Raises:
            StalledError: TargetNotAllowed.
        """
        if scheme not in {"http", "https"}:
            raise StalledError(Reason.TARGET_NOT_ALLOWED, f"scheme {scheme[:20]!r} is not allowed")
        if scheme == "http" and not self.policy.allow_plain_http:
            raise StalledError(
                Reason.TARGET_NOT_ALLOWED, "plain http:// is not allowed by the administrator"
            )
        if scheme == "http" and previous == "https":
            raise StalledError(
                Reason.TARGET_NOT_ALLOWED, "a redirect from https:// to http:// is not followed"
            )

    def check_literal(self, host: str) -> None:
        """Refuses a host that is written as an address which is not allowed.

        Raises:
            StalledError: TargetNotAllowed, naming the address.
        """
        try:
            answers = socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return
        for *_, place in answers:
            self._check(host, ipaddress.ip_address(str(place[0]).partition("%")[0]))

    def resolve(self, host: str, port: int) -> list[tuple[int, Address]]:
        """Returns the address families and addresses of a host, all of them allowed.

        Raises:
            StalledError: TargetNotAllowed, naming host and address.
            TransientError: Unreachable, where the name does not resolve.
        """
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            message = f"host {host[:100]} does not resolve: {error}"
            raise TransientError(Reason.UNREACHABLE, message) from error
        found: list[tuple[int, Address]] = [
            (family, ipaddress.ip_address(str(place[0]).partition("%")[0]))
            for family, _, _, _, place in answers
        ]
        for _, address in found:
            self._check(host, address)
        return found

    def _check(self, host: str, address: Address) -> None:
        if not self._is_allowed(address):
            raise StalledError(
                Reason.TARGET_NOT_ALLOWED,
                f"host {host[:100]} is at {address}, which is not a public address;"
                " the administrator can list its network in network.allowedNetworks",
            )

    def _is_allowed(self, address: Address) -> bool:
        address = _unwrapped(address)
        networks = [ipaddress.ip_network(text) for text in self.policy.allowed_networks]
        if any(address in network for network in networks if network.version == address.version):
            return True
        shared = address.version == _SHARED.version and address in _SHARED
        return address.is_global and not address.is_multicast and not shared


def _unwrapped(address: Address) -> Address:
    """Returns the IPv4 address inside a mapped or translated IPv6 one."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
