"""From an AdmissionReview to its answer: the same change as the chart's MutatingAdmissionPolicy makes.

The label is judged by the API server (objectSelector), which asks for no other pods. Every pod is allowed:
who watches must never keep a server from starting.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["SIDECAR", "VOLUME", "NotAReview", "Sidecar", "answer", "patch"]

SIDECAR = "model-gallery-sidecar"
VOLUME = "modelgallery.dev/volume"
"""Annotation that names the pod's volume with the models."""
_PORT = 9464
_USER = 65532
_API_VERSION = "admission.k8s.io/v1"

_Json = dict[str, Any]


class NotAReview(ValueError):  # noqa: N818 - the caller's fault and not ours
    """The document is no AdmissionReview of a pod."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is added.

    Attributes:
        resources: with `requests` and `limits`, as a container has them.
    """

    image: str
    pull_policy: str = "IfNotPresent"
    resources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def answer(review: Any, sidecar: Sidecar) -> _Json:
    """Returns the AdmissionReview that answers one.

    Raises:
        NotAReview: there is no request in it that could be answered.
    """
    request = _mapping(_mapping(review).get("request"))
    uid, pod = request.get("uid"), request.get("object")
    if not isinstance(uid, str) or not uid or not isinstance(pod, dict):
        raise NotAReview("it must be an AdmissionReview with request.uid and request.object")
    response: _Json = {"uid": uid, "allowed": True}
    operations = patch(pod, sidecar)
    if operations:
        encoded = base64.b64encode(json.dumps(operations).encode()).decode()
        response |= {"patchType": "JSONPatch", "patch": encoded}
    return {"apiVersion": _API_VERSION, "kind": "AdmissionReview", "response": response}


def patch(pod: Mapping[str, Any], sidecar: Sidecar) -> list[_Json]:
    """Returns the operations of RFC 6902 that add the sidecar; none where the pod does not fit."""
    spec = _mapping(pod.get("spec"))
    annotations = _mapping(_mapping(pod.get("metadata")).get("annotations"))
    volume = annotations.get(VOLUME)
    before = _items(spec.get("initContainers"))
    if not volume or volume not in [one.get("name") for one in _items(spec.get("volumes"))]:
        return []
    if SIDECAR in [one.get("name") for one in before] or spec.get("hostPID"):
        return []
    found = _container(spec, str(volume), sidecar)
    operations: list[_Json] = [{"op": "add", "path": "/spec/shareProcessNamespace", "value": True}]
    if not before:
        operations.append({"op": "add", "path": "/spec/initContainers", "value": []})
    return [*operations, {"op": "add", "path": "/spec/initContainers/-", "value": found}]


def _container(spec: Mapping[str, Any], volume: str, sidecar: Sidecar) -> _Json:
    return {
        "name": SIDECAR,
        "image": sidecar.image,
        "imagePullPolicy": sidecar.pull_policy,
        "args": ["sidecar"],
        "restartPolicy": "Always",
        # Else a Service of the container's name would set it to its own address.
        "env": [{"name": "MODEL_GALLERY_SIDECAR_PORT", "value": str(_PORT)}],
        "ports": [{"name": "mg-usage", "containerPort": _PORT, "protocol": "TCP"}],
        "resources": {
            "requests": dict(sidecar.resources.get("requests") or {}),
            "limits": dict(sidecar.resources.get("limits") or {}),
        },
        "securityContext": {
            **_identity(spec),
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": volume, "mountPath": "/models", "readOnly": True}],
    }


def _identity(spec: Mapping[str, Any]) -> _Json:
    """The server's: files of a process are told to its own user and group only."""
    first = next(iter(_items(spec.get("containers"))), {})
    own = _mapping(first.get("securityContext"))
    user = own.get("runAsUser", _mapping(spec.get("securityContext")).get("runAsUser", _USER))
    group = {"runAsGroup": own["runAsGroup"]} if "runAsGroup" in own else {}
    return {"runAsUser": user, **group, "runAsNonRoot": user != 0}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
