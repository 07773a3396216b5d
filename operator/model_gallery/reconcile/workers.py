"""The operations that workers are started with, and their Jobs."""

from __future__ import annotations

from model_gallery.api import labels
from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import Checksums, Formats, GallerySpec
from model_gallery.api.v1alpha1.model import ModelStatus, StoragePlace
from model_gallery.api.v1alpha1.signatures import Signatures
from model_gallery.catalog.entry import InstallRequest
from model_gallery.protocol.message import to_json
from model_gallery.protocol.operation import (
    InstallOperation,
    Owner,
    RepositoryKind,
    ScanOperation,
    SignerIdentity,
    VerifyOperation,
)
from model_gallery.reconcile import names, sizes
from model_gallery.reconcile.actions import DeleteJob, StartWorker
from model_gallery.reconcile.manifests import job as job_manifest
from model_gallery.reconcile.observed import (
    GalleryView,
    Meta,
    ObservedModel,
    WorkerPhase,
    WorkerSettings,
)
from model_gallery.reconcile.outcome import Wait
from model_gallery.reconcile.plan import Plan

__all__ = [
    "ASKING",
    "about_secrets",
    "attempt_name",
    "install",
    "is_asked",
    "job",
    "owner",
    "scan_job",
    "source_claim",
    "stop_all",
    "turn",
    "verify",
]

ASKING: dict[str, object] = {"plan_only": True, "quota_bytes": None}
"""What makes of the operation that installs one that only asks."""
_RECHECK_SECONDS = 60.0
_STRAY_SECONDS = 30.0
_SOURCE_SECONDS = 30.0
_Operation = InstallOperation | VerifyOperation


def owner(meta: Meta) -> Owner:
    """Returns the object that a worker works for."""
    return Owner(namespace=meta.namespace, name=meta.name, uid=meta.uid)


def install(observed: ObservedModel, gallery: GalleryView, plan: Plan) -> InstallOperation:
    """Returns the operation that brings a plan onto the volume."""
    policy, spec = gallery.spec.policy, observed.spec
    signatures = policy.signatures
    return InstallOperation(
        owner=owner(observed.meta),
        plan_digest=plan.digest,
        files=plan.request.files,
        documents=plan.request.documents,
        repository=plan.request.repository,
        bandwidth_bytes=sizes.from_quantity(gallery.spec.worker.bandwidth_limit or "") or 0,
        safe_formats=policy.formats is Formats.SAFE,
        checksums_required=policy.checksums is Checksums.REQUIRED,
        signature_keys=signatures.public_keys if signatures else (),
        signature_authorities=signatures.certificate_authorities if signatures else (),
        signature_identities=_identities(signatures),
        own_trusted_root=bool(_trusted_root(gallery)),
        keep_seconds=spec.update_policy.keep_seconds if spec else 0,
        quota_bytes=_quota(gallery),
        network=observed.settings.network,
    )


def _identities(signatures: Signatures | None) -> tuple[SignerIdentity, ...]:
    named = signatures.identities if signatures else ()
    return tuple(SignerIdentity(issuer=one.issuer, subject=one.subject) for one in named)


def _trusted_root(gallery: GalleryView) -> str:
    """Returns the ConfigMap with the trusted root; empty where the worker needs none, or has its own."""
    signatures = gallery.spec.policy.signatures
    if signatures is None or not signatures.identities or signatures.trusted_root is None:
        return ""
    return signatures.trusted_root.config_map_name


def _quota(gallery: GalleryView) -> int | None:
    most = sizes.from_quantity(gallery.spec.storage.max_bytes or "")
    return None if most is None else max(0, most - gallery.models_bytes)


def verify(observed: ObservedModel, gallery: GalleryView) -> VerifyOperation:
    """Returns the operation that reads what is published."""
    limit = sizes.from_quantity(gallery.spec.worker.verify_bandwidth_limit or "")
    return VerifyOperation(owner=owner(observed.meta), bandwidth_bytes=limit or 0)


def job(
    observed: ObservedModel,
    gallery: GalleryView,
    place: StoragePlace,
    operation: _Operation,
    name: str,
    *,
    plan: Plan,
    kind: str = "install",
) -> StartWorker:
    """Returns the Job of a Model's operation.

    Args:
        kind: what stands in the label; what the operation is for.
    """
    fetches = isinstance(operation, InstallOperation)
    bundle = gallery.spec.ca_bundle
    wanted = job_manifest.WorkerJob(
        name=name,
        operation=kind,
        payload=to_json(operation),
        plan_digest=plan.digest,
        gallery=gallery.name,
        claim_name=place.claim_name,
        sub_path=place.sub_path,
        owned=True,
        secret_name=plan.secret_name if fetches else "",
        proxy_secret=_proxy_secret(observed, gallery) if fetches else "",
        ca_config_map=bundle.config_map_name if bundle and fetches else "",
        trusted_root_config_map=_trusted_root(gallery) if fetches else "",
        source_claim=source_claim(plan.request) if fetches else "",
        resources=gallery.spec.worker.resources,
        node_selector=gallery.spec.worker.node_selector,
    )
    payload = wanted.payload if wanted.in_config_map else None
    return StartWorker(job_manifest.manifest(wanted, observed.meta, observed.settings), payload)


def about_secrets(observed: ObservedModel, gallery: GalleryView, plan: Plan) -> frozenset[Reason]:
    """Returns the failures of a worker that fetches which a corrected Secret may end."""
    refused = {Reason.UNAUTHORIZED, Reason.SECRET_NOT_ALLOWED}
    if plan.secret_name:
        # Who may not see a private repository is told that there is none.
        return frozenset(refused | {Reason.NOT_FOUND})
    return frozenset(refused if _proxy_secret(observed, gallery) else ())


def _proxy_secret(observed: ObservedModel, gallery: GalleryView) -> str:
    """Returns the Secret for the proxy; empty without either of them."""
    named = gallery.spec.proxy_credentials
    return named.secret_name if named and observed.settings.network.proxy else ""


def attempt_name(operation: str, observed: ObservedModel, status: ModelStatus, plan: Plan) -> str:
    """Returns the name of a Job that brings files: a new one after each success and each failure."""
    since = status.resolved.resolved_time if status.resolved else None
    newer = status.update_available
    return names.worker_name(
        observed.meta.name,
        operation,
        observed.meta.uid,
        plan.digest,
        status.attempts,
        since or "",
        newer.found_time if newer else "",
    )


def is_asked(observed: ObservedModel) -> bool:
    """Whether a person asked for another attempt now."""
    wish = observed.meta.reconcile_at
    return bool(wish) and wish != observed.status.last_handled_reconcile_at


def turn(observed: ObservedModel, gallery: GalleryView) -> Wait | None:
    """Returns who goes first; None: another worker may start."""
    if observed.strays:
        message = f"Pod {observed.strays[0]}, whose Job is gone, is still ending"
        return Wait(Reason.PREVIOUS_WORKER, message, _STRAY_SECONDS)
    missing = observed.missing_source
    if missing:
        # A pod that mounts it could not start, and would keep a place of the Gallery for nothing.
        message = f"there is no PersistentVolumeClaim {missing}, which spec.source names"
        return Wait(Reason.CLAIM_NOT_FOUND, message, _SOURCE_SECONDS)
    limit = gallery.spec.worker.max_concurrent
    if observed.busy_workers >= limit:
        message = f"Waiting for one of the {limit} workers of Gallery {gallery.name}"
        return Wait(Reason.QUEUED, message, _RECHECK_SECONDS)
    return None


def stop_all(observed: ObservedModel) -> tuple[DeleteJob, ...]:
    """Returns what ends the workers of a Model that still run."""
    return tuple(
        DeleteJob(job.name, job.uid)
        for job in observed.workers
        if job.phase is WorkerPhase.ACTIVE and not job.deleting
    )


def scan_job(
    meta: Meta,
    spec: GallerySpec,
    operation: ScanOperation,
    *,
    claim_name: str,
    name: str,
    settings: WorkerSettings,
) -> StartWorker:
    """Returns the Job that looks at a Gallery's volume."""
    wanted = job_manifest.WorkerJob(
        name=name,
        operation="scan",
        payload=to_json(operation),
        plan_digest="",
        gallery=meta.name,
        claim_name=claim_name,
        sub_path=spec.storage.sub_path,
        owned=True,
        resources=spec.worker.resources,
        node_selector=spec.worker.node_selector,
        owner_kind=labels.GALLERY,
    )
    payload = wanted.payload if wanted.in_config_map else None
    return StartWorker(job_manifest.manifest(wanted, meta, settings), payload)


def source_claim(request: InstallRequest) -> str:
    """Returns the claim that a `pvc://` source names; empty for other sources."""
    repository = request.repository
    if repository is None or repository.kind is not RepositoryKind.CLAIM:
        return ""
    return repository.url.removeprefix("pvc://").partition("/")[0]
