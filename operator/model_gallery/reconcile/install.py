"""The step that brings a Model's files onto the volume."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.model import (
    LastFailure,
    Mode,
    ModelStatus,
    Resolved,
    UpdateMode,
)
from model_gallery.reconcile import attempts, preview, switch, times, underway, upkeep, workers
from model_gallery.reconcile.actions import DeleteJob, StartWorker
from model_gallery.reconcile.observed import (
    GalleryView,
    ObservedModel,
    WorkerPhase,
    WorkerView,
)
from model_gallery.reconcile.outcome import Act, Outcome, Wait
from model_gallery.reconcile.plan import Plan

__all__ = ["OPERATION", "decide", "is_held"]

OPERATION = "install"
_MEASURING_SECONDS = 3.0


def decide(
    observed: ObservedModel, gallery: GalleryView, plan: Plan, now: datetime, jitter: float
) -> tuple[Outcome, ModelStatus]:
    """Returns the outcome, and the status with what ended workers told folded in."""
    planned = observed.spec is not None and observed.spec.mode is Mode.PLAN
    stale = _stale(observed, plan, OPERATION, planned=planned)
    held = is_held(observed, plan)
    others = _others(observed, plan, planned=planned)
    ahead = _stale(observed, plan, switch.OPERATION, planned=planned)
    blocked = _stop_stale([] if held else [*stale, *ahead, *others])
    if blocked is not None:
        return blocked, observed.status
    status = observed.status if held else _forget_disturbed(observed.status, stale)
    if held or (_is_published(status, plan) and not upkeep.wants_update(observed, status)):
        status = status.model_copy(update={"staged": None}) if status.staged else status
        return upkeep.decide(observed, gallery, plan, status, now=now, jitter=jitter)
    if planned:
        return preview.decide(observed, gallery, plan, status, now=now, jitter=jitter)
    worker = _current(observed, status, plan)
    if worker is not None and worker.phase is WorkerPhase.SUCCEEDED:
        status = attempts.succeeded(status, worker, gallery.index_digest, now)
        # Not only when it starts: the operator may have died between the Job and its status.
        status = status.model_copy(
            update={"storage": plan.place, "resolved": _with_wish(status, plan)}
        )
        return upkeep.decide(observed, gallery, plan, status, now=now, jitter=jitter)
    early = switch.current(observed, status, plan)
    for active in (worker, early):
        if active is not None and active.phase is WorkerPhase.ACTIVE:
            wish = partial(_job, observed, gallery, plan, active.name)
            outcome = underway.outcome(active, observed, wish, now, _WORKING)
            return outcome, status if active is early else _under_way(status, plan)
    status = switch.staged(status, early, plan, now)
    for ended in (worker, early):
        if ended is not None and ended.phase is WorkerPhase.FAILED:
            about_secrets = workers.about_secrets(observed, gallery, plan)
            status = attempts.failed(status, ended, now, jitter, about_secrets=about_secrets)
    return _start_or_wait(observed, gallery, plan, status, now)


def _stale(
    observed: ObservedModel, plan: Plan, operation: str, *, planned: bool
) -> list[WorkerView]:
    """Returns the workers of another plan; all of them where nothing is to be fetched."""
    return [
        job
        for job in observed.workers
        if job.operation == operation and (planned or job.plan_digest != plan.digest)
    ]


def _others(observed: ObservedModel, plan: Plan, *, planned: bool) -> list[WorkerView]:
    """Returns the workers that write or read for what was published, before something else is."""
    published = observed.status.resolved
    if published is not None and published.plan_digest == plan.digest:
        return []
    beside = upkeep.OPERATIONS | {preview.OPERATION}
    others = [job for job in observed.workers if job.operation in beside]
    if not planned:
        return others
    return [
        job
        for job in others
        if (job.operation, job.plan_digest) != (preview.OPERATION, plan.digest)
    ]


def is_held(observed: ObservedModel, plan: Plan) -> bool:
    """Whether what is published stays although the index holds something else by now."""
    spec, resolved = observed.spec, observed.status.resolved
    pinned = spec is not None and spec.update_policy.mode is UpdateMode.PINNED
    return (
        pinned
        and resolved is not None
        and bool(resolved.plan_digest)
        and resolved.plan_digest != plan.digest
        and resolved.wish_digest == plan.wish_digest
    )


def _with_wish(status: ModelStatus, plan: Plan) -> Resolved | None:
    resolved = status.resolved
    return resolved.model_copy(update={"wish_digest": plan.wish_digest}) if resolved else None


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


def _current(observed: ObservedModel, status: ModelStatus, plan: Plan) -> WorkerView | None:
    return observed.worker(workers.attempt_name(OPERATION, observed, status, plan))


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
    if (
        failure is not None
        and failure.plan_digest == plan.digest
        and not workers.is_asked(observed)
    ):
        held = attempts.held_back(failure, status, now, "Trying again after")
        if held is not None and not _has_room_now(failure, observed.room_made):
            return held, status
    paused = observed.host_paused_until
    if paused is not None and paused > now:
        message = "A host of the source asked another Model's worker to wait"
        return Wait(Reason.RATE_LIMITED, message, (paused - now).total_seconds()), status
    status = status.model_copy(update={"next_retry_time": None})
    before = _turn(observed, gallery) or switch.decide(observed, gallery, plan, status, now)
    if before is not None:
        return before, status
    start = _job(observed, gallery, plan, workers.attempt_name(OPERATION, observed, status, plan))
    return Act((start,), Reason.PROGRESSING, _WORKING), _under_way(status, plan)


def _job(observed: ObservedModel, gallery: GalleryView, plan: Plan, name: str) -> StartWorker:
    operation = workers.install(observed, gallery, plan)
    return workers.job(observed, gallery, plan.place, operation, name, plan=plan)


def _turn(observed: ObservedModel, gallery: GalleryView) -> Outcome | None:
    """Returns who goes first; None: it is this Model's turn."""
    before = workers.turn(observed, gallery)
    if before is not None:
        return before
    if gallery.unmeasured:
        message = f"Waiting for the size of Model {gallery.unmeasured}: storage.maxBytes counts it"
        return Wait(Reason.QUEUED, message, _MEASURING_SECONDS)
    return None


def _has_room_now(failure: LastFailure, room_made: datetime | None) -> bool:
    """Whether room was missing, and some was made since."""
    lacked = failure.reason in {Reason.NO_SPACE, Reason.QUOTA_EXCEEDED}
    return lacked and room_made is not None and room_made > times.from_text(failure.failed_time)
