"""Objects as an API server gives them to a client: plain, with status, uid and bookkeeping."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import yaml

from model_gallery.protocol import indexcopy
from model_gallery.reconcile import names
from model_gallery.reconcile.manifests import configmap
from model_gallery.reconcile.observed import Meta

__all__ = ["READY", "STALLED", "WORKING", "condition", "gallery", "index_copy", "model"]


def condition(kind: str, status: str, reason: str, message: str = "") -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": 1,
        "lastTransitionTime": "2026-01-01T00:04:30Z",
    }


READY = condition("Ready", "True", "Succeeded", "1 file, 475.6 KiB")
WORKING = condition("Ready", "Unknown", "Progressing", "fetching")
STALLED = [
    condition("Ready", "False", "ChecksumMismatch", "sha256 of a is b"),
    condition("Stalled", "True", "ChecksumMismatch", "sha256 of a is b"),
]


def model(name: str, *conditions: dict[str, Any], **more: Any) -> dict[str, Any]:
    status = {"observedGeneration": 1, "servedName": name, "conditions": list(conditions)}
    status |= more.pop("status", {})
    spec = {"galleryName": "demo", "source": {"entry": {"name": name}}, "deletionPolicy": "Delete"}
    return {
        "apiVersion": "modelgallery.dev/v1alpha1",
        "kind": "Model",
        "metadata": {
            "name": name,
            "namespace": more.pop("namespace", "models"),
            "uid": f"uid-{name}",
            "generation": 1,
            "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "test"}],
        },
        "spec": spec | more.pop("spec", {}),
        "status": status,
    }


def gallery(name: str = "demo", **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "modelgallery.dev/v1alpha1",
        "kind": "Gallery",
        "metadata": {"name": name, "namespace": "models", "uid": f"uid-{name}"},
        "spec": {},
        "status": {"conditions": [], **status},
    }


def index_copy(entries: list[dict[str, Any]], gallery_name: str = "demo") -> list[dict[str, Any]]:
    """Returns the ConfigMaps that keep an index, made by what the operator makes them with."""
    document = {"index": {"text": yaml.safe_dump(entries)}, "bases": {}}
    parts = indexcopy.packed(document)
    meta = Meta("models", gallery_name, "u", 1, datetime(2026, 1, 1, tzinfo=UTC))
    return [
        configmap.index_copy(
            names.index_copy_name(gallery_name, number), meta, indexcopy.header(len(parts)), part
        )
        for number, part in enumerate(parts)
    ]
