"""The step that brings a Model's files onto the volume."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import Formats
from model_gallery.api.v1alpha1.model import LastFailure, ModelStatus, StoragePlace
from model_gallery.artifact.digest import sha256_of_value
from model_gallery.catalog.entry import InstallRequest
from model_gallery.protocol import exitcodes
from model_gallery.protocol.operation import (
    InstallOperation,
    Owner,
    RepositoryKind,
)
from model_gallery.reconcile import attempts, names, sizes, times
from model_gallery.reconcile.actions import DeleteJob, StartWorker
from model_gallery.reconcile.manifests import job as job_manifest
from model_gallery.reconcile.observed import (
    ClaimView,
    GalleryView,
    ObservedModel,
    WorkerPhase,
    WorkerView,
)
from model_gallery.reconcile.outcome import Act, Done, Outcome, Stall, Wait

__all__ = ["OPERATION", "Plan", "decide", "plan_of"]

OPERATION = "install"
_PENDING_PATIENCE_SECONDS = 15.0
_QUEUE_RECHECK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What shall be on the volume, and where.

    Attributes:
        secret_name: Secret with credentials for the source; empty without one.
        digest: over all that publishing depends on; equal digests are equal wishes.
    """

    request: InstallRequest
    place: StoragePlace
    secret_name: str
    digest: str


def plan_of(
    request: InstallRequest, gallery: GalleryView, claim: ClaimView, secret_name: str = ""
) -> Plan:
    """Returns the plan of a request on its Gallery's volume.

    A policy is part of it, so that a changed one is applied to what is installed; so is the Secret's
    name, so that a Model that was refused is tried again with another.
    """
    place = StoragePlace(
        claim_name=claim.name, claim_uid=claim.uid, sub_path=gallery.spec.storage.sub_path
    )
    digest = sha256_of_value(
        {
            # Without a field that is not set, so that a new version leaves published plans alone.
            "files": [
                file.model_dump(exclude=None if file.unpack else {"unpack"})
                for file in request.files
            ],
            "documents": [document.model_dump() for document in request.documents],
            "place": place.model_dump(),
            "repository": request.repository.model_dump() if request.repository else None,
            "formats": gallery.spec.policy.formats,
            "secret": secret_name,
        }
    )
    return Plan(request, place, secret_name, digest)


def decide(
    observed: ObservedModel, gallery: GalleryView, plan: Plan, now: datetime, jitter: float
) -> tuple[Outcome, ModelStatus]:
    """Returns the outcome, and the status with what ended workers told folded in."""
    stale = [job for job in _installs(observed) if job.plan_digest != plan.digest]
    blocked = _stop_stale(stale)
    if blocked is not None:
        return blocked, observed.status
    status = _forget_disturbed(observed.status, stale)
    if _is_published(status, plan):
        return Done(_published_message(status)), status
    worker = _current(observed, status, plan)
    if worker is not None and worker.phase is WorkerPhase.SUCCEEDED:
        status = attempts.succeeded(status, worker, gallery.index_digest, now)
        # Not only when it starts: the operator may have died between the Job and its status.
        status = status.model_copy(update={"storage": plan.place})
        return Done(_published_message(status)), status
    if worker is not None and worker.phase is WorkerPhase.ACTIVE:
        return _running(worker, now), _under_way(status, plan)
    if worker is not None:
        status = attempts.failed(status, worker, now, jitter)
    return _start_or_wait(observed, gallery, plan, status, now)


def _installs(observed: ObservedModel) -> list[WorkerView]:
    return [job for job in observed.workers if job.operation == OPERATION]


def _stop_stale(stale: list[WorkerView]) -> Outcome | None:
    running = [job for job in stale if job.phase is WorkerPhase.ACTIVE]
    if not running:
        return None
    to_delete = tuple(DeleteJob(job.name, job.uid) for job in running if not job.deleting)
    if to_delete:
        return Act(to_delete, Reason.PREVIOUS_WORKER, "Stopping the worker of an older wish")
    return Wait(Reason.PREVIOUS_WORKER, "The worker of an older wish is still ending", 30.0)


def _forget_disturbed(status: ModelStatus, stale: list[WorkerView]) -> ModelStatus:
    """Drops the proof of publication where another plan's worker ran after it."""
    resolved = status.resolved
    if resolved is None or not resolved.plan_digest or not resolved.resolved_time:
        return status
    published = times.from_text(resolved.resolved_time)
    if any(job.plan_digest != resolved.plan_digest and job.created >= published for job in stale):
        return _without_proof(status)
    return status


def _without_proof(status: ModelStatus) -> ModelStatus:
    if status.resolved is None:
        return status
    return status.model_copy(
        update={"resolved": status.resolved.model_copy(update={"plan_digest": ""})}
    )


def _is_published(status: ModelStatus, plan: Plan) -> bool:
    return status.resolved is not None and status.resolved.plan_digest == plan.digest


def _job_name(observed: ObservedModel, status: ModelStatus, plan: Plan) -> str:
    """A new name after each success and each failure; the same one until then."""
    since = status.resolved.resolved_time if status.resolved else None
    return names.worker_name(
        observed.meta.name,
        OPERATION,
        observed.meta.uid,
        plan.digest,
        status.attempts,
        since or "",
    )


def _current(observed: ObservedModel, status: ModelStatus, plan: Plan) -> WorkerView | None:
    name = _job_name(observed, status, plan)
    return next((job for job in observed.workers if job.name == name), None)


def _running(worker: WorkerView, now: datetime) -> Outcome:
    if worker.deleting:
        return Wait(Reason.PREVIOUS_WORKER, "The worker is being deleted; it starts again", 30.0)
    age = (now - worker.created).total_seconds()
    if worker.waiting:
        if age >= _PENDING_PATIENCE_SECONDS:
            return Wait(Reason.WORKER_PENDING, f"The worker does not start: {worker.waiting}", 60.0)
        return Wait(Reason.PROGRESSING, _WORKING, _PENDING_PATIENCE_SECONDS - age + 1.0)
    if worker.exit_code:
        _, message, _, _ = attempts.failure_of(worker)
        return Wait(Reason.PROGRESSING_WITH_RETRY, f"Trying again after: {message}")
    return Wait(Reason.PROGRESSING, _WORKING)


_WORKING = "Fetching, verifying and publishing the files"


def _under_way(status: ModelStatus, plan: Plan) -> ModelStatus:
    return _without_proof(status).model_copy(update={"storage": plan.place})


def _start_or_wait(
    observed: ObservedModel,
    gallery: GalleryView,
    plan: Plan,
    status: ModelStatus,
    now: datetime,
) -> tuple[Outcome, ModelStatus]:
    failure = status.last_failure
    if failure is not None and failure.plan_digest == plan.digest and not _asked(observed):
        held = _held_back(failure, status, now)
        if held is not None:
            return held, status
    paused = observed.host_paused_until
    if paused is not None and paused > now:
        message = "A host of the source asked another Model's worker to wait"
        return Wait(Reason.RATE_LIMITED, message, (paused - now).total_seconds()), status
    status = status.model_copy(update={"next_retry_time": None})
    limit = gallery.spec.worker.max_concurrent
    if observed.busy_workers >= limit:
        message = f"Waiting for one of the {limit} workers of Gallery {gallery.name}"
        return Wait(Reason.QUEUED, message, _QUEUE_RECHECK_SECONDS), status
    start = _start(observed, gallery, plan, _job_name(observed, status, plan))
    return Act((start,), Reason.PROGRESSING, _WORKING), _under_way(status, plan)


def _asked(observed: ObservedModel) -> bool:
    """Whether a person asked for another attempt now."""
    wish = observed.meta.reconcile_at
    return bool(wish) and wish != observed.status.last_handled_reconcile_at


def _held_back(failure: LastFailure, status: ModelStatus, now: datetime) -> Outcome | None:
    """Returns what holds the next attempt back; None when it is due."""
    reason = Reason(failure.reason)
    row = exitcodes.by_reason(reason)
    left: float | None = None
    if status.next_retry_time:
        left = (times.from_text(status.next_retry_time) - now).total_seconds()
        if left <= 0:
            return None
    if row is not None and row.klass is exitcodes.Class.STALLED:
        return Stall(reason, failure.message, left)
    if left is None:
        return None
    return Wait(Reason.PROGRESSING_WITH_RETRY, f"Trying again after: {failure.message}", left)


def _start(observed: ObservedModel, gallery: GalleryView, plan: Plan, job_name: str) -> StartWorker:
    meta, settings = observed.meta, observed.settings
    operation = InstallOperation(
        owner=Owner(namespace=meta.namespace, name=meta.name, uid=meta.uid),
        plan_digest=plan.digest,
        files=plan.request.files,
        documents=plan.request.documents,
        repository=plan.request.repository,
        bandwidth_bytes=sizes.from_quantity(gallery.spec.worker.bandwidth_limit or "") or 0,
        safe_formats=gallery.spec.policy.formats is Formats.SAFE,
        network=settings.network,
    )
    job = job_manifest.WorkerJob(
        name=job_name,
        operation=OPERATION,
        payload=operation.model_dump_json(by_alias=True),
        plan_digest=plan.digest,
        gallery=gallery.name,
        claim_name=plan.place.claim_name,
        sub_path=plan.place.sub_path,
        owned=True,
        secret_name=plan.secret_name,
        ca_config_map=gallery.spec.ca_bundle.config_map_name if gallery.spec.ca_bundle else "",
        source_claim=_source_claim(plan.request),
        resources=gallery.spec.worker.resources,
        node_selector=gallery.spec.worker.node_selector,
    )
    payload = job.payload if job.in_config_map else None
    return StartWorker(job_manifest.manifest(job, meta, settings), payload)


def _source_claim(request: InstallRequest) -> str:
    repository = request.repository
    if repository is None or repository.kind is not RepositoryKind.CLAIM:
        return ""
    return repository.url.removeprefix("pvc://").partition("/")[0]


def _published_message(status: ModelStatus) -> str:
    total = status.files_total or 0
    if total == 0:
        return "Published the configuration; there are no files, the backend fetches its own"
    noun = "file" if total == 1 else "files"
    return f"Published {total} {noun}, {status.size_text}"
