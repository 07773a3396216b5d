"""What a full cluster has besides its processes: images, storage, DNS, metrics."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lk import images, process, tools
from lk.addresses import Addresses
from lk.api import Api
from lk.components import CONTAINERD, render, values
from lk.paths import ClusterPaths
from lk.report import LocalkubeError

MANIFESTS = ("storage.yaml", "coredns.yaml", "metrics-server.yaml")


@dataclass(frozen=True)
class Check:
    """Something `up` waits for, and the log to read when it does not come."""

    log: str
    ready: Callable[[Api], bool]


def _deployment_available(namespace: str, name: str) -> Callable[[Api], bool]:
    def ready(api: Api) -> bool:
        status = api.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}")["status"]
        return bool(status.get("availableReplicas"))

    return ready


def _metrics_answer(api: Api) -> bool:
    return bool(api.get("/apis/metrics.k8s.io/v1beta1/nodes")["items"])


CHECKS = (
    Check("kubelet", _deployment_available("kube-system", "coredns")),
    Check("kubelet", _deployment_available("local-path-storage", "local-path-provisioner")),
    Check("kubelet", _deployment_available("kube-system", "metrics-server")),
    Check("kubelet", _metrics_answer),
)


def apply(paths: ClusterPaths, addresses: Addresses) -> None:
    """Apply the add-ons' manifests."""
    substitutes = values(paths, addresses) | {
        "base_image": images.BASE_REFERENCE,
        **{
            f"{name.replace('-', '_')}_image": images.addon_reference(name)
            for name in images.ADDONS
        },
    }
    text = "\n---\n".join(render(manifest, substitutes) for manifest in MANIFESTS)
    log = paths.log("addons")
    result = subprocess.run(
        [
            str(tools.path("kubectl")),
            f"--kubeconfig={paths.kubeconfig}",
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            "-",
        ],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    log.write_text(result.stdout + result.stderr)
    if result.returncode != 0:
        raise LocalkubeError("applying the add-ons failed", log)


def node_ready(api: Api, node: str) -> bool:
    """Tell whether the node is Ready."""
    conditions = api.get(f"/api/v1/nodes/{node}")["status"].get("conditions", [])
    return any(
        condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions
    )


def missing_images(
    paths: ClusterPaths,
    init: int,
    wanted: list[images.Image],
) -> list[images.Image]:
    """Return the images that the node does not have."""
    listed = _ctr(paths, init, ["images", "ls", "-q"], None)
    have = set(listed.split())
    return [image for image in wanted if _full_name(image.reference) not in have]


def load_image(paths: ClusterPaths, init: int, archive: Path) -> str:
    """Import a docker- or OCI-archive into the node; return what was imported."""
    return _ctr(paths, init, ["images", "import", "--local", "-"], archive)


def _full_name(reference: str) -> str:
    return reference if "/" in reference else f"docker.io/library/{reference}"


def _ctr(paths: ClusterPaths, init: int, arguments: list[str], standard_input: Path | None) -> str:
    command = [
        *process.enter(init, "mount"),
        str(tools.path("ctr")),
        "--address",
        CONTAINERD,
        "--namespace",
        "k8s.io",
        *arguments,
    ]
    log = paths.log("ctr")
    with log.open("w") as errors, (standard_input or Path("/dev/null")).open("rb") as content:
        result = subprocess.run(
            command, stdin=content, stdout=subprocess.PIPE, stderr=errors, text=True, check=False
        )
    if result.returncode != 0:
        raise LocalkubeError(f"`ctr {' '.join(arguments)}` failed", log)
    return result.stdout
