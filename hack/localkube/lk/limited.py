"""Provisioner of the storage class `limited`: each volume is a file system of its own size.

Runs inside the cluster's namespaces, so that its mounts are seen by the kubelet, are
not seen by the host, and end with the cluster.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from lk.api import Api, ApiError, Object

CLASS = "limited"
PROVISIONER = "localkube/limited"
INODES = "localkube/inodes"
LABEL = "localkube-limited"
CLAIMS = "/api/v1/persistentvolumeclaims"
VOLUMES = "/api/v1/persistentvolumes"
POLL_SECONDS = 300
RETRY_SECONDS = 1.0
# After an event, wait for its companions: a claim's creation is followed by its annotation.
SETTLE_SECONDS = 0.1
UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
BLOCK = 4096
FAILURES = (ApiError, OSError, subprocess.CalledProcessError)


def main(kubeconfig: Path, directory: Path, node: str) -> None:
    """Keep volumes equal to claims until killed."""
    api = Api(kubeconfig)
    disks = Disks(directory)
    while True:
        try:
            version = reconcile(api, disks, node)
            wait_for_change(api, version)
        except FAILURES as error:
            log(f"trying again: {error}")
            time.sleep(RETRY_SECONDS)


def reconcile(api: Api, disks: Disks, node: str) -> str:
    """Make what claims want, delete what was released; return the claims' list version."""
    claims = api.get(CLAIMS)
    volumes = {
        volume["metadata"]["name"]: volume
        for volume in api.get(f"{VOLUMES}?labelSelector={LABEL}")["items"]
    }
    wanted = {}
    for claim in claims["items"]:
        if claim["spec"].get("storageClassName") == CLASS:
            wanted[volume_name(claim)] = claim
    new = {name: claim for name, claim in wanted.items() if name not in volumes}
    failures = [
        *_each(new, lambda name: _provide(api, disks, node, new[name])),
        *_each(wanted.keys() & volumes.keys(), lambda name: _remount(disks, name)),
        *_each(volumes.keys() - wanted.keys(), lambda name: _withdraw(api, disks, name)),
    ]
    if failures:
        raise ApiError("; ".join(failures))
    return str(claims["metadata"]["resourceVersion"])


def _each(names: Iterable[str], work: Callable[[str], None]) -> list[str]:
    """Do the work for each name; return what failed, so that one claim stops no other."""
    failures = []
    for name in names:
        try:
            work(name)
        except FAILURES as error:
            failures.append(f"{name}: {error}")
    return failures


def _provide(api: Api, disks: Disks, node: str, claim: Object) -> None:
    metadata, name = claim["metadata"], volume_name(claim)
    if claim["spec"].get("volumeName") or "deletionTimestamp" in metadata:
        return
    disks.create(name, size_of(claim), metadata.get("annotations", {}).get(INODES))
    api.post(VOLUMES, volume_for(claim, disks.mount(name), node))
    log(f"created {name}")


def _remount(disks: Disks, name: str) -> None:
    """Mount again what an earlier life of the cluster had mounted."""
    disks.mount(name)


def _withdraw(api: Api, disks: Disks, name: str) -> None:
    disks.destroy(name)
    api.delete(f"{VOLUMES}/{name}")
    log(f"deleted {name}")


def wait_for_change(api: Api, version: str) -> None:
    """Return after the next change of a claim of the class, or after a while."""
    for event in api.watch(CLAIMS, version, POLL_SECONDS):
        claim = event["object"]
        if event["type"] == "ERROR" or claim["spec"].get("storageClassName") == CLASS:
            time.sleep(SETTLE_SECONDS)
            return


def volume_name(claim: Object) -> str:
    """Return the name of a claim's volume."""
    return f"pvc-{claim['metadata']['uid']}"


def volume_for(claim: Object, path: Path, node: str) -> Object:
    """Return the PersistentVolume of a claim, bound to it alone."""
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name(claim),
            "labels": {LABEL: "true"},
            "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER},
        },
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": CLASS,
            "local": {"path": str(path)},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {
                                    "key": "kubernetes.io/hostname",
                                    "operator": "In",
                                    "values": [node],
                                }
                            ]
                        }
                    ]
                }
            },
        },
    }


def size_of(claim: Object) -> int:
    """Return the claim's size in bytes, whole blocks."""
    quantity = claim["spec"]["resources"]["requests"]["storage"]
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT]i?|Ki|)", quantity)
    if found is None:
        raise ApiError(f"size {quantity!r} is not understood")
    return int(float(found[1]) * UNITS[found[2]]) // BLOCK * BLOCK


class Disks:
    """Image files and their loop mounts."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def create(self, name: str, size: int, inodes: str | None) -> None:
        """Make an image file with an empty file system."""
        fresh = self._directory / f"{name}.new"
        with fresh.open("wb") as image:
            image.truncate(size)
        # No journal and no reserve: the size asked for is, but for tables, the size had.
        _run(
            "mkfs.ext4",
            "-q",
            "-F",
            "-m",
            "0",
            "-b",
            str(BLOCK),
            "-O",
            "^has_journal",
            *(["-N", inodes] if inodes else []),
            str(fresh),
        )
        fresh.rename(self._image(name))

    def mount(self, name: str) -> Path:
        """Mount an image unless it is mounted; return where."""
        path = self._directory / name
        if not path.is_mount():
            path.mkdir(exist_ok=True)
            _run("mount", "-o", "loop", str(self._image(name)), str(path))
            path.chmod(0o777)
        return path

    def destroy(self, name: str) -> None:
        """Unmount an image and delete it."""
        path = self._directory / name
        if path.is_mount():
            _run("umount", str(path))
        if path.exists():
            path.rmdir()
        self._image(name).unlink(missing_ok=True)

    def _image(self, name: str) -> Path:
        return self._directory / f"{name}.img"


def log(message: str) -> None:
    """Write a line to the component's log."""
    print(time.strftime("%H:%M:%S"), message, flush=True)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
