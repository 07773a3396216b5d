"""Where the HTTP servers listen."""

from __future__ import annotations

import socket

__all__ = ["listening"]


def listening(host: str, port: int, backlog: int) -> socket.socket:
    """Returns a socket that listens.

    One for both families, and no name is resolved: for that asyncio would start a thread.

    Args:
        host: an address; empty: every one, IPv6 and IPv4, or IPv4 where the kernel has no other.
        port: 0 for any that is free.

    Raises:
        OSError: the address cannot be used.
    """
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(
            ("::", port), family=socket.AF_INET6, backlog=backlog, dualstack_ipv6=True
        )
    return socket.create_server((host, port), backlog=backlog)
