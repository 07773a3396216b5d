"""The cluster's init: prepares its namespaces, runs its components, reaps its orphans.

It is process 1 of the cluster's PID namespace, so when it ends, however it ends,
the kernel ends every other process of the cluster, and with them go its network
namespace and all its mounts.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

RESTART_SECONDS = 1.0
STARTING_TICK_SECONDS = 0.05
QUIET_TICK_SECONDS = 0.5
NETWORK_WITHIN_SECONDS = 10.0
# What kubelet would write to the whole machine: shown to it as already so.
KERNEL_SETTINGS = {
    "/proc/sys/vm/overcommit_memory": "1",
    "/proc/sys/kernel/panic": "10",
    "/proc/sys/kernel/panic_on_oops": "1",
}


class Component:
    """One process that is kept running."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.name: str = spec["name"]
        self.restarts = 0
        self.pid: int | None = None
        self.started = 0.0
        self._argv: list[str] = spec["argv"]
        self._environment: dict[str, str] = spec["environment"]
        self._log = Path(spec["log"])
        self._after: list[str] = spec["after"]
        self._not_before = 0.0

    def due(self) -> bool:
        """Tell whether it is to be started now."""
        return (
            self.pid is None
            and time.monotonic() >= self._not_before
            and all(map(_ready, self._after))
        )

    def start(self) -> None:
        """Start it with its output appended to its log."""
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | self._environment,
                start_new_session=True,
            )
        self.pid = process.pid
        # The init reaps every child itself; Popen must not wait for this one.
        process.returncode = 0
        self.started = time.time()

    def ended(self, status: int) -> None:
        """Note its end and when to start it again."""
        with self._log.open("a") as log:
            log.write(
                f"localkube: {self.name} ended with status {status}, "
                f"starting it again in {RESTART_SECONDS} s\n"
            )
        self.pid = None
        self.restarts += 1
        self._not_before = time.monotonic() + RESTART_SECONDS


def main(plan_file: Path) -> None:
    """Run the plan until killed."""
    plan = json.loads(plan_file.read_text())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    socket.sethostname(plan["node"])
    _prepare_mounts(Path(plan["scratch"]))
    _prepare_network(plan["node_ip"], plan["host_ip"])
    components = [Component(spec) for spec in plan["components"]]
    while True:
        changed = _reap(components)
        for component in components:
            if component.due():
                component.start()
                changed = True
        if changed:
            _publish(Path(plan["running"]), components)
        pending = any(component.pid is None for component in components)
        time.sleep(STARTING_TICK_SECONDS if pending else QUIET_TICK_SECONDS)


def _prepare_mounts(scratch: Path) -> None:
    """Give the cluster its own /run, /var/log and the like, and share mounts with pods."""
    _run("mount", "--make-rshared", "/")
    for directory in ("/run", "/var/log", "/var/lib/cni"):
        Path(directory).mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", "mode=755", "localkube", directory)
    Path("/run/lock").mkdir()
    for setting, value in KERNEL_SETTINGS.items():
        shown = scratch / setting.replace("/", "_")
        shown.write_text(f"{value}\n")
        _run("mount", "--bind", str(shown), setting)


def _prepare_network(node_ip: str, host_ip: str) -> None:
    """Configure the namespace's end of the veth pair once the host has made it."""
    _run("ip", "link", "set", "lo", "up")
    deadline = time.monotonic() + NETWORK_WITHIN_SECONDS
    while "eth0" not in {name for _, name in socket.if_nameindex()}:
        if time.monotonic() > deadline:
            sys.exit("the host made no veth pair")
        time.sleep(0.02)
    _run("ip", "address", "add", f"{node_ip}/30", "dev", "eth0")
    _run("ip", "link", "set", "eth0", "up")
    _run("ip", "route", "add", "default", "via", host_ip)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _reap(components: list[Component]) -> bool:
    """Collect every ended child, adopted ones too; tell whether a component was among them."""
    changed = False
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return changed
        if pid == 0:
            return changed
        for component in components:
            if component.pid == pid:
                component.ended(os.waitstatus_to_exitcode(status))
                changed = True


def _publish(running: Path, components: list[Component]) -> None:
    fresh = running.with_suffix(".new")
    fresh.write_text(
        json.dumps(
            [
                {
                    "name": component.name,
                    "pid": component.pid,
                    "restarts": component.restarts,
                    "started": component.started,
                }
                for component in components
            ]
        )
    )
    fresh.rename(running)


def _ready(target: str) -> bool:
    """Tell whether a URL answers 200, or a `host:port` or unix socket accepts connections."""
    if target.startswith("https:"):
        return _answers(target)
    family = socket.AF_UNIX if target.startswith("/") else socket.AF_INET
    host, _, port = target.partition(":")
    address: Any = target if family == socket.AF_UNIX else (host, int(port))
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0


def _answers(url: str) -> bool:
    # No identity is checked: the address is this network namespace's own loopback.
    unverified = ssl._create_unverified_context()  # noqa: S323, SLF001
    try:
        with urllib.request.urlopen(  # noqa: S310  the plan's URLs are https
            url, timeout=1, context=unverified
        ) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
