"""The veth pair between the host and the cluster's network namespace."""

from __future__ import annotations

import subprocess

from lk.addresses import Addresses
from lk.report import LocalkubeError


def connect(addresses: Addresses, init_pid: int) -> None:
    """Create the pair and the host's routes; both vanish with the namespace."""
    _ip(
        "link",
        "add",
        addresses.link,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        str(init_pid),
    )
    _ip("address", "add", f"{addresses.host_ip}/30", "dev", addresses.link)
    _ip("link", "set", addresses.link, "up")
    for network in (addresses.pod_cidr, addresses.service_cidr):
        _ip("route", "add", network, "via", addresses.node_ip)


def disconnect(addresses: Addresses) -> None:
    """Delete the pair if it is still there (a namespace's end deletes it a moment later)."""
    subprocess.run(["ip", "link", "delete", addresses.link], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    result = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise LocalkubeError(f"`ip {' '.join(arguments)}` failed: {result.stderr.strip()}")
