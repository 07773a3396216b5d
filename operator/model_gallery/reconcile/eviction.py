"""Whose files go where another Model of the Gallery lacks room, and how they go.

Only Models whose owner marked them `evictable` are ever taken, those first that were not used for longest,
one at a time, and only where all of them together would make the room that is missing. What went stays away
until somebody asks: a Model that came back by itself would take the room again.
"""

from __future__ import annotations

from datetime import datetime

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.model import (
    Eviction,
    ModelStatus,
    Resolved,
    StoragePlace,
)
from model_gallery.protocol.message import to_json
from model_gallery.protocol.operation import RemoveOperation
from model_gallery.reconcile import attempts, names, serving, times, workers
from model_gallery.reconcile.actions import DeleteJob, StartWorker
from model_gallery.reconcile.manifests import job as job_manifest
from model_gallery.reconcile.observed import (
    Candidate,
    GalleryView,
    ObservedModel,
    RoomView,
    Shortage,
    WorkerPhase,
    WorkerView,
)
from model_gallery.reconcile.outcome import Act, Outcome, Pause, Stall, Wait

__all__ = ["OPERATION", "decide", "victim"]

OPERATION = "evict"
_RETRY_SECONDS = 300.0

_Step = tuple[Outcome, ModelStatus]


def victim(room: RoomView) -> tuple[Candidate, Shortage] | None:
    """Returns whose files go next and for whom; None where nobody's do."""
    if room.evicting:
        return None
    # Who failed before the last files went has not yet seen the room that they left.
    lacking = [
        shortage
        for shortage in room.shortages
        if room.evicted is None or shortage.failed > room.evicted
    ]
    offered = sum(candidate.size_bytes for candidate in room.candidates)
    helped = [shortage for shortage in lacking if (shortage.missing_bytes or 1) <= offered]
    if not helped:
        return None
    first = min(helped, key=lambda shortage: (shortage.failed, shortage.model))
    return min(room.candidates, key=lambda candidate: (candidate.last_used, candidate.name)), first


def decide(observed: ObservedModel, gallery: GalleryView, now: datetime) -> _Step | None:
    """Returns the step where the Model's files are to go, or have gone; None where they stay."""
    status = observed.status
    mark = status.eviction
    if mark is None:
        return _chosen(observed, now)
    resolved = status.resolved
    if resolved is None or not resolved.plan_digest:
        return None if _is_asked_back(observed, mark) else (_gone(observed, mark), status)
    removal = observed.worker(_name(observed, mark))
    if removal is None and _is_asked_back(observed, mark):
        return None
    return _remove(observed, gallery, mark, removal, now)


def _chosen(observed: ObservedModel, now: datetime) -> _Step | None:
    found = victim(observed.room) if observed.room is not None else None
    if found is None or found[0].uid != observed.meta.uid:
        return None
    if serving.in_pods(observed.identity, observed.known_as, observed.pods or ()):
        return None
    mark = Eviction(
        time=times.to_text(now),
        made_room_for=found[1].model,
        generation=observed.meta.generation,
        reconcile_at=observed.meta.reconcile_at,
    )
    # Written down before its Job starts: the Job's name follows from when it was decided.
    message = f"making room for Model {mark.made_room_for}"
    return Wait(Reason.EVICTED, message, 1.0), observed.status.model_copy(update={"eviction": mark})


def _is_asked_back(observed: ObservedModel, mark: Eviction) -> bool:
    meta = observed.meta
    return mark.generation != meta.generation or mark.reconcile_at != meta.reconcile_at


def _gone(observed: ObservedModel, mark: Eviction) -> Pause:
    name = observed.meta.name
    return Pause(
        Reason.EVICTED,
        f"its files made room for Model {mark.made_room_for};"
        f" `kubectl annotate --overwrite model/{name}"
        ' modelgallery.dev/reconcile-requested-at="$(date +%s)"` brings them back',
    )


def _remove(
    observed: ObservedModel,
    gallery: GalleryView,
    mark: Eviction,
    removal: WorkerView | None,
    now: datetime,
) -> _Step:
    status = observed.status
    making = f"making room for Model {mark.made_room_for}"
    if removal is None:
        return _begin(observed, gallery, mark, making), status
    if removal.phase is WorkerPhase.ACTIVE:
        return Wait(Reason.EVICTED, making), status
    if removal.phase is WorkerPhase.FAILED:
        return _again(removal, making, now), status
    gone = _without_files(status, mark, now)
    if _is_asked_back(observed, mark):
        return Wait(Reason.EVICTED, making, 1.0), gone
    return _gone(observed, mark), gone


def _begin(observed: ObservedModel, gallery: GalleryView, mark: Eviction, message: str) -> Outcome:
    running = [job for job in observed.workers if job.phase is WorkerPhase.ACTIVE]
    stopping = workers.stop_all(observed)
    if stopping:
        return Act(stopping, Reason.EVICTED, message)
    if running:
        return Wait(Reason.EVICTED, message, 30.0)
    return Act((_start(observed, gallery, mark),), Reason.EVICTED, message)


def _again(removal: WorkerView, message: str, now: datetime) -> Outcome:
    left = _RETRY_SECONDS - (now - removal.created).total_seconds()
    if left <= 0:
        return Act((DeleteJob(removal.name, removal.uid),), Reason.EVICTED, message)
    reason, why, _, _ = attempts.failure_of(removal)
    return Stall(reason, f"{message}: the files could not be removed: {why}", left)


def _name(observed: ObservedModel, mark: Eviction) -> str:
    return names.worker_name(observed.meta.name, OPERATION, observed.meta.uid, mark.time)


def _start(observed: ObservedModel, gallery: GalleryView, mark: Eviction) -> StartWorker:
    meta = observed.meta
    place = observed.status.storage or StoragePlace(
        claim_name=gallery.claim_name, sub_path=gallery.spec.storage.sub_path
    )
    operation = RemoveOperation(owner=workers.owner(meta))
    job = job_manifest.WorkerJob(
        name=_name(observed, mark),
        operation=OPERATION,
        payload=to_json(operation),
        plan_digest="",
        gallery=gallery.name,
        claim_name=place.claim_name,
        sub_path=place.sub_path,
        owned=True,
        resources=gallery.spec.worker.resources,
        node_selector=gallery.spec.worker.node_selector,
    )
    return StartWorker(job_manifest.manifest(job, meta, observed.settings))


def _without_files(status: ModelStatus, mark: Eviction, now: datetime) -> ModelStatus:
    """Returns what is left to tell of a Model that has no files; where they lay is kept for its removal."""
    moment = times.to_text(now)
    return ModelStatus(
        conditions=status.conditions,
        # The Job that published them may still be there: the next one needs another name.
        resolved=Resolved(resolved_time=moment),
        storage=status.storage,
        served_name=status.served_name,
        last_handled_verify_at=status.last_handled_verify_at,
        eviction=mark.model_copy(update={"time": moment}),
    )
