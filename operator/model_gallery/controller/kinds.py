"""The kinds that the controller works with: resources, what the cache keeps of them, and its indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from model_gallery.api import labels
from model_gallery.api.conditions import Reason
from model_gallery.runtime.cache import Cache
from model_gallery.runtime.resources import Resource

__all__ = [
    "CLAIM",
    "GALLERIES",
    "GALLERY",
    "JOB",
    "MODEL",
    "MODELS",
    "POD",
    "USAGE_PORT",
    "install_name",
    "known_as",
    "new_cache",
    "spec_of",
    "worker_gallery",
    "worker_model",
]

MODELS = Resource(labels.GROUP, labels.VERSION, "models", labels.MODEL)
GALLERIES = Resource(labels.GROUP, labels.VERSION, "galleries", labels.GALLERY)

MODEL, GALLERY = labels.MODEL, labels.GALLERY
JOB, POD, CLAIM = "Job", "Pod", "PersistentVolumeClaim"

USAGE_PORT = "mg-usage"
"""Name of the sidecar's port."""

Body = dict[str, Any]
_Spec = TypeVar("_Spec", bound=BaseModel)


def install_name(model: Body) -> str:
    """Returns the name under which a Model publishes its configuration, without resolving it."""
    spec = model.get("spec") or {}
    entry = (spec.get("source") or {}).get("entry") or {}
    return str(spec.get("servedName") or entry.get("name") or model["metadata"]["name"])


def worker_model(body: Body) -> str:
    """Returns the name of the Model that a Job or its pod works for; empty for foreign ones."""
    annotations = body["metadata"].get("annotations") or {}
    return str(annotations.get(labels.ANNOTATION_MODEL, ""))


def worker_gallery(body: Body) -> str:
    """Returns the name of the Gallery that a Job or its pod works for; empty for foreign ones."""
    annotations = body["metadata"].get("annotations") or {}
    return str(annotations.get(labels.ANNOTATION_GALLERY, ""))


def new_cache() -> Cache:
    """Returns an empty cache with the indexes that `observe` reads."""
    cache = Cache(
        {
            MODEL: _slim_own(MODEL),
            GALLERY: _slim_own(GALLERY),
            JOB: _slim_job,
            POD: _slim_pod,
            CLAIM: _slim_claim,
        }
    )
    cache.add_index(MODEL, "gallery", _namespaced(lambda body: [_gallery_of(body)]))
    cache.add_index(MODEL, "name", _namespaced(_model_names))
    cache.add_index(MODEL, "claim", _namespaced(_claim_of))
    cache.add_index(MODEL, "starving", _namespaced(_starving))
    cache.add_index(MODEL, "evictable", _namespaced(_evictable))
    cache.add_index(MODEL, "known-as", _namespaced(_known_in))
    cache.add_index(GALLERY, "claim", _namespaced(_claims_of))
    cache.add_index(JOB, "model-uid", _worker_uid)
    cache.add_index(JOB, "active", _namespaced(_active))
    cache.add_index(JOB, "scan", _namespaced(_scanned))
    cache.add_index(POD, "model-uid", _worker_uid)
    cache.add_index(POD, "scan", _namespaced(_scanned))
    cache.add_index(POD, "job", lambda body: body["metadata"]["owners"])
    cache.add_index(POD, "claim", _namespaced(_mounted))
    return cache


def _namespaced(keys: Callable[[Body], Iterable[str]]) -> Callable[[Body], list[str]]:
    def with_namespace(body: Body) -> list[str]:
        return [f"{body['metadata']['namespace']}/{key}" for key in keys(body)]

    return with_namespace


def _gallery_of(model: Body) -> str:
    return str((model.get("spec") or {}).get("galleryName", ""))


def _starving(model: Body) -> list[str]:
    status = model.get("status") or {}
    failure = status.get("lastFailure") or {}
    lacks_room = failure.get("reason") in {Reason.NO_SPACE.value, Reason.QUOTA_EXCEEDED.value}
    return [_gallery_of(model)] if lacks_room else []


def _evictable(model: Body) -> list[str]:
    return [_gallery_of(model)] if (model.get("spec") or {}).get("evictable") else []


def _model_names(model: Body) -> set[str]:
    gallery = _gallery_of(model)
    served = str((model.get("status") or {}).get("servedName", ""))
    return {f"{gallery}/{name}" for name in (install_name(model), served) if name}


def _claim_of(model: Body) -> list[str]:
    storage = (model.get("status") or {}).get("storage") or {}
    return [str(storage["claimName"])] if storage else []


def _claims_of(gallery: Body) -> list[str]:
    storage = (gallery.get("spec") or {}).get("storage") or {}
    return [str(storage.get("claimName") or f"{gallery['metadata']['name']}-models")]


def _known_in(model: Body) -> list[str]:
    return [f"{_gallery_of(model)}/{name}" for name in known_as(model)]


def _active(job: Body) -> list[str]:
    """Of the many Jobs that have ended nobody counts any."""
    return [] if job["ended"] else [worker_gallery(job)]


def _scanned(body: Body) -> list[str]:
    operation = (body["metadata"].get("labels") or {}).get(labels.LABEL_OPERATION)
    return [worker_gallery(body)] if operation == "scan" else []


def _mounted(pod: Body) -> list[str]:
    return list((pod.get("serving") or {}).get("claims") or ())


def _worker_uid(body: Body) -> list[str]:
    uid = (body["metadata"].get("labels") or {}).get(labels.LABEL_MODEL_UID)
    return [str(uid)] if uid else []


_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "finalizers",
)


def _metadata(body: Body, *annotations: str) -> Body:
    metadata = body["metadata"]
    kept = {key: metadata[key] for key in _METADATA if key in metadata}
    ours = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key in annotations
    }
    if ours:
        kept["annotations"] = ours
    return kept


_WISHES = (
    labels.ANNOTATION_RECONCILE_AT,
    labels.ANNOTATION_VERIFY_AT,
    labels.ANNOTATION_COLLECT_AT,
    labels.ANNOTATION_INSTALLED_BY,
    labels.ANNOTATION_DEFAULTS,
)


def _owners(body: Body) -> list[str]:
    return [owner["uid"] for owner in body["metadata"].get("ownerReferences") or []]


def _slim_own(kind: str) -> Callable[[Body], Body]:
    def slim(body: Body) -> Body:
        return {
            "apiVersion": labels.API_VERSION,
            "kind": kind,
            "metadata": {**_metadata(body, *_WISHES), "owners": _owners(body)},
            "spec": body.get("spec"),
            "status": body.get("status"),
        }

    return slim


_WORKER_ANNOTATIONS = (
    labels.ANNOTATION_MODEL,
    labels.ANNOTATION_GALLERY,
    labels.ANNOTATION_PLAN_DIGEST,
    labels.ANNOTATION_SHAPE,
)
_WORKER_LABELS = (labels.LABEL_MODEL_UID, labels.LABEL_OPERATION)


def _worker_metadata(body: Body) -> Body:
    kept = _metadata(body, *_WORKER_ANNOTATIONS)
    own = body["metadata"].get("labels") or {}
    kept["labels"] = {key: own[key] for key in _WORKER_LABELS if key in own}
    kept["owners"] = _owners(body)
    return kept


def _slim_job(body: Body) -> Body:
    status = body.get("status") or {}
    ended = [
        {"type": condition["type"], "message": condition.get("message", "")}
        for condition in status.get("conditions") or []
        if condition.get("status") == "True" and condition["type"] in {"Complete", "Failed"}
    ]
    return {
        "metadata": _worker_metadata(body),
        "ended": ended,
        "retried": bool(status.get("failed")),
    }


def spec_of(type_: type[_Spec], body: Body) -> _Spec | None:
    """Returns the typed spec of an object of ours; None where it does not fit the schema."""
    try:
        return type_.model_validate(body.get("spec"))
    except ValidationError:
        return None


def known_as(model: Body) -> set[str]:
    """Returns the names by which a backend may know a Model: its own, and those of its files."""
    status = model.get("status") or {}
    name = install_name(model)
    names = {name, str(status.get("servedName") or name)}
    for file in status.get("files") or ():
        path = str(file["path"])
        names |= {path, path.rpartition("/")[2]}
    return names


def _slim_pod(body: Body) -> Body:
    status = body.get("status") or {}
    containers = status.get("containerStatuses") or []
    unscheduled = [
        condition.get("message", "")
        for condition in status.get("conditions") or []
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False"
    ]
    slim = {
        "metadata": _worker_metadata(body),
        "phase": status.get("phase", ""),
        "state": containers[0].get("state") or {} if containers else {},
        "unscheduled": unscheduled[0] if unscheduled else "",
    }
    if not worker_gallery(body):
        slim["metadata"]["labels"] = body["metadata"].get("labels") or {}
        slim["state"] = {}
        slim["serving"] = _slim_serving(body, status)
    return slim


def _slim_serving(body: Body, status: Body) -> Body:
    """What it takes to ask a pod, and to know that it is another one now."""
    spec = body.get("spec") or {}
    ports = _ports(spec.get("containers"))
    beside = [*ports, *_ports(spec.get("initContainers"))]
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in spec.get("volumes") or ()
        if "persistentVolumeClaim" in volume
    ]
    containers = status.get("containerStatuses") or ()
    return {
        "address": status.get("podIP", ""),
        "port": next(
            (port["containerPort"] for port in ports if port.get("name") != USAGE_PORT), 0
        ),
        "usagePort": next(
            (port["containerPort"] for port in beside if port.get("name") == USAGE_PORT), 0
        ),
        "claims": claims,
        "containers": ",".join(sorted(item.get("containerID", "") for item in containers)),
    }


def _ports(containers: list[Body] | None) -> list[Body]:
    return [
        port
        for container in containers or ()
        for port in container.get("ports") or ()
        if port.get("protocol", "TCP") == "TCP"
    ]


def _slim_claim(body: Body) -> Body:
    status = body.get("status") or {}
    return {
        "metadata": _metadata(body),
        "phase": status.get("phase", "Pending"),
        "capacity": (status.get("capacity") or {}).get("storage", ""),
    }
