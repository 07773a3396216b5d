"""What ended workers mean for the status: a success is recorded, a failure is counted once."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.model import (
    MAX_STATUS_FILES,
    FileStatus,
    LastFailure,
    ModelFacts,
    ModelStatus,
    Resolved,
)
from model_gallery.protocol import exitcodes
from model_gallery.protocol.report import ResultLine
from model_gallery.reconcile import backoff, sizes, times
from model_gallery.reconcile.observed import WorkerView
from model_gallery.reconcile.outcome import Outcome, Stall, Wait

__all__ = [
    "Failure",
    "failed",
    "failure_of",
    "held_back",
    "is_stalled",
    "seconds_left",
    "succeeded",
]

Failure = tuple[Reason, str, exitcodes.Class, int | None]
"""Reason, message, class and, for the stalled ones, seconds until a re-check."""


def succeeded(status: ModelStatus, worker: WorkerView, revision: str, now: datetime) -> ModelStatus:
    """Returns the status after a worker published its plan."""
    moment = times.to_text(now)
    result = worker.result or ResultLine(reason=Reason.SUCCEEDED)
    files = tuple(
        FileStatus(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256)
        for file in result.files[:MAX_STATUS_FILES]
    )
    return status.model_copy(
        update={
            "resolved": Resolved(
                revision=result.revision or revision,
                digest=f"sha256:{result.digest}" if result.digest else "",
                plan_digest=worker.plan_digest,
                resolved_time=moment,
                source_digest=result.source_digest,
            ),
            "size_bytes": result.size_bytes,
            "size_text": sizes.to_text(result.size_bytes),
            "files": files,
            "files_total": result.files_total,
            "model": _facts(result),
            "progress": None,
            "attempts": 0,
            "next_retry_time": None,
            "last_failure": None,
            "installed_time": moment,
            "verified_time": moment if result.verified else None,
            "checked_time": moment,
            "asked_time": moment,
            "update_available": None,
            "damage": None,
            "plan": None,
            "staged": None,
        }
    )


def _facts(result: ResultLine) -> ModelFacts | None:
    return None if result.model is None else ModelFacts.model_validate(structs.asdict(result.model))


def failed(
    status: ModelStatus,
    worker: WorkerView,
    now: datetime,
    jitter: float,
    *,
    about_secrets: Collection[Reason],
) -> ModelStatus:
    """Returns the status after a worker's Job failed for good.

    Args:
        about_secrets: for which a Secret may be the cause, which somebody may be correcting just now.
    """
    reason, message, klass, recheck = failure_of(worker)
    attempts = status.attempts + 1
    asked = worker.result.retry_after_seconds if worker.result else None
    delay: float | None = recheck
    if reason in about_secrets and attempts <= _SECRET_ATTEMPTS:
        delay = _SECRET_SECONDS * (1 + jitter / 3)
    if klass is exitcodes.Class.TRANSIENT:
        delay = backoff.delay_seconds(attempts, jitter, asked)
    return status.model_copy(
        update={
            "attempts": attempts,
            "next_retry_time": times.to_text(now + timedelta(seconds=delay)) if delay else None,
            "last_failure": LastFailure(
                plan_digest=worker.plan_digest,
                reason=reason.value,
                message=message[:1024],
                failed_time=times.to_text(now),
                missing_bytes=worker.result.missing_bytes if worker.result else None,
            ),
            "progress": None,
        }
    )


_SECRET_SECONDS, _SECRET_ATTEMPTS = 30.0, 20
"""Nobody here may read a Secret, or watch it: only another worker can tell that it was corrected. For the
first ten minutes, when people look, it is asked often."""


def held_back(
    failure: LastFailure, status: ModelStatus, now: datetime, words: str
) -> Outcome | None:
    """Returns what holds the next attempt back; None when it is due.

    Args:
        words: what is told before the failure's message.
    """
    left = seconds_left(status, now)
    if left is not None and left <= 0:
        return None
    reason = Reason(failure.reason)
    if is_stalled(reason):
        return Stall(reason, failure.message, left)
    if left is None:
        return None
    return Wait(Reason.PROGRESSING_WITH_RETRY, f"{words}: {failure.message}", left)


def seconds_left(status: ModelStatus, now: datetime) -> float | None:
    """Returns the seconds until the next attempt, 0 or less where it is due; None without one."""
    if not status.next_retry_time:
        return None
    return (times.from_text(status.next_retry_time) - now).total_seconds()


def is_stalled(reason: Reason) -> bool:
    """Whether only a person can mend what failed for this reason."""
    row = exitcodes.by_reason(reason)
    return row is not None and row.klass is exitcodes.Class.STALLED


def failure_of(worker: WorkerView) -> Failure:
    """Returns why the newest ended pod of a worker failed."""
    if worker.killed_by == exitcodes.OOM_KILLED:
        message = "the worker was killed for memory; raise spec.worker.resources of the Gallery"
        return Reason.OUT_OF_MEMORY, message, exitcodes.Class.TRANSIENT, None
    result = worker.result
    if result is not None and result.reason is not Reason.SUCCEEDED:
        row = exitcodes.by_reason(result.reason)
        if row is not None:
            return row.reason, result.message, row.klass, row.recheck_seconds
    row = exitcodes.by_code(worker.exit_code) if worker.exit_code is not None else None
    if row is not None:
        message = result.message if result else "the worker gave no further word"
        return row.reason, message, row.klass, row.recheck_seconds
    return Reason.WORKER_FAILED, _unexplained(worker), exitcodes.Class.TRANSIENT, None


def _unexplained(worker: WorkerView) -> str:
    if worker.exit_code is not None:
        return f"the worker ended with exit code {worker.exit_code} and without a report"
    return worker.failure or "the worker ended without a report"
