"""Finding a claim's directory from the host."""

from __future__ import annotations

from pathlib import Path

from lk import cluster as clusters
from lk.api import Api
from lk.report import LocalkubeError


def host_path(cluster_name: str, claim: str) -> Path:
    """Return where the host sees the contents of NAMESPACE/CLAIM."""
    namespace, slash, name = claim.partition("/")
    if not slash:
        raise LocalkubeError("name the claim as NAMESPACE/CLAIM", code=2)
    cluster, init = clusters.living(cluster_name)
    api = Api(cluster.paths.kubeconfig)
    bound = api.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}")
    volume_name = bound["spec"].get("volumeName")
    if not volume_name:
        raise LocalkubeError(f"claim {claim} is not bound")
    spec = api.get(f"/api/v1/persistentvolumes/{volume_name}")["spec"]
    inside = (spec.get("hostPath") or spec.get("local") or {}).get("path")
    if inside is None:
        raise LocalkubeError(f"volume {volume_name} of {claim} is no directory of the node")
    if Path(inside).is_relative_to(cluster.paths.volumes / "limited"):
        # Its file system is mounted in the cluster's mount namespace only.
        return Path(f"/proc/{init}/root{inside}")
    return Path(inside)
