"""The life after an install: verification, repair, a look for something newer.

Each of these is a Job of its own whose name follows from what it is for, so that a restart of the
operator finds it again. None of them takes Ready from a Model whose files are whole.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.model import (
    MAX_STATUS_FILES,
    Damage,
    FileProblem,
    ModelStatus,
    UpdateAvailable,
    UpdateMode,
)
from model_gallery.protocol import report
from model_gallery.protocol.operation import InstallOperation
from model_gallery.protocol.report import ResultLine
from model_gallery.reconcile import attempts, names, times, workers
from model_gallery.reconcile.actions import StartWorker
from model_gallery.reconcile.observed import (
    GalleryView,
    ObservedModel,
    WorkerPhase,
    WorkerView,
)
from model_gallery.reconcile.outcome import Act, Done, Outcome, Pause, Stall, Wait
from model_gallery.reconcile.plan import Plan

__all__ = ["OPERATIONS", "decide", "wants_update"]

_VERIFY, _REPAIR, _ASK = "verify", "repair", "ask"
OPERATIONS = frozenset({_VERIFY, _REPAIR, _ASK})
_BUSY_SECONDS = 60.0
_FAILED_SECONDS = 600.0
"""As long as an ended Job stays: its name is free after that, and the next attempt may have it."""

_Step = tuple[Outcome, ModelStatus]
_Due = tuple[StartWorker, str] | float | None
"""A Job to start, and what it does; the seconds until one may be; None: an event comes first."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """What every step looks at.

    Attributes:
        plan: of the digest that the Jobs are for: what is published, whatever the index holds by now.
    """

    observed: ObservedModel
    gallery: GalleryView
    plan: Plan
    drifted: bool
    now: datetime
    jitter: float = 0.0

    def name(self, kind: str, *seed: str | int) -> str:
        """Returns the Job's name for one purpose."""
        meta = self.observed.meta
        return names.worker_name(meta.name, kind, meta.uid, self.plan.digest, *seed)

    def start(self, name: str, kind: str) -> StartWorker:
        """Returns the Job to start."""
        place = self.observed.status.storage or self.plan.place
        if kind == _VERIFY:
            verify = workers.verify(self.observed, self.gallery)
            return workers.job(
                self.observed, self.gallery, place, verify, name, plan=self.plan, kind=kind
            )
        operation = workers.install(self.observed, self.gallery, self.plan)
        update = {_REPAIR: self._repair(), _ASK: workers.ASKING}[kind]
        operation = structs.replace(operation, **update)
        if kind == _REPAIR:
            operation = self._pinned(operation)
        return workers.job(
            self.observed, self.gallery, place, operation, name, plan=self.plan, kind=kind
        )

    def _repair(self) -> dict[str, object]:
        return {"recheck": True, "from_receipt": self.drifted}

    def _pinned(self, operation: InstallOperation) -> InstallOperation:
        """Holds a repository at the revision that is published: a repair is no update."""
        resolved, wanted = self.observed.status.resolved, operation.repository
        if wanted is None or resolved is None or not resolved.revision:
            return operation
        held = structs.replace(wanted, revision=resolved.revision)
        return structs.replace(operation, repository=held)


def decide(
    observed: ObservedModel,
    gallery: GalleryView,
    plan: Plan,
    status: ModelStatus,
    *,
    now: datetime,
    jitter: float,
) -> _Step:
    """Returns the outcome for a Model whose files are published."""
    digest = status.resolved.plan_digest if status.resolved else plan.digest
    drifted = digest != plan.digest
    scene = _Scene(observed, gallery, replace(plan, digest=digest), drifted, now, jitter)
    status = _without_plan(_noticed(scene, _compared(scene, status)))
    if _is_suspended(observed):
        return _at_rest(scene, status)
    if observed.status.damage is not None and status.damage is not None:
        return _repair(scene, status)
    verified: _Due = None
    if status.damage is None:
        verified, status = _verify(scene, status)
    if status.damage is not None:
        # Written down before its Job starts: the Job's name follows from when it was found.
        return Wait(Reason.FILES_DAMAGED, _mending(status.damage), 1.0), status
    asked: _Due = None
    if not isinstance(verified, tuple):
        asked, status = _ask(scene, status)
    for due in (verified, asked):
        if isinstance(due, tuple):
            start, message = due
            return Act((start,), Reason.PROGRESSING, message, Done(_message(status))), status
    waits = [due for due in (verified, asked) if isinstance(due, float)]
    return Done(_message(status), min(waits, default=None)), status


def wants_update(observed: ObservedModel, status: ModelStatus) -> bool:
    """Whether something newer is known that the Model's policy takes."""
    spec = observed.spec
    tracks = spec is not None and spec.update_policy.mode is UpdateMode.TRACK
    return tracks and status.update_available is not None and not _is_suspended(observed)


def _is_suspended(observed: ObservedModel) -> bool:
    spec, gallery = observed.spec, observed.gallery
    return (spec is not None and spec.suspend) or (gallery is not None and gallery.spec.suspend)


def _at_rest(scene: _Scene, status: ModelStatus) -> _Step:
    """Starts nothing, and stops what runs; what is published stays so."""
    running = workers.stop_all(scene.observed)
    damage = status.damage
    if running:
        beside = None if damage else Done(_message(status))
        return Act(running, Reason.SUSPENDED, "Suspended; stopping the worker", beside), status
    if damage is not None:
        return Pause(Reason.SUSPENDED, f"Suspended; not mended: {damage.message}"), status
    return Done(_message(status)), status


def _compared(scene: _Scene, status: ModelStatus) -> ModelStatus:
    """Shows what the index holds by now, or that it holds what is published again."""
    known = status.update_available
    if scene.drifted:
        revision = scene.gallery.index_digest
        if known is not None and known.revision == revision:
            return status
        found = UpdateAvailable(revision=revision, found_time=times.to_text(scene.now))
        return status.model_copy(update={"update_available": found})
    if known is not None and _is_entry(scene.observed):
        return status.model_copy(update={"update_available": None})
    return status


def _without_plan(status: ModelStatus) -> ModelStatus:
    return status.model_copy(update={"plan": None}) if status.plan else status


# Damage


def _noticed(scene: _Scene, status: ModelStatus) -> ModelStatus:
    """Takes over what a scan found, unless something newer is known of the files."""
    scan = scene.observed.scan
    if scan is None or status.damage is not None or not _is_news(scan.begun, status):
        return status
    certain = [item for item in scan.problems if item.problem is not report.Problem.TOUCHED]
    if not certain:
        return status
    first = certain[0]
    message = f"a scan found {first.path} {first.problem.value.lower()}"
    return _damaged(status, certain, len(certain), message, scene.now)


def _is_news(begun: datetime, status: ModelStatus) -> bool:
    known = status.checked_time or status.installed_time
    return known is None or begun > times.from_text(known)


def _damaged(
    status: ModelStatus,
    problems: list[report.FileProblem],
    total: int,
    message: str,
    now: datetime,
) -> ModelStatus:
    damage = Damage(
        problems=tuple(
            FileProblem(path=item.path[:1024], problem=item.problem.value)
            for item in problems[:MAX_STATUS_FILES]
        ),
        total=total,
        found_time=times.to_text(now),
        message=message[:1024],
    )
    return status.model_copy(update={"damage": damage, "attempts": 0, "next_retry_time": None})


def _repair(scene: _Scene, status: ModelStatus) -> _Step:
    damage = status.damage
    found = damage.found_time if damage else ""
    name = scene.name(_REPAIR, found, status.attempts)
    worker = scene.observed.worker(name)
    if worker is not None and worker.phase is WorkerPhase.SUCCEEDED:
        return _mended(scene, status)
    if worker is not None and worker.phase is WorkerPhase.ACTIVE:
        return Wait(Reason.FILES_DAMAGED, _mending(damage)), status
    if worker is not None:
        status = attempts.failed(
            status,
            worker,
            scene.now,
            scene.jitter,
            about_secrets=workers.about_secrets(scene.observed, scene.gallery, scene.plan),
        )
        name = scene.name(_REPAIR, found, status.attempts)
    held = None if workers.is_asked(scene.observed) else _held_back(status, scene.now)
    held = held or workers.turn(scene.observed, scene.gallery)
    if held is not None:
        return held, status
    start = scene.start(name, _REPAIR)
    return Act((start,), Reason.FILES_DAMAGED, _mending(damage)), status


def _mending(damage: Damage | None) -> str:
    return f"Mending: {damage.message}" if damage else "Mending"


def _held_back(status: ModelStatus, now: datetime) -> Outcome | None:
    failure = status.last_failure
    if failure is None or not status.attempts:
        return None
    left = attempts.seconds_left(status, now)
    if left is not None and left <= 0:
        return None
    reason = Reason(failure.reason)
    if left is None or attempts.is_stalled(reason):
        return Stall(reason, f"the damage cannot be mended: {failure.message}", left)
    return Wait(Reason.PROGRESSING_WITH_RETRY, f"Mending again after: {failure.message}", left)


def _mended(scene: _Scene, status: ModelStatus) -> _Step:
    moment = times.to_text(scene.now)
    promised = status.verified_time is not None
    status = status.model_copy(
        update={
            "damage": None,
            "attempts": 0,
            "next_retry_time": None,
            "last_failure": None,
            "checked_time": moment,
            "verified_time": moment if promised else None,
        }
    )
    return Done(_message(status), 1.0), status


# Verification


def _verify(scene: _Scene, status: ModelStatus) -> tuple[_Due, ModelStatus]:
    """Returns what is due; a result goes into the status."""
    meta, spec = scene.observed.meta, scene.observed.spec
    asked = bool(meta.verify_at) and meta.verify_at != status.last_handled_verify_at
    name = scene.name(_VERIFY, status.checked_time or "", meta.verify_at)
    worker = scene.observed.worker(name)
    if worker is not None:
        return _looked(scene, status, worker)
    period = spec.verify_period_seconds if spec else 0
    left = None if not period else _left(status.checked_time, period, scene.now)
    due = asked or _was_touched(scene, status) or (left is not None and left <= 0)
    if not due:
        return left, status
    if scene.observed.busy_readers:
        return _BUSY_SECONDS, status
    return (scene.start(name, _VERIFY), "Verifying the files"), status


def _was_touched(scene: _Scene, status: ModelStatus) -> bool:
    scan = scene.observed.scan
    return scan is not None and scan.problems_total > 0 and _is_news(scan.begun, status)


def _left(since: str | None, period: int, now: datetime) -> float:
    if since is None:
        return 0.0
    return (times.from_text(since) + timedelta(seconds=period) - now).total_seconds()


def _looked(
    scene: _Scene, status: ModelStatus, worker: WorkerView
) -> tuple[float | None, ModelStatus]:
    if worker.phase is WorkerPhase.ACTIVE:
        return None, status
    if worker.phase is WorkerPhase.FAILED:
        return _FAILED_SECONDS, status
    status = status.model_copy(
        update={"last_handled_verify_at": scene.observed.meta.verify_at[:128]}
    )
    result = worker.result or ResultLine(reason=Reason.SUCCEEDED)
    if result.problems_total:
        found = list(result.problems)
        return 0.0, _damaged(status, found, result.problems_total, result.message, scene.now)
    moment = times.to_text(scene.now)
    promised = status.verified_time is not None
    update = {"checked_time": moment, "verified_time": moment if promised else None}
    return 1.0, status.model_copy(update=update)


# Something newer


def _ask(scene: _Scene, status: ModelStatus) -> tuple[_Due, ModelStatus]:
    """The same for the question whether the source holds something newer."""
    spec = scene.observed.spec
    if spec is None or _is_entry(scene.observed) or not spec.update_policy.check_period_seconds:
        return None, status
    name = scene.name(_ASK, status.asked_time or "")
    worker = scene.observed.worker(name)
    if worker is None:
        left = _left(status.asked_time, spec.update_policy.check_period_seconds, scene.now)
        if left > 0:
            return left, status
        busy = scene.observed.busy_workers >= scene.gallery.spec.worker.max_concurrent
        if busy or scene.observed.missing_source:
            return _BUSY_SECONDS, status
        return (scene.start(name, _ASK), "Asking for changes"), status
    if worker.phase is WorkerPhase.SUCCEEDED:
        return 1.0, _answered(scene, status, worker.result)
    return (_FAILED_SECONDS if worker.phase is WorkerPhase.FAILED else None), status


def _answered(scene: _Scene, status: ModelStatus, result: ResultLine | None) -> ModelStatus:
    moment = times.to_text(scene.now)
    status = status.model_copy(update={"asked_time": moment})
    resolved = status.resolved
    if result is None or resolved is None or not (result.source_digest and resolved.source_digest):
        return status
    if result.source_digest == resolved.source_digest:
        return status.model_copy(update={"update_available": None})
    known = status.update_available
    if known is not None and known.revision == result.revision:
        return status
    newer = UpdateAvailable(revision=result.revision[:128], found_time=moment)
    return status.model_copy(update={"update_available": newer})


def _is_entry(observed: ObservedModel) -> bool:
    return observed.spec is not None and observed.spec.source.entry is not None


def _message(status: ModelStatus) -> str:
    total = status.files_total or 0
    if total == 0:
        return "Published the configuration; there are no files, the backend fetches its own"
    noun = "file" if total == 1 else "files"
    return f"Published {total} {noun}, {status.size_text}"
