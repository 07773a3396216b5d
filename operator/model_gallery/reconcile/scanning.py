"""When a Gallery's volume is looked at, and what the look means for the status."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from model_gallery.api.v1alpha1.gallery import GallerySpec, GalleryStatus
from model_gallery.protocol.operation import ScanOperation
from model_gallery.protocol.report import VolumeFacts
from model_gallery.reconcile import attempts, names, times, workers
from model_gallery.reconcile.actions import StartWorker
from model_gallery.reconcile.observed import ObservedGallery, WorkerPhase

__all__ = ["Scanned", "scan"]

_SETTLE = timedelta(seconds=5)
"""After a change: several often come together."""
_REST = timedelta(seconds=30)
"""Between two scans that changes ask for."""
_FAILED_SECONDS = 600.0
"""As long as an ended Job stays and holds its name."""


@dataclass(frozen=True, slots=True)
class Scanned:
    """What to do about the volume.

    Attributes:
        start: a scan to begin; None: nothing.
        left: seconds until the next look is worth it; None: an event comes first.
        status: the Gallery's status with what ended scans told.
    """

    start: StartWorker | None
    left: float | None
    status: GalleryStatus


def scan(observed: ObservedGallery, spec: GallerySpec, now: datetime) -> Scanned:
    """Returns the next step; the claim must be bound."""
    status = observed.status
    name = _name(observed)
    worker = next((job for job in observed.scans if job.name == name), None)
    if worker is not None and worker.phase is WorkerPhase.SUCCEEDED:
        facts = worker.result.volume if worker.result else None
        if facts is not None:
            return Scanned(None, 1.0, _learned(observed, facts, worker.created))
        return Scanned(None, _FAILED_SECONDS, _failed(status, "the scan ended without a report"))
    if worker is not None and worker.phase is WorkerPhase.FAILED:
        _, message, _, _ = attempts.failure_of(worker)
        return Scanned(None, _FAILED_SECONDS, _failed(status, message))
    if worker is not None:
        return Scanned(None, None, status)
    left = _left(observed, spec, now)
    if left > 0:
        return Scanned(None, left, status)
    return Scanned(_start(observed, spec, name), None, status)


def _name(observed: ObservedGallery) -> str:
    meta, storage = observed.meta, observed.status.storage
    since = storage.scanned_time if storage else None
    return names.worker_name(meta.name, "scan", meta.uid, since or "", meta.collect_at)


def _left(observed: ObservedGallery, spec: GallerySpec, now: datetime) -> float:
    storage = observed.status.storage
    if storage is None or storage.scanned_time is None or _collects(observed):
        return 0.0
    scanned = times.from_text(storage.scanned_time)
    due = scanned + timedelta(seconds=spec.listing.scan_period_seconds)
    if observed.changed is not None and observed.changed > scanned:
        due = min(due, max(observed.changed + _SETTLE, scanned + _REST))
    return max(0.0, (due - now).total_seconds())


def _collects(observed: ObservedGallery) -> bool:
    wish = observed.meta.collect_at
    return bool(wish) and wish != observed.status.last_handled_collect_at


def _start(observed: ObservedGallery, spec: GallerySpec, name: str) -> StartWorker | None:
    if observed.claim is None or observed.settings is None:
        return None
    operation = ScanOperation(
        owner=workers.owner(observed.meta),
        models=observed.living,
        collect=_collects(observed),
    )
    return workers.scan_job(
        observed.meta,
        spec,
        operation,
        claim_name=observed.claim.name,
        name=name,
        settings=observed.settings,
    )


def _learned(observed: ObservedGallery, facts: VolumeFacts, begun: datetime) -> GalleryStatus:
    """Takes a scan over, as of its begin: what changed since then it may have missed."""
    status, storage = observed.status, observed.status.storage
    if storage is None:
        return status
    return status.model_copy(
        update={
            "last_handled_collect_at": observed.meta.collect_at[:128],
            "storage": storage.model_copy(
                update={
                    "available_bytes": facts.available_bytes,
                    "managed_bytes": facts.managed_bytes,
                    "loose_bytes": facts.loose_bytes,
                    "reclaimable_bytes": facts.reclaimable_bytes,
                    "damaged_models": facts.damaged_models,
                    "cut": facts.cut,
                    "scanned_time": times.to_text(begun),
                    "scan_message": "",
                }
            ),
        }
    )


def _failed(status: GalleryStatus, message: str) -> GalleryStatus:
    if status.storage is None:
        return status
    storage = status.storage.model_copy(update={"scan_message": message[:512]})
    return status.model_copy(update={"storage": storage})
