"""Where localkube keeps its cache (shared, rebuilt at will) and its state (per cluster)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from lk.report import LocalkubeError

SOURCE = Path(__file__).resolve().parent.parent
TEMPLATES = SOURCE / "templates"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def cache_root() -> Path:
    """Return the directory of built tools and images."""
    base = os.environ.get("MODEL_GALLERY_CACHE")
    root = Path(base) if base else Path.home() / ".cache" / "model-gallery-operator"
    return root / "localkube"


def state_root() -> Path:
    """Return the directory that holds one directory per cluster."""
    return Path(os.environ.get("MODEL_GALLERY_STATE", "/var/lib/model-gallery-localkube"))


@dataclass(frozen=True)
class ClusterPaths:
    """The files of one cluster."""

    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise LocalkubeError(
                f"{self.name!r} is no cluster name: lower-case letters, digits and '-', 32 at most",
                code=2,
            )

    @property
    def root(self) -> Path:
        """The cluster's own directory, removed by `down`."""
        return state_root() / self.name

    @property
    def description(self) -> Path:
        """What the cluster is: size, addresses, tools."""
        return self.root / "cluster.json"

    @property
    def init(self) -> Path:
        """Which process is the cluster's init."""
        return self.root / "init.json"

    @property
    def plan(self) -> Path:
        """What the supervisor is told to run."""
        return self.root / "plan.json"

    @property
    def running(self) -> Path:
        """What the supervisor runs now."""
        return self.root / "running.json"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.root / "kubeconfig"

    @property
    def pki(self) -> Path:
        """Keys, certificates and tokens."""
        return self.root / "pki"

    @property
    def etc(self) -> Path:
        """Rendered configuration files."""
        return self.root / "etc"

    @property
    def logs(self) -> Path:
        """One log per component."""
        return self.root / "logs"

    @property
    def audit(self) -> Path:
        """The API server's audit log of writes, JSON lines."""
        return self.root / "audit.log"

    @property
    def volumes(self) -> Path:
        """The contents of all volumes."""
        return self.root / "volumes"

    def log(self, component: str) -> Path:
        """Return the log of one component."""
        return self.logs / f"{component}.log"
