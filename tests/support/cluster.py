"""The clusters that tests run on, brought up by the repository's own scripts and taken down again.

MODEL_GALLERY_TEST_CLUSTER names a full cluster to use instead, which then stays: for a developer who
runs one test again and again (`hack/e2e-cluster up NAME`).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.kube import Kube
from support.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["AuditLog", "Cluster", "control_plane", "full_cluster"]

REPOSITORY = Path(__file__).resolve().parents[2]
LOCALKUBE = REPOSITORY / "hack" / "localkube" / "localkube"
FULL = REPOSITORY / "hack" / "e2e-cluster"
OPERATOR = "system:serviceaccount:model-gallery-system:"
_EXPORT = re.compile(r"export (\w+)=(.*)")


@dataclass(frozen=True)
class AuditLog:
    """What the API server wrote down: one line for each write of the kinds that we count."""

    file: Path

    def position(self) -> int:
        """Returns the present end, from which to count later."""
        return self.file.stat().st_size

    def writes(self, since: int = 0, user: str = OPERATOR) -> list[dict[str, Any]]:
        """Returns the completed writes of users whose name begins so, without leases."""
        with self.file.open() as lines:
            lines.seek(since)
            entries = [json.loads(line) for line in lines if line.endswith("}\n")]
        return [
            entry
            for entry in entries
            if entry["user"]["username"].startswith(user)
            and entry["objectRef"]["resource"] != "leases"
        ]


@dataclass(frozen=True)
class Cluster:
    """One cluster.

    Attributes:
        audit: None where the cluster is not localkube's.
    """

    name: str
    kube: Kube
    audit: AuditLog | None

    @property
    def origin(self) -> Origin:
        """The origin server; only a full cluster has one."""
        return Origin(self.kube)


def _run(*command: str) -> str:
    """Runs a script of ours; what it says on stderr is shown as it comes."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def _environment(exports: str) -> dict[str, str]:
    result = {}
    for name, value in _EXPORT.findall(exports):
        words = shlex.split(value)
        result[name] = os.path.expandvars(words[0]) if words else ""
    return result


def _cluster(name: str, exports: str) -> Cluster:
    environment = _environment(exports)
    audit = environment.get("LOCALKUBE_AUDIT_LOG")
    return Cluster(name, Kube(environment), AuditLog(Path(audit)) if audit else None)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """A real API server without nodes, with the CRDs."""
    name = f"test-cp-{os.getpid()}"
    try:
        _run(str(LOCALKUBE), "up", "--name", name, "--control-plane", "--install-packages")
        cluster = _cluster(name, _run(str(LOCALKUBE), "env", "--name", name))
        cluster.kube.run("apply", "--server-side", "-f", str(REPOSITORY / "crds"))
        cluster.kube.run("wait", "--for=condition=Established", "crd", "--all")
        yield cluster
    finally:
        _run(str(LOCALKUBE), "down", "--name", name)


@pytest.fixture(scope="session")
def full_cluster() -> Iterator[Cluster]:
    """A cluster with a node, volumes, the chart and the origin server."""
    given = os.environ.get("MODEL_GALLERY_TEST_CLUSTER")
    name = given or f"test-e2e-{os.getpid()}"
    try:
        _run(str(FULL), "up", name)
        yield _cluster(name, _run(str(FULL), "env", name))
    finally:
        if not given:
            _run(str(FULL), "down", name)
