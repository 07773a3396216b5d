"""The Gallery: claim and index, and the status they lead to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from model_gallery.api.conditions import ConditionType, Reason
from model_gallery.api.v1alpha1.gallery import GallerySpec, GalleryStatus, StorageStatus
from model_gallery.errors import StalledError
from model_gallery.reconcile import model, names, times
from model_gallery.reconcile.actions import ApplyClaim, LoadIndex
from model_gallery.reconcile.manifests import claim as claim_manifest
from model_gallery.reconcile.observed import ClaimView, IndexView, ObservedGallery
from model_gallery.reconcile.outcome import Act, Done, Outcome, Pause, Stall, Wait
from model_gallery.reconcile.summary import Fact, summarize

__all__ = ["Decision", "claim_name_of", "decide", "status_after"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do; the status follows from what was observed."""

    outcome: Outcome


def claim_name_of(name: str, spec: GallerySpec) -> str:
    """Returns the claim that a Gallery uses."""
    return spec.storage.claim_name or names.claim_name(name)


def decide(observed: ObservedGallery, now: datetime) -> Decision:
    """Returns the decision of the first open step."""
    spec = observed.spec
    if observed.meta.deleting is not None:
        return Decision(Done())
    if spec is None:
        return Decision(Stall(Reason.INVALID_SPEC, observed.spec_error))
    if spec.suspend:
        return Decision(Pause(Reason.SUSPENDED, "spec.suspend is true; files and index are kept"))
    index = _index(observed.index, now)
    if isinstance(index, Act):
        return Decision(index)
    storage = _storage(observed, spec)
    if storage is not None:
        return Decision(storage)
    return Decision(index)


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
    return observed.status.model_copy(
        update={
            "observed_generation": observed.meta.generation,
            "conditions": conditions,
            "index": observed.index.status,
            "storage": _storage_status(observed.claim, observed),
            "last_handled_reconcile_at": observed.meta.reconcile_at[:128],
        }
    )


def _storage_status(claim: ClaimView | None, observed: ObservedGallery) -> StorageStatus | None:
    if observed.spec is None:
        return observed.status.storage
    return StorageStatus(
        claim_name=claim_name_of(observed.meta.name, observed.spec),
        capacity_bytes=claim.capacity_bytes if claim else None,
    )


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
