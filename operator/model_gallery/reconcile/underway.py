"""What a worker means that has not ended: it works, tries again, or cannot start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from model_gallery.api import labels
from model_gallery.api.conditions import Reason
from model_gallery.protocol import exitcodes
from model_gallery.reconcile import attempts
from model_gallery.reconcile.actions import DeleteJob, StartWorker
from model_gallery.reconcile.observed import ObservedModel, WorkerView
from model_gallery.reconcile.outcome import Act, Wait

__all__ = ["outcome"]

_PENDING_PATIENCE_SECONDS = 15.0
_PREPARING_PATIENCE_SECONDS = 30.0
"""Longer: a volume that is attached and an image that is pulled take their time."""


def outcome(
    worker: WorkerView,
    observed: ObservedModel,
    wish: Callable[[], StartWorker],
    now: datetime,
    doing: str,
) -> Act | Wait:
    """Returns the wait for a worker that has not ended, which tells why it does not start.

    One that cannot work as it is gets stopped, once its Gallery says to start it otherwise, and where the
    claim that it reads is gone: it would keep a place of the Gallery for nothing.

    Args:
        wish: makes the Job as it would be started now; asked where the worker does not get on.
        doing: what it does, for the message.
    """
    return _reshaped(worker, observed, wish) or _waiting(worker, now, doing)


def _reshaped(
    worker: WorkerView, observed: ObservedModel, wish: Callable[[], StartWorker]
) -> Act | None:
    out_of_memory = worker.killed_by == exitcodes.OOM_KILLED
    stuck = bool(worker.waiting) or worker.preparing is not None or out_of_memory
    if not stuck or worker.deleting or not worker.shape:
        return None
    message = "Stopping a worker that does not start, to start it as the Gallery says now"
    if observed.missing_source:
        message = f"Stopping a worker that waits for claim {observed.missing_source}"
    elif worker.shape == wish().job["metadata"]["annotations"][labels.ANNOTATION_SHAPE]:
        return None
    return Act((DeleteJob(worker.name, worker.uid),), Reason.PREVIOUS_WORKER, message)


def _waiting(worker: WorkerView, now: datetime, doing: str) -> Wait:
    if worker.deleting:
        return Wait(Reason.PREVIOUS_WORKER, "The worker is being deleted; it starts again", 30.0)
    age = (now - worker.created).total_seconds()
    if worker.waiting:
        if age >= _PENDING_PATIENCE_SECONDS:
            return Wait(Reason.WORKER_PENDING, f"The worker does not start: {worker.waiting}", 60.0)
        return Wait(Reason.PROGRESSING, doing, _PENDING_PATIENCE_SECONDS - age + 1.0)
    left = None
    if worker.preparing is not None:
        what, since = worker.preparing
        left = _PREPARING_PATIENCE_SECONDS - (now - since).total_seconds()
        if left <= 0:
            message = f"The worker does not start; `kubectl describe {what}` tells what it lacks"
            return Wait(Reason.WORKER_PENDING, message, 60.0)
    if worker.exit_code:
        _, message, _, _ = attempts.failure_of(worker)
        return Wait(Reason.PROGRESSING_WITH_RETRY, f"Trying again after: {message}", left)
    return Wait(Reason.PROGRESSING, doing, left)
