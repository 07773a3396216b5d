"""The cluster's cgroup in every hierarchy: it holds, and so finds, all its processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

HIERARCHIES = Path("/sys/fs/cgroup")
EMPTY_WITHIN_SECONDS = 20.0


def cgroup_name(cluster: str) -> str:
    """Return the name of the cluster's cgroup, the same in every hierarchy."""
    return f"localkube-{cluster}"


def create(cluster: str) -> None:
    """Create the cluster's cgroups; `system` is for its own components."""
    for hierarchy in _hierarchies():
        group = hierarchy / cgroup_name(cluster)
        for directory in (group, group / "system"):
            directory.mkdir(exist_ok=True)
            _inherit_cpuset(directory)


def entering(cluster: str, command: list[str]) -> list[str]:
    """Return the words that run a command in the cluster's `system` cgroups from its start."""
    groups = f"{HIERARCHIES}/*/{cgroup_name(cluster)}/system"
    script = f'for group in {groups}; do echo $$ > "$group/cgroup.procs"; done; exec "$@"'
    return ["sh", "-ec", script, "sh", *command]


def pids(cluster: str) -> set[int]:
    """Return the host pids of all processes of the cluster, containers included."""
    found: set[int] = set()
    for group in _groups(cluster):
        try:
            found.update(map(int, (group / "cgroup.procs").read_text().split()))
        except OSError:
            continue
    return found - {0}


def exists(cluster: str) -> bool:
    """Tell whether any cgroup of the cluster is there."""
    return bool(_groups(cluster))


def kill_all(cluster: str) -> None:
    """Kill whatever is in the cluster's cgroups, until nothing is."""
    deadline = time.monotonic() + EMPTY_WITHIN_SECONDS
    while (left := pids(cluster)) and time.monotonic() < deadline:
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.05)


def remove(cluster: str) -> list[Path]:
    """Remove the cluster's cgroups, innermost first; return those that would not go."""
    deadline = time.monotonic() + EMPTY_WITHIN_SECONDS
    while True:
        for group in _groups(cluster):
            try:
                group.rmdir()
            except OSError:
                continue
        left = _groups(cluster)
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.1)


def _hierarchies() -> list[Path]:
    return [
        entry
        for entry in sorted(HIERARCHIES.iterdir())
        if entry.is_dir() and not entry.is_symlink() and (entry / "cgroup.procs").exists()
    ]


def _groups(cluster: str) -> list[Path]:
    """Return the cluster's cgroups, innermost first."""
    groups: list[Path] = []
    for hierarchy in _hierarchies():
        for directory, _, _ in os.walk(hierarchy / cgroup_name(cluster), topdown=False):
            groups.append(Path(directory))
    return groups


def _inherit_cpuset(directory: Path) -> None:
    """Give a new cpuset its parent's processors: with none no process may enter."""
    for file in ("cpuset.cpus", "cpuset.mems"):
        if (directory / file).exists() and not (directory / file).read_text().strip():
            (directory / file).write_text((directory.parent / file).read_text())
