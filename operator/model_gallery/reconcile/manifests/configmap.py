"""ConfigMaps as plain dicts: a large operation, and the last good copy of an index."""

from __future__ import annotations

import base64
from typing import Any

from model_gallery.api import labels
from model_gallery.reconcile.observed import Meta

__all__ = ["index_copy", "operation"]


def operation(job_name: str, job_uid: str, namespace: str, payload: str) -> dict[str, Any]:
    """Returns the ConfigMap that carries an operation to its Job and goes with it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": job_name,
            "namespace": namespace,
            "labels": _labels(),
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": job_name,
                    "uid": job_uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "immutable": True,
        "data": {"operation.json": payload},
    }


def index_copy(name: str, gallery: Meta, header: dict[str, str], part: bytes) -> dict[str, Any]:
    """Returns the ConfigMap that keeps one part of a compressed index; it goes with its Gallery."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": gallery.namespace,
            "labels": _labels(),
            "ownerReferences": [
                {
                    "apiVersion": labels.API_VERSION,
                    "kind": labels.GALLERY,
                    "name": gallery.name,
                    "uid": gallery.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "data": header,
        "binaryData": {"index": base64.b64encode(part).decode()},
    }


def _labels() -> dict[str, str]:
    return {
        labels.LABEL_NAME: labels.PART_OF,
        labels.LABEL_MANAGED_BY: labels.MANAGED_BY,
        labels.LABEL_PART_OF: labels.PART_OF,
    }
