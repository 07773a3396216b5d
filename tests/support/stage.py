"""A namespace with a Gallery, and an observer of its volume that knows nothing of the operator."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.kube import Kube, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cluster import Cluster
    from support.origin import Origin

__all__ = [
    "API_VERSION",
    "GALLERY",
    "RESTRICTED",
    "VIEWER",
    "Stage",
    "gallery",
    "kill_pod",
    "model",
    "stopped_kubelet",
    "with_spec",
]

API_VERSION = "modelgallery.dev/v1alpha1"
GALLERY = "demo"
CLAIM = f"{GALLERY}-models"
VIEWER = "viewer"
WRITER = "writer"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def model(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """Returns a Model of the namespace's Gallery."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Model",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"galleryName": GALLERY, **spec},
    }


def with_spec(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Returns a copy of an object with other fields in its spec."""
    return {**body, "spec": {**body["spec"], **changes}}


def gallery(namespace: str, **spec: Any) -> list[dict[str, Any]]:
    """Returns a Gallery with a claim of its own; the index is empty unless the spec names one."""
    index = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "index", "namespace": namespace},
        "data": {"index.yaml": "[]\n"},
    }
    wish = {
        "index": {"configMap": {"name": "index"}},
        "storage": {"claimTemplate": {"size": "4Gi"}},
        **spec,
    }
    return [
        index,
        {
            "apiVersion": API_VERSION,
            "kind": "Gallery",
            "metadata": {"name": GALLERY, "namespace": namespace},
            "spec": wish,
        },
    ]


@dataclass(frozen=True)
class Stage:
    """One test's namespace."""

    cluster: Cluster
    namespace: str

    @property
    def kube(self) -> Kube:
        """Kubectl against the cluster."""
        return self.cluster.kube

    @property
    def origin(self) -> Origin:
        """The origin server."""
        return self.cluster.origin

    def set_up(self, **spec: Any) -> None:
        """Creates the namespace, the Gallery and the viewer."""
        self.kube.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": self.namespace, "labels": RESTRICTED},
            }
        )
        self.kube.apply(*gallery(self.namespace, **spec), self._viewer())

    def create(self, name: str, **spec: Any) -> None:
        """Applies a Model."""
        self.kube.apply(model(name, self.namespace, **spec))

    def ready(self, name: str, timeout: float = 90) -> dict[str, Any]:
        """Returns the Model once it is Ready."""
        return self.kube.wait_ready(name, self.namespace, timeout)

    def progress(self, name: str) -> int:
        """Returns the completed bytes that the status shows."""
        found = self.kube.get("model", name, self.namespace) or {}
        completed: int = found.get("status", {}).get("progress", {}).get("completedBytes", 0)
        return completed

    def shell(self, command: str) -> str:
        """Runs a command in the viewer, in the volume's root; returns what it printed."""
        self.kube.run("wait", "--for=condition=Ready", f"pod/{VIEWER}", "-n", self.namespace)
        return self.kube.run(
            "exec", VIEWER, "-n", self.namespace, "--", "sh", "-c", f"cd /models && {command}"
        )

    def write(self, command: str) -> str:
        """Runs a command as somebody else who may write to the volume; returns what it printed."""
        self.kube.apply(self._viewer(WRITER, read_only=False))
        self.kube.run("wait", "--for=condition=Ready", f"pod/{WRITER}", "-n", self.namespace)
        return self.kube.run(
            "exec", WRITER, "-n", self.namespace, "--", "sh", "-c", f"cd /models && {command}"
        )

    def index(self, *entries: dict[str, Any]) -> None:
        """Replaces the index of the Gallery."""
        self.kube.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "index", "namespace": self.namespace},
                "data": {"index.yaml": json.dumps(entries)},
            }
        )
        self.annotate("gallery", GALLERY, "modelgallery.dev/reconcile-requested-at")

    def annotate(self, kind: str, name: str, annotation: str) -> str:
        """Sets an annotation to a value that it never had; returns the value."""
        value = f"{time.time():.3f}"
        self.kube.run(
            *("annotate", "--overwrite", kind, name, f"{annotation}={value}", "-n", self.namespace)
        )
        return value

    def gallery(self) -> dict[str, Any]:
        """Returns the Gallery."""
        found = self.kube.get("gallery", GALLERY, self.namespace)
        assert found is not None
        return found

    def sha256(self, path: str) -> str:
        """Returns the sha256 that the viewer's sha256sum finds."""
        return self.shell(f"sha256sum -- '{path}'").split()[0].lstrip("\\")

    def published(self) -> list[str]:
        """Returns the files on the volume that backends see, sorted."""
        return sorted(
            self.shell("find . -path ./.modelgallery -prune -o -type f -print").splitlines()
        )

    def worker_pods(self, name: str) -> list[dict[str, Any]]:
        """Returns the worker pods of a Model."""
        uid = (self.kube.get("model", name, self.namespace) or {})["metadata"]["uid"]
        return self.kube.list("pods", self.namespace, f"modelgallery.dev/model-uid={uid}")

    def running_worker(self, name: str) -> dict[str, Any]:
        """Returns the Model's worker pod once it runs."""

        def running() -> dict[str, Any] | None:
            pods = self.worker_pods(name)
            return next((pod for pod in pods if pod["status"]["phase"] == "Running"), None)

        return wait_until(f"a worker of {name} runs", running, 60)

    def remove(self) -> None:
        """Asks for the namespace's end."""
        self.kube.run("delete", "namespace", self.namespace, "--wait=false", "--ignore-not-found")

    def _viewer(self, name: str = VIEWER, *, read_only: bool = True) -> dict[str, Any]:
        container = {
            "name": "viewer",
            "image": self._image(),
            "imagePullPolicy": "IfNotPresent",
            "command": ["/opt/model-gallery/bin/python", "-c", "import signal; signal.pause()"],
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [
                {"name": "models", "mountPath": "/models", "readOnly": read_only},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 65532,
                    "runAsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container],
                "volumes": [
                    {"name": "models", "persistentVolumeClaim": {"claimName": CLAIM}},
                    {"name": "tmp", "emptyDir": {}},
                ],
            },
        }

    def _image(self) -> str:
        return self.kube.run(
            *("get", "deployment", "origin", "-n", "origin"),
            *("-o", "jsonpath={.spec.template.spec.containers[0].image}"),
        )


def kill_pod(pod: dict[str, Any]) -> None:
    """Kills the processes of a pod's containers with SIGKILL, as the kernel's OOM killer would.

    The processes are found by the container's cgroup, so nothing else can be hit.
    """
    ids = [
        status["containerID"].rpartition("/")[2] for status in pod["status"]["containerStatuses"]
    ]
    killed = [pid for pid in _processes() if any(name in _cgroup(pid) for name in ids)]
    if not killed:
        pytest.skip("the node's processes are not on this machine")
    for pid in killed:
        os.kill(pid, signal.SIGKILL)


@contextmanager
def stopped_kubelet(cluster: Cluster) -> Iterator[None]:
    """Keeps the node from hearing of anything and from telling anything; its containers run on."""
    found = [pid for pid in _processes() if _is_kubelet(pid, cluster.name)]
    if not found:
        pytest.skip("only localkube's kubelet can be told from those of other clusters")
    try:
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in found:
            os.kill(pid, signal.SIGCONT)


def _is_kubelet(pid: int, cluster: str) -> bool:
    try:
        program, *arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:  # it has ended meanwhile
        return False
    named = any(cluster in argument.split("/") for argument in arguments)
    return named and program.endswith("/kubelet")


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _cgroup(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:  # it has ended meanwhile
        return ""
