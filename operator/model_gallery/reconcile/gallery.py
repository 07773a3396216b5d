"""The Gallery: claim and index, and the status they lead to."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime

from model_gallery.api.conditions import ConditionType, Reason
from model_gallery.api.v1alpha1.gallery import GallerySpec, GalleryStatus, StorageStatus
from model_gallery.errors import StalledError
from model_gallery.reconcile import listing, model, names, scanning, stocking, times
from model_gallery.reconcile.actions import ApplyClaim, DeleteJob, LoadIndex
from model_gallery.reconcile.manifests import claim as claim_manifest
from model_gallery.reconcile.observed import IndexView, ObservedGallery
from model_gallery.reconcile.outcome import Act, Done, Outcome, Pause, Stall, Wait
from model_gallery.reconcile.summary import Fact, summarize

__all__ = ["Decision", "claim_name_of", "decide", "status_after"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and the status without its conditions."""

    outcome: Outcome
    status: GalleryStatus


def claim_name_of(name: str, spec: GallerySpec) -> str:
    """Returns the claim that a Gallery uses."""
    return spec.storage.claim_name or names.claim_name(name)


def decide(observed: ObservedGallery, now: datetime) -> Decision:
    """Returns the decision of the first open step."""
    spec = observed.spec
    if spec is None:
        return Decision(Stall(Reason.INVALID_SPEC, observed.spec_error), observed.status)
    opening = _opening(observed, spec)
    if opening is not None:
        return Decision(opening, observed.status)
    index = _index(observed.index, now)
    if isinstance(index, Act):
        return Decision(index, observed.status)
    storage = _storage(observed, spec)
    if storage is not None:
        return Decision(storage, observed.status)
    return _keep(observed, spec, index, now)


def _opening(observed: ObservedGallery, spec: GallerySpec) -> Outcome | None:
    if observed.meta.deleting is not None:
        return Done()
    release = _release(observed)
    if release is not None:
        return release
    if spec.suspend:
        return Pause(Reason.SUSPENDED, "spec.suspend is true; files and index are kept")
    return None


def _release(observed: ObservedGallery) -> Outcome | None:
    """Lets go of a claim that is being deleted: even a finished scan's pod holds it back."""
    claim = observed.claim
    if claim is None or not claim.deleting:
        return None
    holding = tuple(DeleteJob(job.name, job.uid) for job in observed.scans if not job.deleting)
    message = f"claim {claim.name} is being deleted"
    return Act(holding, Reason.CLAIM_LOST, message) if holding else None


def _keep(observed: ObservedGallery, spec: GallerySpec, index: Outcome, now: datetime) -> Decision:
    """What goes on beside the index: Models of its own, and looks at the volume."""
    ready = index if isinstance(index, Done) else None
    kept = stocking.stock(observed)
    status = observed.status.model_copy(update={"install": kept.status})
    if kept.actions:
        message = f"Keeping {len(kept.actions)} Models as spec.install says"
        return Decision(Act(kept.actions, Reason.PROGRESSING, message, ready), status)
    if observed.claim is None or observed.claim.phase != "Bound":
        return Decision(index, status)
    seen = scanning.scan(dataclasses.replace(observed, status=status), spec, now)
    if seen.start is not None:
        start = Act((seen.start,), Reason.PROGRESSING, "Scanning the volume", ready)
        return Decision(start, seen.status)
    return Decision(_sooner(index, seen.left), seen.status)


def _sooner(outcome: Outcome, seconds: float | None) -> Outcome:
    """Returns the outcome, to be looked at again after so many seconds at the latest."""
    match outcome:
        case Done(message=message, recheck_seconds=left):
            return Done(message, _least(left, seconds))
        case Wait(reason=reason, message=message, retry_seconds=left):
            return Wait(reason, message, _least(left, seconds))
        case Stall(reason=reason, message=message, recheck_seconds=left):
            return Stall(reason, message, _least(left, seconds))
        case _:
            return outcome


def _least(first: float | None, second: float | None) -> float | None:
    return min((seconds for seconds in (first, second) if seconds is not None), default=None)


def _index(index: IndexView, now: datetime) -> Outcome:
    if not index.loading and (index.due is None or index.due <= now):
        return Act((LoadIndex(),), Reason.PROGRESSING, "Fetching the index")
    left = max(1.0, (index.due - now).total_seconds()) if index.due else None
    error = index.error
    if index.status is not None and index.fresh:
        return Done(_index_message(index), left)
    if isinstance(error, StalledError):
        return Stall(error.reason, error.message, left)
    if error is not None:
        return Wait(Reason.PROGRESSING_WITH_RETRY, error.message, left)
    return Wait(Reason.PROGRESSING, "Fetching the index", left)


def _index_message(index: IndexView) -> str:
    status = index.status
    if status is None:
        return ""
    if status.problems_total:
        return f"{status.entries} entries, {status.problems_total} of them cannot be installed"
    return f"{status.entries} entries"


def _storage(observed: ObservedGallery, spec: GallerySpec) -> Outcome | None:
    claim = observed.claim
    template = spec.storage.claim_template
    if claim is None and template is not None:
        manifest = claim_manifest.manifest(observed.meta, template)
        return Act((ApplyClaim(manifest),), Reason.PROGRESSING, "Creating the claim")
    if claim is None:
        name = claim_name_of(observed.meta.name, spec)
        message = f"there is no PersistentVolumeClaim {name} in the namespace"
        return Wait(Reason.CLAIM_NOT_FOUND, message)
    if claim.deleting or claim.phase == "Lost":
        return Wait(Reason.CLAIM_LOST, f"claim {claim.name} is being deleted or lost its volume")
    return None


def status_after(observed: ObservedGallery, decision: Decision, now: datetime) -> GalleryStatus:
    """Returns the whole status that shall stand after a decision."""
    conditions = summarize(
        decision.outcome,
        (_index_fact(observed.index), model.storage_fact(observed.claim)),
        generation=observed.meta.generation,
        previous=observed.status.conditions,
        now=times.to_text(now),
    )
    listed = listing.listing_of(observed, observed.spec) if observed.spec else None
    return decision.status.model_copy(
        update={
            "listing": listed,
            "backends": (
                observed.status.backends if observed.backends is None else observed.backends
            ),
            "observed_generation": observed.meta.generation,
            "conditions": conditions,
            "index": observed.index.status,
            "storage": _storage_status(observed, decision.status.storage),
            "last_handled_reconcile_at": observed.meta.reconcile_at[:128],
        }
    )


def _storage_status(observed: ObservedGallery, known: StorageStatus | None) -> StorageStatus | None:
    if observed.spec is None:
        return known
    claim, name = observed.claim, claim_name_of(observed.meta.name, observed.spec)
    capacity = claim.capacity_bytes if claim else None
    if known is None or known.claim_name != name:
        return StorageStatus(claim_name=name, capacity_bytes=capacity)
    return known.model_copy(update={"capacity_bytes": capacity})


def _index_fact(index: IndexView) -> Fact:
    kind, error = ConditionType.INDEX_READY, index.error
    if index.status is None:
        if error is None:
            return Fact(kind, "Unknown", Reason.PROGRESSING, "the index is being fetched")
        return Fact(kind, "False", error.reason, error.message)
    if error is not None:
        message = f"the last good copy is in use: {error.message}"
        return Fact(kind, "True", Reason.LAST_GOOD_COPY, message)
    return Fact(kind, "True", Reason.SUCCEEDED, _index_message(index))
