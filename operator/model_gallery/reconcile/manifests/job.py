"""Worker Jobs as plain dicts.

Every pod passes the `restricted` Pod Security Standard, has no ServiceAccount token, a read-only root
and the claim as its only place to write beside /tmp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from model_gallery.api import labels
from model_gallery.artifact.digest import sha256_of_value
from model_gallery.protocol import exitcodes, operation
from model_gallery.reconcile.observed import Meta, WorkerSettings

__all__ = ["CONTAINER", "WorkerJob", "manifest"]

CONTAINER = "worker"
_ROOT = "/models"
_OPERATION_FOLDER = "/etc/model-gallery"
_CREDENTIALS = "/var/run/model-gallery/credentials"
_PROXY = "/var/run/model-gallery/proxy"
_CA = "/etc/model-gallery-ca"
_TRUSTED_ROOT = "/etc/model-gallery-trusted-root"
_TRUSTED_ROOT_KEY = "trusted_root.json"
_SOURCE = "/source"
_POD_RETRIES = 4
_INSTALL_TTL_SECONDS = 600
_REMOVE_TTL_SECONDS = 30
"""Short: the finished pod of a removal still holds its claim, and nobody is left to delete it."""
_GRACE_SECONDS = 10
_REMOVE_DEADLINE_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What distinguishes one worker Job from another.

    Attributes:
        name: deterministic name of the Job, and of its ConfigMap.
        operation: install or remove.
        payload: JSON text of the operation.
        owned: whether the Job goes with its Model; a removal outlives it.
        secret_name: Secret with credentials for the source; empty without one.
        proxy_secret: Secret for the proxy; empty without one.
        ca_config_map: ConfigMap with extra certificate authorities in ca.crt; empty without.
        trusted_root_config_map: ConfigMap with a Sigstore instance in trusted_root.json; empty without.
        owner_kind: Model, or Gallery for a scan.
        source_claim: claim that the files are copied from, mounted read-only; empty without one.
    """

    name: str
    operation: str
    payload: str
    plan_digest: str
    gallery: str
    claim_name: str
    sub_path: str
    owned: bool
    resources: dict[str, Any]
    node_selector: dict[str, str]
    secret_name: str = ""
    proxy_secret: str = ""
    ca_config_map: str = ""
    trusted_root_config_map: str = ""
    source_claim: str = ""
    owner_kind: str = labels.MODEL

    @property
    def in_config_map(self) -> bool:
        """Whether the operation is too large for an environment variable."""
        return len(self.payload.encode()) > operation.MAX_ENV_BYTES


def manifest(job: WorkerJob, meta: Meta, settings: WorkerSettings) -> dict[str, Any]:
    """Returns the Job for a Model."""
    metadata: dict[str, Any] = {
        "name": job.name,
        "namespace": meta.namespace,
        "labels": _labels(job, meta),
        "annotations": {
            **_model_annotation(job, meta),
            labels.ANNOTATION_GALLERY: job.gallery,
            labels.ANNOTATION_PLAN_DIGEST: job.plan_digest,
            labels.ANNOTATION_SHAPE: _shape(job, settings),
        },
    }
    if job.owned:
        metadata["ownerReferences"] = [_owner(job, meta)]
    spec: dict[str, Any] = {
        "backoffLimit": _POD_RETRIES,
        "completions": 1,
        "parallelism": 1,
        # Two pods of one Job must never write at once: the next starts when the last has ended.
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {"rules": _failure_rules()},
        "ttlSecondsAfterFinished": _INSTALL_TTL_SECONDS if job.owned else _REMOVE_TTL_SECONDS,
        "template": {
            "metadata": {
                "labels": _labels(job, meta),
                "annotations": dict(metadata["annotations"]),
            },
            "spec": _pod(job, settings),
        },
    }
    if not job.owned:
        # A removal whose claim never mounts must not stay Pending for ever.
        spec["activeDeadlineSeconds"] = _REMOVE_DEADLINE_SECONDS
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def _shape(job: WorkerJob, settings: WorkerSettings) -> str:
    return sha256_of_value(
        {
            "image": settings.image,
            "pullSecrets": settings.pull_secrets,
            "resources": _merged(settings.resources, job.resources),
            "nodeSelector": job.node_selector,
            "caConfigMap": job.ca_config_map,
        }
    )


def _model_annotation(job: WorkerJob, meta: Meta) -> dict[str, str]:
    return {labels.ANNOTATION_MODEL: meta.name} if job.owner_kind == labels.MODEL else {}


def _owner(job: WorkerJob, meta: Meta) -> dict[str, Any]:
    return {
        "apiVersion": labels.API_VERSION,
        "kind": job.owner_kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _labels(job: WorkerJob, meta: Meta) -> dict[str, str]:
    return {
        labels.LABEL_NAME: labels.PART_OF,
        labels.LABEL_COMPONENT: labels.WORKER_COMPONENT,
        labels.LABEL_MANAGED_BY: labels.MANAGED_BY,
        labels.LABEL_PART_OF: labels.PART_OF,
        **({labels.LABEL_MODEL_UID: meta.uid} if job.owner_kind == labels.MODEL else {}),
        labels.LABEL_OPERATION: job.operation,
    }


def _failure_rules() -> list[dict[str, Any]]:
    hopeless = [row.code for row in exitcodes.TABLE if row.klass is exitcodes.Class.STALLED]
    return [
        {
            "action": "FailJob",
            "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": hopeless},
        },
        {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        },
    ]


def _pod(job: WorkerJob, settings: WorkerSettings) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": "models", "persistentVolumeClaim": {"claimName": job.claim_name}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "16Mi"}},
    ]
    if job.in_config_map:
        volumes.append({"name": "operation", "configMap": {"name": job.name}})
    for volume, name in (("credentials", job.secret_name), ("proxy", job.proxy_secret)):
        if name:
            # Optional, so that the worker can say what is missing instead of a pod that never starts.
            secret = {"secretName": name, "defaultMode": 0o440, "optional": True}
            volumes.append({"name": volume, "secret": secret})
    if job.ca_config_map:
        items = [{"key": "ca.crt", "path": "ca.crt"}]
        volumes.append({"name": "ca", "configMap": {"name": job.ca_config_map, "items": items}})
    if job.trusted_root_config_map:
        items = [{"key": _TRUSTED_ROOT_KEY, "path": _TRUSTED_ROOT_KEY}]
        named = {"name": job.trusted_root_config_map, "items": items}
        volumes.append({"name": "trusted-root", "configMap": named})
    if job.source_claim and job.source_claim != job.claim_name:
        source = {"claimName": job.source_claim, "readOnly": True}
        volumes.append({"name": "source", "persistentVolumeClaim": source})
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": settings.run_as_user,
            "runAsGroup": settings.run_as_group,
            "fsGroup": settings.run_as_group,
            # A recursive chown of a full model volume would be an outage.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(job, settings)],
        "volumes": volumes,
    }
    if settings.pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
    if job.node_selector:
        pod["nodeSelector"] = job.node_selector
    return pod


def _container(job: WorkerJob, settings: WorkerSettings) -> dict[str, Any]:
    mount: dict[str, Any] = {"name": "models", "mountPath": _ROOT}
    if job.sub_path:
        mount["subPath"] = job.sub_path
    mounts = [mount, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - an emptyDir of the pod
    env = [{"name": "MODEL_GALLERY_ROOT", "value": _ROOT}]
    if job.secret_name:
        mounts.append({"name": "credentials", "mountPath": _CREDENTIALS, "readOnly": True})
        env.append({"name": operation.ENV_CREDENTIALS, "value": _CREDENTIALS})
    if job.proxy_secret:
        mounts.append({"name": "proxy", "mountPath": _PROXY, "readOnly": True})
        env.append({"name": operation.ENV_PROXY, "value": _PROXY})
    if job.ca_config_map:
        mounts.append({"name": "ca", "mountPath": _CA, "readOnly": True})
        env.append({"name": operation.ENV_CA, "value": f"{_CA}/ca.crt"})
    if job.trusted_root_config_map:
        mount = {"name": "trusted-root", "mountPath": _TRUSTED_ROOT, "readOnly": True}
        mounts.append(mount)
        path = f"{_TRUSTED_ROOT}/{_TRUSTED_ROOT_KEY}"
        env.append({"name": operation.ENV_TRUSTED_ROOT, "value": path})
    if job.source_claim:
        name = "source" if job.source_claim != job.claim_name else "models"
        mounts.append({"name": name, "mountPath": _SOURCE, "readOnly": True})
        env.append({"name": operation.ENV_SOURCE, "value": _SOURCE})
    if job.in_config_map:
        mounts.append({"name": "operation", "mountPath": _OPERATION_FOLDER, "readOnly": True})
        path = f"{_OPERATION_FOLDER}/operation.json"
        env.append({"name": operation.ENV_OPERATION_FILE, "value": path})
    else:
        env.append({"name": operation.ENV_OPERATION, "value": _without_expansion(job.payload)})
    return {
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": settings.pull_policy,
        "args": ["worker"],
        "env": env,
        "resources": _merged(settings.resources, job.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def _without_expansion(value: str) -> str:
    """Returns the value with `$(` escaped, which the kubelet would expand as a variable."""
    return value.replace("$(", "$$(")


def _merged(defaults: dict[str, dict[str, str]], wish: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {kind: dict(amounts) for kind, amounts in defaults.items()}
    for kind, amounts in wish.items():
        merged[kind] = {**merged.get(kind, {}), **amounts} if isinstance(amounts, dict) else amounts
    return merged
