"""The change from published files to others while pods have the former in memory.

What comes is fetched first, beside what stands. Then the change waits, for a time: a backend that read
half of the files before it and half after it would serve neither. What is opened stays as it was, so a
change that no longer waits takes nothing from anybody.
"""

from __future__ import annotations

from datetime import datetime

from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.model import ModelStatus, Staged
from model_gallery.reconcile import serving, times, workers
from model_gallery.reconcile.actions import StartWorker
from model_gallery.reconcile.observed import GalleryView, ObservedModel, WorkerPhase, WorkerView
from model_gallery.reconcile.outcome import Act, Outcome, Wait
from model_gallery.reconcile.plan import Plan

__all__ = ["OPERATION", "current", "decide", "staged"]

OPERATION = "fetch"
_MOST_NAMED = 3


def current(observed: ObservedModel, status: ModelStatus, plan: Plan) -> WorkerView | None:
    """Returns the worker that fetches ahead for a plan; None without one."""
    return observed.worker(workers.attempt_name(OPERATION, observed, status, plan))


def staged(
    status: ModelStatus, worker: WorkerView | None, plan: Plan, now: datetime
) -> ModelStatus:
    """Returns the status with what a worker that fetched ahead has done."""
    if _staged_for(status, plan) is not None:
        return status
    done = worker is not None and worker.phase is WorkerPhase.SUCCEEDED
    fresh = Staged(plan_digest=plan.digest, time=times.to_text(now)) if done else None
    return status if status.staged == fresh else status.model_copy(update={"staged": fresh})


def decide(
    observed: ObservedModel,
    gallery: GalleryView,
    plan: Plan,
    status: ModelStatus,
    now: datetime,
) -> Outcome | None:
    """Returns what comes before the worker that publishes; None: nothing, it may start."""
    patience = observed.spec.update_policy.wait_seconds if observed.spec else 0
    if not patience or status.installed_time is None:
        return None
    users = serving.in_pods(observed.identity, observed.known_as, observed.pods or ())
    if not users:
        return None
    ready = _staged_for(status, plan)
    if ready is None:
        return Act((_start(observed, gallery, plan, status),), Reason.PROGRESSING, _AHEAD)
    left = patience - (now - times.from_text(ready.time)).total_seconds()
    if left <= 0:
        return None
    more = f" and {len(users) - _MOST_NAMED} more" if len(users) > _MOST_NAMED else ""
    message = (
        f"Fetched; waiting for {', '.join(users[:_MOST_NAMED])}{more} to give the present files back,"
        f" for {patience} s at most (updatePolicy.waitSeconds)"
    )
    return Wait(Reason.IN_USE, message, left)


_AHEAD = "Fetching beside the files that pods have in memory"


def _staged_for(status: ModelStatus, plan: Plan) -> Staged | None:
    ready = status.staged
    return ready if ready is not None and ready.plan_digest == plan.digest else None


def _start(
    observed: ObservedModel, gallery: GalleryView, plan: Plan, status: ModelStatus
) -> StartWorker:
    operation = structs.replace(workers.install(observed, gallery, plan), fetch_only=True)
    name = workers.attempt_name(OPERATION, observed, status, plan)
    return workers.job(observed, gallery, plan.place, operation, name, plan=plan, kind=OPERATION)
