"""The cluster's init as the host sees it: starting, finding, ending and entering it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from lk import cgroups
from lk.paths import SOURCE, ClusterPaths
from lk.report import LocalkubeError

SUPERVISOR = SOURCE / "lk" / "supervisor.py"
# The host's mounts and unmounts are seen inside, those made inside only there.
UNSHARE = (
    *("unshare", "--fork", "--pid", "--mount", "--net", "--uts", "--ipc"),
    *("--mount-proc", "--propagation", "slave", "--kill-child"),
)
START_WITHIN_SECONDS = 10.0
END_WITHIN_SECONDS = 10.0


def start(paths: ClusterPaths) -> int:
    """Start the supervisor as init of new namespaces; return its host pid."""
    log = paths.log("supervisor")
    with log.open("ab") as output:
        outer = subprocess.Popen(
            cgroups.entering(
                paths.name,
                [*UNSHARE, sys.executable, "-B", str(SUPERVISOR), str(paths.plan)],
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
        )
    init = _child_of(outer, log)
    paths.init.write_text(json.dumps({"pid": init, "born": _born(init)}))
    return init


def init_pid(paths: ClusterPaths) -> int | None:
    """Return the init's host pid, or None if it is not alive (or another has its pid)."""
    try:
        init = json.loads(paths.init.read_text())
    except (OSError, ValueError):
        return None
    return init["pid"] if _born(init["pid"]) == init["born"] else None


def kill(paths: ClusterPaths) -> None:
    """End the cluster's processes: its init, and whatever its cgroups still hold."""
    init = init_pid(paths)
    if init is not None:
        os.kill(init, signal.SIGKILL)
        # The kernel ends the rest first; with the init go the network and the mounts.
        _wait_end(init)
    cgroups.kill_all(paths.name)


def _wait_end(pid: int) -> None:
    deadline = time.monotonic() + END_WITHIN_SECONDS
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)


def enter(init: int, *namespaces: str) -> list[str]:
    """Return the words that run a command in the cluster's namespaces."""
    return ["nsenter", f"--target={init}", *(f"--{namespace}" for namespace in namespaces), "--"]


def host_pids(paths: ClusterPaths) -> dict[int, int]:
    """Return the host pid of each pid of the cluster's own PID namespace."""
    found: dict[int, int] = {}
    for pid in cgroups.pids(paths.name):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        inner = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()
        # pid on the host, pid in the cluster; a third one only inside a container.
        if len(inner) > 2:
            found[int(inner[2])] = pid
    return found


def _child_of(outer: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + START_WITHIN_SECONDS
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    while time.monotonic() < deadline and outer.poll() is None:
        try:
            found = children.read_text().split()
        except FileNotFoundError:
            break
        if found:
            return int(found[0])
        time.sleep(0.01)
    raise LocalkubeError("the cluster's init did not start", log)


def _born(pid: int) -> str | None:
    """Return when a process started (in ticks since boot); None if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
