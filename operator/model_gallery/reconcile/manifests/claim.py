"""The claim that a Gallery's template makes."""

from __future__ import annotations

from typing import Any

from model_gallery.api import labels
from model_gallery.api.v1alpha1.gallery import ClaimTemplate
from model_gallery.reconcile import names
from model_gallery.reconcile.observed import Meta

__all__ = ["manifest"]


def manifest(gallery: Meta, template: ClaimTemplate) -> dict[str, Any]:
    """Returns the claim. It has no owner reference: the models outlive a deleted Gallery."""
    spec: dict[str, Any] = {
        "accessModes": [template.access_mode.value],
        "resources": {"requests": {"storage": template.size}},
    }
    if template.storage_class_name:
        spec["storageClassName"] = template.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": names.claim_name(gallery.name),
            "namespace": gallery.namespace,
            "labels": {
                labels.LABEL_NAME: labels.PART_OF,
                labels.LABEL_MANAGED_BY: labels.MANAGED_BY,
                labels.LABEL_PART_OF: labels.PART_OF,
            },
        },
        "spec": spec,
    }
