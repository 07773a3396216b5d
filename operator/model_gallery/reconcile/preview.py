"""A plan before bytes: a Job asks the source what an install would bring, and fetches nothing.

With spec.mode Plan a failure is counted and tried again as that of an install. A Model that is suspended
before anything was started for it is planned too; there a failure only stands in the message, since
nothing that is suspended may try and try.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial

from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.model import (
    MAX_STATUS_FILES,
    LastFailure,
    ModelStatus,
    PlannedFile,
    PlanStatus,
)
from model_gallery.artifact.digest import sha256_of_value
from model_gallery.protocol.report import ResultLine
from model_gallery.reconcile import attempts, names, sizes, times, underway, workers
from model_gallery.reconcile.actions import StartWorker
from model_gallery.reconcile.observed import (
    GalleryView,
    ObservedModel,
    WorkerPhase,
    WorkerView,
)
from model_gallery.reconcile.outcome import Act, Outcome, Pause
from model_gallery.reconcile.plan import Plan

__all__ = ["OPERATION", "decide", "suspended"]

OPERATION = "plan"
_ASKING = "Asking the source"

_Step = tuple[Outcome, ModelStatus]


def decide(
    observed: ObservedModel,
    gallery: GalleryView,
    plan: Plan,
    status: ModelStatus,
    *,
    now: datetime,
    jitter: float,
) -> _Step:
    """Returns the outcome for a Model with spec.mode Plan."""
    status = _planned(observed, plan, status, now)
    if status.plan is not None:
        return Pause(Reason.PLANNED, f"{_told(status.plan)}; set spec.mode to Install"), status
    worker = _current(observed, status, plan)
    if worker is not None and worker.phase is WorkerPhase.ACTIVE:
        wish = partial(_start, observed, gallery, plan, status)
        return underway.outcome(worker, observed, wish, now, _ASKING), status
    if worker is not None:
        about_secrets = workers.about_secrets(observed, gallery, plan)
        status = attempts.failed(status, worker, now, jitter, about_secrets=about_secrets)
        status = _marked(status, plan)
    held = _held_back(observed, plan, status, now) or workers.turn(observed, gallery)
    if held is not None:
        return held, status
    return Act((_start(observed, gallery, plan, status),), Reason.PROGRESSING, _ASKING), status


def suspended(
    paused: Pause, observed: ObservedModel, gallery: GalleryView, plan: Plan, now: datetime
) -> _Step:
    """Returns the outcome for a Model that is suspended, and of which nothing was started yet.

    Args:
        paused: what is told of the suspension.
    """
    status = _planned(observed, plan, observed.status, now)
    worker = _current(observed, status, plan)
    told, recheck = "asking the source what it would bring", None
    if status.plan is not None:
        told = _told(status.plan)
    elif worker is None:
        waiting = workers.turn(observed, gallery)
        if waiting is None:
            start = _start(observed, gallery, plan, status)
            return Act((start,), paused.reason, f"{paused.message}; {told}"), status
        told, recheck = waiting.message, waiting.retry_seconds
    elif worker.phase is WorkerPhase.ACTIVE:
        wish = partial(_start, observed, gallery, plan, status)
        active = underway.outcome(worker, observed, wish, now, told)
        if isinstance(active, Act):
            return replace(active, reason=paused.reason), status
        told, recheck = active.message, active.retry_seconds
    elif worker.phase is WorkerPhase.FAILED:
        told = f"the source was asked what it would bring: {attempts.failure_of(worker)[1]}"
    return Pause(paused.reason, f"{paused.message}; {told}", recheck), status


def _planned(
    observed: ObservedModel, plan: Plan, status: ModelStatus, now: datetime
) -> ModelStatus:
    """Keeps a plan that still stands, takes one that was just made, and drops any other."""
    known = status.plan
    stands = known is not None and known.plan_digest == plan.digest
    if stands and not workers.is_asked(observed):
        return status
    # Until the new one is there: else the old one would stand for it once the wish is handled.
    status = status.model_copy(update={"plan": None}) if status.plan else status
    worker = _current(observed, status, plan)
    if worker is None or worker.phase is not WorkerPhase.SUCCEEDED:
        return status
    made = _status_of(plan, worker.result, now)
    ended = {"plan": made, "attempts": 0, "next_retry_time": None, "last_failure": None}
    return status.model_copy(update=ended)


def _current(observed: ObservedModel, status: ModelStatus, plan: Plan) -> WorkerView | None:
    return observed.worker(_name(observed, status, plan))


def _name(observed: ObservedModel, status: ModelStatus, plan: Plan) -> str:
    """Returns a Job's: a new one after each failure that was counted, and each time a person asks."""
    meta, failure = observed.meta, status.last_failure
    own = failure is not None and failure.plan_digest == _mark(plan)
    tried = status.attempts if own else 0
    return names.worker_name(meta.name, OPERATION, meta.uid, plan.digest, meta.reconcile_at, tried)


def _mark(plan: Plan) -> str:
    """Returns a digest that tells a failure to plan from one to install, which holds that back."""
    return sha256_of_value([OPERATION, plan.digest])


def _marked(status: ModelStatus, plan: Plan) -> ModelStatus:
    failure = status.last_failure
    if failure is None:
        return status
    own: LastFailure = failure.model_copy(update={"plan_digest": _mark(plan)})
    return status.model_copy(update={"last_failure": own})


def _held_back(
    observed: ObservedModel, plan: Plan, status: ModelStatus, now: datetime
) -> Outcome | None:
    failure = status.last_failure
    if failure is None or failure.plan_digest != _mark(plan) or workers.is_asked(observed):
        return None
    return attempts.held_back(failure, status, now, "Asking again after")


def _start(
    observed: ObservedModel, gallery: GalleryView, plan: Plan, status: ModelStatus
) -> StartWorker:
    operation = workers.install(observed, gallery, plan)
    operation = structs.replace(operation, **workers.ASKING)
    name = _name(observed, status, plan)
    return workers.job(observed, gallery, plan.place, operation, name, plan=plan, kind=OPERATION)


def _status_of(plan: Plan, result: ResultLine | None, now: datetime) -> PlanStatus:
    told = result or ResultLine(reason=Reason.SUCCEEDED)
    return PlanStatus(
        plan_digest=plan.digest,
        revision=told.revision[:128],
        files=tuple(
            PlannedFile(path=file.path, size_bytes=file.size_bytes or None, sha256=file.sha256)
            for file in told.files[:MAX_STATUS_FILES]
        ),
        files_total=told.files_total,
        size_bytes=told.size_bytes,
        fetch_bytes=told.fetched_bytes,
        license=plan.request.license[:128],
        planned_time=times.to_text(now),
    )


def _told(plan: PlanStatus) -> str:
    noun = "file" if plan.files_total == 1 else "files"
    return (
        f"{plan.files_total} {noun}, {sizes.to_text(plan.size_bytes)}, of which"
        f" {sizes.to_text(plan.fetch_bytes)} would be fetched"
    )
