"""Bringing a cluster up and down."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lk import addons, cgroups, components, images, network, pki, prerequisites, process, tools
from lk.addresses import Addresses, free_addresses
from lk.api import Api, ApiError
from lk.paths import ClusterPaths, state_root
from lk.report import LocalkubeError, step

CONTROL_PLANE_WITHIN_SECONDS = 90.0
NODE_WITHIN_SECONDS = 120.0
ADDONS_WITHIN_SECONDS = 180.0
POLL_SECONDS = 0.2


class InitEndedError(LocalkubeError):
    """The cluster died while it was waited for."""


@dataclass(frozen=True)
class Cluster:
    """A cluster that was brought up, healthy or not."""

    paths: ClusterPaths
    addresses: Addresses
    full: bool
    created: float

    @property
    def size(self) -> str:
        """Its size, as the user says it."""
        return "full" if self.full else "control-plane"


def load(name: str) -> Cluster | None:
    """Return the cluster of that name, or None if there is none."""
    paths = ClusterPaths(name)
    try:
        description = json.loads(paths.description.read_text())
    except FileNotFoundError:
        return None
    return Cluster(
        paths, Addresses(description["index"]), description["full"], description["created"]
    )


def existing(name: str) -> Cluster:
    """Return the cluster of that name, or fail."""
    cluster = load(name)
    if cluster is None:
        raise LocalkubeError(f"there is no cluster {name!r}; `localkube up` makes one", code=4)
    return cluster


def living(name: str) -> tuple[Cluster, int]:
    """Return the cluster of that name and its init's pid, or fail."""
    cluster = existing(name)
    init = process.init_pid(cluster.paths)
    if init is None:
        raise LocalkubeError(f"cluster {name!r} is not running; `localkube up` repairs it", code=4)
    return cluster, init


def names() -> list[str]:
    """Return the names of all clusters."""
    return sorted(file.parent.name for file in state_root().glob("*/cluster.json"))


def up(name: str, *, full: bool, install_packages: bool) -> Cluster:
    """Bring a cluster up; one that is up already is only checked, a dead one revived."""
    paths = ClusterPaths(name)
    prerequisites.ensure(
        prerequisites.FULL_PACKAGES if full else prerequisites.CONTROL_PLANE_PACKAGES,
        install=install_packages,
    )
    tools.build(tools.FULL if full else tools.CONTROL_PLANE)
    made = images.all_images() if full else []
    with _lock(name):
        cluster = load(name)
        if cluster is not None and full and not cluster.full:
            raise LocalkubeError(
                f"cluster {name!r} is control-plane only; `localkube down --name {name}` first",
                code=2,
            )
        cluster = cluster or _describe(paths, full=full)
        try:
            _bring_up(cluster, made)
        except InitEndedError:
            # It was on its way out when we looked.
            _bring_up(cluster, made)
    return cluster


def _bring_up(cluster: Cluster, made: list[images.Image]) -> None:
    """Start the cluster unless it runs, and wait until it works."""
    init = process.init_pid(cluster.paths)
    if init is None:
        what = f"{cluster.paths.name} ({cluster.size}) at {cluster.addresses.node_ip}"
        with step(f"start cluster {what}"):
            init = _start(cluster)
    if not cluster.full:
        _wait_control_plane(cluster)
        return
    # The node loads its images while the control plane starts.
    with ThreadPoolExecutor(max_workers=1) as executor:
        loading = executor.submit(_load_missing, cluster, init, made)
        _wait_control_plane(cluster)
        loading.result()
    _complete(cluster)


def down(name: str) -> bool:
    """End a cluster and everything of it; return whether there was anything."""
    paths = ClusterPaths(name)
    if os.geteuid() != 0:
        raise LocalkubeError("must run as root", code=prerequisites.EXIT_MISSING)
    with _lock(name):
        cluster = load(name)
        if cluster is None and not paths.root.exists() and not cgroups.exists(name):
            return False
        with step(f"end the processes of cluster {name}"):
            process.kill(paths)
            if cluster is not None:
                network.disconnect(cluster.addresses)
        with step(f"remove the cgroups and files of cluster {name}"):
            left = cgroups.remove(name)
            if left:
                raise LocalkubeError(f"cgroups that would not go: {left}")
            _remove_tree(paths.root)
    return True


def _describe(paths: ClusterPaths, *, full: bool) -> Cluster:
    """Choose the cluster's addresses; a lock keeps two clusters from the same ones."""
    state_root().mkdir(parents=True, exist_ok=True)
    with (state_root() / ".addresses.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cluster = Cluster(paths, free_addresses(), full, time.time())
        paths.root.mkdir(exist_ok=True)
        paths.description.write_text(
            json.dumps({"index": cluster.addresses.index, "full": full, "created": cluster.created})
        )
    return cluster


def _start(cluster: Cluster) -> int:
    """Start the cluster's processes on clean cgroups; its data may be of an earlier life."""
    paths, addresses = cluster.paths, cluster.addresses
    cgroups.kill_all(paths.name)
    network.disconnect(addresses)
    cgroups.remove(paths.name)
    cgroups.create(paths.name)
    paths.logs.mkdir(exist_ok=True)
    paths.running.unlink(missing_ok=True)
    for directory in (paths.volumes / "standard", paths.volumes / "limited"):
        directory.mkdir(parents=True, exist_ok=True)
    pki.create(paths, addresses)
    components.render_all(paths, addresses)
    paths.plan.write_text(
        json.dumps(components.plan(paths, addresses, full=cluster.full), indent=1)
    )
    init = process.start(paths)
    network.connect(addresses, init)
    return init


def _wait_control_plane(cluster: Cluster) -> None:
    api = Api(cluster.paths.kubeconfig)
    with step("wait for the API server and the controllers"):
        _wait(
            cluster,
            "kube-apiserver",
            CONTROL_PLANE_WITHIN_SECONDS,
            lambda: api.text("/readyz") == "ok",
        )
        _wait(
            cluster,
            "kube-controller-manager",
            CONTROL_PLANE_WITHIN_SECONDS,
            lambda: bool(api.get("/api/v1/namespaces/default/serviceaccounts/default")),
        )


def _load_missing(cluster: Cluster, init: int, made: list[images.Image]) -> None:
    """Load the images that the node does not have yet."""
    socket = Path(f"/proc/{init}/root{components.CONTAINERD}")
    _wait(cluster, "containerd", NODE_WITHIN_SECONDS, socket.exists)
    wanted = made or images.all_images()
    missing = addons.missing_images(cluster.paths, init, wanted)
    if missing:
        with step(f"load {len(missing)} images into the node"):
            for image in missing:
                addons.load_image(cluster.paths, init, image.archive)


def _complete(cluster: Cluster) -> None:
    """Make the node and the add-ons work; what is done already is left as it is."""
    api = Api(cluster.paths.kubeconfig)
    with step("apply storage classes and add-ons"):
        addons.apply(cluster.paths, cluster.addresses)
    with step("wait for the node"):
        node = pki.node_name(cluster.paths.name)
        _wait(cluster, "kubelet", NODE_WITHIN_SECONDS, lambda: addons.node_ready(api, node))
    with step("wait for DNS, the storage provisioner and metrics"):
        for check in addons.CHECKS:
            _wait(cluster, check.log, ADDONS_WITHIN_SECONDS, partial(check.ready, api))


def _wait(cluster: Cluster, component: str, seconds: float, ready: Callable[[], bool]) -> None:
    """Wait until `ready` holds; an API that does not answer yet counts as not ready."""
    deadline = time.monotonic() + seconds
    why = "no answer"
    while time.monotonic() < deadline:
        try:
            if ready():
                return
            why = "not ready"
        except (ApiError, OSError) as error:
            why = str(error)
        if process.init_pid(cluster.paths) is None:
            raise InitEndedError("the cluster's init ended", cluster.paths.log("supervisor"))
        time.sleep(POLL_SECONDS)
    raise LocalkubeError(
        f"{component} did not get ready within {seconds:.0f} s: {why}", cluster.paths.log(component)
    )


@contextmanager
def _lock(name: str) -> Iterator[None]:
    """Let one `up` or `down` at a time work on a cluster."""
    state_root().mkdir(parents=True, exist_ok=True)
    lock_file = state_root() / f".{name}.lock"
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_tree(root: Path) -> None:
    """Remove the cluster's files; kubelet may have left unwritable ones."""

    def make_writable_and_retry(function: Callable[..., Any], path: str, _: Any) -> None:
        Path(path).parent.chmod(0o700)
        function(path)

    if root.exists():
        shutil.rmtree(root, onerror=make_writable_and_retry)
