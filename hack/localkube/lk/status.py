"""What `status` tells."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from lk import process, tools
from lk.api import Api, ApiError
from lk.cluster import Cluster

PAGE_KIB = 4
HEADING = f"{'COMPONENT':<26}{'VERSION':<12}{'PID':>8}{'RSS MIB':>9}{'UPTIME':>10}{'RESTARTS':>10}"


def describe(cluster: Cluster) -> tuple[str, bool]:
    """Return a cluster's status as text, and whether it is healthy."""
    paths, addresses = cluster.paths, cluster.addresses
    init = process.init_pid(paths)
    healthy = init is not None and _answers(cluster)
    state = "healthy" if healthy else "not answering" if init is not None else "dead"
    lines = [
        f"cluster     {paths.name} ({cluster.size}), {state}",
        f"api server  https://{addresses.node_ip}:6443 ({tools.version('kube-apiserver')})",
        f"addresses   host {addresses.host_ip}, node {addresses.node_ip}",
        f"ranges      pods {addresses.pod_cidr}, services {addresses.service_cidr}",
        f"kubeconfig  {paths.kubeconfig}",
        f"state       {paths.root}",
        f"uptime      {_duration(time.time() - cluster.created)} since its first up",
    ]
    if init is not None:
        lines += [
            "",
            HEADING,
            *_components(cluster, init),
        ]
    return "\n".join(lines), healthy


def _components(cluster: Cluster, init: int) -> list[str]:
    paths = cluster.paths
    hosts = process.host_pids(paths)
    try:
        running = json.loads(paths.running.read_text())
    except FileNotFoundError:
        running = []
    lines = [_line("supervisor", "", init, _duration(_age(init)), 0)]
    total = _rss_mib(init)
    for component in running:
        pid = hosts.get(component["pid"])
        version = tools.version(component["name"]) if component["name"] in tools.OF_COMMAND else ""
        uptime = _duration(time.time() - component["started"]) if pid else "down"
        lines.append(_line(component["name"], version, pid, uptime, component["restarts"]))
        total += _rss_mib(pid)
    others = set(hosts.values()) - {hosts.get(component["pid"]) for component in running} - {init}
    rest = sum(map(_rss_mib, others))
    lines.append(f"{'containers and shims':<26}{'':<12}{len(others):>8}{rest:>9.0f}")
    lines.append(f"{'total':<26}{'':<12}{'':>8}{total + rest:>9.0f}")
    return lines


def _line(name: str, version: str, pid: int | None, uptime: str, restarts: int) -> str:
    return f"{name:<26}{version:<12}{pid or '-':>8}{_rss_mib(pid):>9.0f}{uptime:>10}{restarts:>10}"


def _answers(cluster: Cluster) -> bool:
    try:
        return Api(cluster.paths.kubeconfig).text("/readyz") == "ok"
    except (ApiError, OSError):
        return False


def _rss_mib(pid: int | None) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_KIB / 1024
    except OSError:
        return 0.0


def _age(pid: int) -> float:
    output = subprocess.run(
        ["ps", "-o", "etimes=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return float(output.strip() or 0)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
