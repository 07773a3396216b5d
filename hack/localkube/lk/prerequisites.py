"""What the machine must have before anything starts."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lk.report import LocalkubeError, step

EXIT_MISSING = 3

# Debian package -> a file it brings, by command name or absolute path.
CONTROL_PLANE_PACKAGES = {
    "iproute2": "ip",
    "openssl": "openssl",
    "util-linux": "unshare",
}
FULL_PACKAGES = CONTROL_PLANE_PACKAGES | {
    "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
    "conntrack": "conntrack",
    "containernetworking-plugins": "/usr/lib/cni/ptp",
    "e2fsprogs": "mkfs.ext4",
    "gcc": "gcc",
    "iptables": "iptables",
    "libc6-dev": "/usr/include/stdlib.h",
    "libseccomp-dev": "/usr/include/seccomp.h",
    "mmdebstrap": "mmdebstrap",
    "mount": "mount",
    "nftables": "nft",
    "pkg-config": "pkg-config",
}


def ensure(packages: dict[str, str], *, install: bool) -> None:
    """Check root and the packages; with `install`, bring the missing ones by apt-get."""
    if os.geteuid() != 0:
        raise LocalkubeError("must run as root (namespaces, mounts, cgroups)", code=EXIT_MISSING)
    missing = _missing(packages)
    if missing and install:
        with step(f"install packages {' '.join(missing)}"):
            _install(missing)
        missing = _missing(packages)
    if missing:
        raise LocalkubeError(
            f"missing packages: {' '.join(missing)} (apt-get install them, "
            "or run `up --install-packages`)",
            code=EXIT_MISSING,
        )
    if not Path("/sys/fs/cgroup/memory/cgroup.procs").exists():
        raise LocalkubeError(
            "needs the cgroup v1 controllers under /sys/fs/cgroup", code=EXIT_MISSING
        )


def _missing(packages: dict[str, str]) -> list[str]:
    return [package for package, brings in packages.items() if not _present(brings)]


def _present(brings: str) -> bool:
    if brings.startswith("/"):
        return Path(brings).exists()
    return shutil.which(brings) is not None


def _install(packages: list[str]) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (
        ["apt-get", "-qq", "update"],
        ["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *packages],
    ):
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise LocalkubeError(
                f"`{' '.join(command)}` failed: {result.stderr.strip()[-400:]}", code=EXIT_MISSING
            )
