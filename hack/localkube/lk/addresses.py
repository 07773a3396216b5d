"""Which address ranges a cluster uses: all of them follow from one small number."""

from __future__ import annotations

import ipaddress
import json
import subprocess
from dataclasses import dataclass

from lk.paths import state_root
from lk.report import LocalkubeError

CLUSTERS = 200
LINKS, PODS, SERVICES = "10.213", "10.214", "10.215"


@dataclass(frozen=True)
class Addresses:
    """The addresses of cluster number `index`."""

    index: int

    @property
    def link(self) -> str:
        """Name of the host's end of the veth pair."""
        return f"localkube{self.index}"

    @property
    def host_ip(self) -> str:
        """The host, as the cluster sees it."""
        return f"{LINKS}.{self.index}.1"

    @property
    def node_ip(self) -> str:
        """The node, as everyone sees it."""
        return f"{LINKS}.{self.index}.2"

    @property
    def pod_cidr(self) -> str:
        """Addresses of pods."""
        return f"{PODS}.{self.index}.0/24"

    @property
    def service_cidr(self) -> str:
        """Addresses of Services."""
        return f"{SERVICES}.{self.index}.0/24"

    @property
    def api_service_ip(self) -> str:
        """Address of the Service `kubernetes`."""
        return f"{SERVICES}.{self.index}.1"

    @property
    def dns_ip(self) -> str:
        """Address of the cluster's DNS."""
        return f"{SERVICES}.{self.index}.10"

    def networks(self) -> list[str]:
        """Return every range the cluster claims."""
        return [f"{LINKS}.{self.index}.0/30", self.pod_cidr, self.service_cidr]


def free_addresses() -> Addresses:
    """Return addresses that neither another cluster nor a route of the machine uses."""
    taken = {json.loads(file.read_text())["index"] for file in state_root().glob("*/cluster.json")}
    routes = _routed()
    for index in range(CLUSTERS):
        candidate = Addresses(index)
        networks = [ipaddress.ip_network(network) for network in candidate.networks()]
        if index not in taken and not any(
            network.overlaps(route) for network in networks for route in routes
        ):
            return candidate
    raise LocalkubeError("no free address range for another cluster")


def _routed() -> list[ipaddress.IPv4Network]:
    output = subprocess.run(
        ["ip", "-4", "-json", "route", "show", "table", "all"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    destinations = [route["dst"] for route in json.loads(output) if route["dst"] != "default"]
    return [ipaddress.IPv4Network(destination, strict=False) for destination in destinations]
