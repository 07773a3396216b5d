"""A kubelet that runs nothing: every worker pod succeeds at once with the result that is asked for.

The Job controller of the real controller-manager does the rest, so that thousands of Models can become
Ready on a control plane without a node.
"""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kubernetes import client, config, watch

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FakeKubelet", "succeeded_result"]

_WORKERS = "app.kubernetes.io/component=worker"
_SIZE = 4096


@dataclass
class FakeKubelet:
    """Ends worker pods and binds claims, over a client of its own.

    Attributes:
        ended: how many pods were ended.
    """

    kubeconfig: str
    ended: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        # A configuration of its own: many threads share the pool of connections.
        wish = client.Configuration()
        config.load_kube_config(self.kubeconfig, client_configuration=wish)
        wish.connection_pool_maxsize = 16
        self._api = client.CoreV1Api(client.ApiClient(wish))

    @contextmanager
    def running(self) -> Iterator[FakeKubelet]:
        """Serves until the block ends."""
        thread = threading.Thread(target=self._serve, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join(timeout=10)

    def bind_claim(self, namespace: str, name: str) -> None:
        """Says of a claim that it is bound."""
        status = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
        self._api.patch_namespaced_persistent_volume_claim_status(name, namespace, status)

    def _serve(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            while not self._stop.is_set():
                stream = watch.Watch().stream(
                    self._api.list_pod_for_all_namespaces,
                    label_selector=_WORKERS,
                    timeout_seconds=5,
                )
                for event in stream:
                    if event["object"].status.phase == "Pending":
                        pool.submit(self._end, event["object"])

    def _end(self, pod: client.V1Pod) -> None:
        name, namespace = pod.metadata.name, pod.metadata.namespace
        try:
            self._api.patch_namespaced_pod_status(name, namespace, {"status": _succeeded(pod)})
        except client.ApiException as error:
            if error.status not in {404, 409}:
                raise
        else:
            self.ended += 1


def _succeeded(pod: client.V1Pod) -> dict[str, Any]:
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    container = pod.spec.containers[0]
    terminated = {
        "exitCode": 0,
        "reason": "Completed",
        "message": json.dumps(succeeded_result(_operation(container))),
        "startedAt": now,
        "finishedAt": now,
    }
    return {
        "phase": "Succeeded",
        "startTime": now,
        "containerStatuses": [
            {
                "name": container.name,
                "image": container.image,
                "imageID": "none",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": terminated},
            }
        ],
    }


def _operation(container: client.V1Container) -> dict[str, Any]:
    environment = {variable.name: variable.value for variable in container.env}
    operation: dict[str, Any] = json.loads(environment["MODEL_GALLERY_OPERATION"])
    return operation


def succeeded_result(operation: dict[str, Any]) -> dict[str, Any]:
    """Returns what a worker would tell of an operation that it has carried out."""
    files = [
        {"path": file["path"], "sizeBytes": _SIZE, "sha256": file.get("sha256") or "0" * 64}
        for file in operation.get("files", ())
    ]
    return {
        "type": "result",
        "planDigest": operation.get("planDigest", ""),
        "reason": "Succeeded",
        "verified": True,
        "files": files,
        "filesTotal": len(files),
        "sizeBytes": _SIZE * len(files),
        "fetchedBytes": _SIZE * len(files),
        "digest": "0" * 64,
    }
