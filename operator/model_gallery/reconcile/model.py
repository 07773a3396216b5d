"""The Model: ordered steps, of which the first that is not Done decides, and the status they lead to.

`decide` is pure: all it knows stands in ObservedModel, the time and a random number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from model_gallery.api.conditions import ConditionType, Reason
from model_gallery.api.v1alpha1.model import ModelStatus, Progress
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.catalog.entry import InstallRequest
from model_gallery.errors import GalleryError, StalledError
from model_gallery.reconcile import (
    eviction,
    install,
    policy,
    preview,
    removal,
    serving,
    times,
    workers,
)
from model_gallery.reconcile.actions import AddFinalizer, DeleteJob
from model_gallery.reconcile.observed import (
    ClaimView,
    GalleryView,
    ObservedModel,
)
from model_gallery.reconcile.outcome import Act, Outcome, Pause, Stall, Wait
from model_gallery.reconcile.plan import Plan, plan_of
from model_gallery.reconcile.summary import Fact, summarize

__all__ = ["PROGRESS_PERIOD", "Decision", "decide", "status_after", "storage_fact"]

PROGRESS_PERIOD = timedelta(seconds=10)
"""At most one status write per Model and this time for progress alone."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, and the status without its conditions."""

    outcome: Outcome
    status: ModelStatus


def decide(observed: ObservedModel, now: datetime, jitter: float) -> Decision:
    """Returns the decision of the first open step.

    Args:
        jitter: a random number in [0, 1) that spreads retries.
    """
    if observed.meta.deleting is not None:
        return Decision(removal.decide(observed, now), observed.status)
    opening = _opening(observed)
    if opening is not None:
        return Decision(opening, observed.status)
    release = _release(observed)
    if release is not None:
        return Decision(release, observed.status)
    gallery = observed.gallery
    if gallery is None:
        name = observed.spec.gallery_name if observed.spec else ""
        message = f"there is no Gallery {name} in the namespace"
        return Decision(Wait(Reason.GALLERY_NOT_FOUND, message), observed.status)
    request = observed.request
    if not isinstance(request, InstallRequest):
        return Decision(_unresolved(request), observed.status)
    return _place(observed, gallery, request, now, jitter)


def _opening(observed: ObservedModel) -> Outcome | None:
    if observed.spec is None:
        return Stall(Reason.INVALID_SPEC, observed.spec_error)
    if not observed.meta.has_finalizer:
        return Act((AddFinalizer(),), Reason.PROGRESSING, "Taking the Model into care")
    return None


def _release(observed: ObservedModel) -> Outcome | None:
    """Lets go of a claim that is being deleted: even a finished worker's pod holds it back."""
    claim = observed.claim
    if claim is None or not claim.deleting:
        return None
    holding = tuple(DeleteJob(job.name, job.uid) for job in observed.workers if not job.deleting)
    message = f"claim {claim.name} is being deleted"
    return Act(holding, Reason.CLAIM_LOST, message) if holding else None


def _unresolved(error: GalleryError | None) -> Outcome:
    if error is None:
        return Wait(Reason.GALLERY_NOT_READY, "the Gallery is not loaded yet")
    if isinstance(error, StalledError):
        return Stall(error.reason, error.message)
    return Wait(error.reason, error.message)


def _place(
    observed: ObservedModel,
    gallery: GalleryView,
    request: InstallRequest,
    now: datetime,
    jitter: float,
) -> Decision:
    named = observed.status.model_copy(update={"served_name": request.served_name})
    if observed.rival:
        message = (
            f"the older Model {observed.rival} of Gallery {gallery.name} has the same served name;"
            " set another spec.servedName"
        )
        return Decision(Stall(Reason.NAME_CONFLICT, message), named)
    claim = observed.claim
    refused = policy.refused(request, gallery, observed.spec)
    gallery = policy.tightened(gallery, observed.spec)
    if refused is not None:
        running = workers.stop_all(observed)
        stopping = Act(running, refused.reason, refused.message) if running else refused
        return Decision(stopping, named)
    plan = plan_of(request, gallery, claim, observed.spec) if claim and observed.spec else None
    if plan is not None and claim is not None and _is_to_be_shown(observed, gallery, claim):
        held = Pause(Reason.SUSPENDED, _SUSPENDED)
        outcome, status = preview.suspended(held, observed, gallery, plan, now)
        return Decision(outcome, status.model_copy(update={"served_name": request.served_name}))
    paused = _paused(observed, gallery, plan)
    if paused is not None:
        return Decision(paused, named)
    if plan is None or claim is None or _is_going(claim):
        return Decision(_without_claim(claim, gallery.claim_name), named)
    step = eviction.decide(observed, gallery, now)
    if step is None:
        step = install.decide(_wished_back(observed), gallery, plan, now, jitter)
    outcome, status = step
    return Decision(outcome, status.model_copy(update={"served_name": request.served_name}))


def _wished_back(observed: ObservedModel) -> ObservedModel:
    if observed.status.eviction is None:
        return observed
    return replace(observed, status=observed.status.model_copy(update={"eviction": None}))


def _is_to_be_shown(observed: ObservedModel, gallery: GalleryView, claim: ClaimView) -> bool:
    """Whether the Model was made suspended, so that people see first what it would bring."""
    spec, status = observed.spec, observed.status
    untouched = status.storage is None and status.resolved is None
    alone = all(job.operation == preview.OPERATION for job in observed.workers)
    wished = spec is not None and spec.suspend and not gallery.spec.suspend
    return wished and untouched and alone and not _is_going(claim)


def _paused(observed: ObservedModel, gallery: GalleryView, plan: Plan | None) -> Outcome | None:
    spec = observed.spec
    suspended = spec is not None and spec.suspend
    if not suspended and not gallery.spec.suspend:
        return None
    resolved = observed.status.resolved
    if plan is not None and (
        install.is_held(observed, plan)
        or (resolved is not None and resolved.plan_digest == plan.digest)
    ):
        return None
    running = workers.stop_all(observed)
    what = _SUSPENDED if suspended else f"Gallery {gallery.name} is suspended"
    if running:
        return Act(running, Reason.SUSPENDED, f"{what}; stopping the worker")
    return Pause(Reason.SUSPENDED, f"{what}; what was fetched is kept")


_SUSPENDED = "spec.suspend is true"


def _is_going(claim: ClaimView) -> bool:
    return claim.deleting or claim.phase == "Lost"


def _without_claim(claim: ClaimView | None, name: str) -> Wait:
    if claim is None:
        message = f"there is no PersistentVolumeClaim {name} in the namespace"
        return Wait(Reason.CLAIM_NOT_FOUND, message)
    return Wait(Reason.CLAIM_LOST, f"claim {name} is being deleted or has lost its volume")


def status_after(observed: ObservedModel, decision: Decision, now: datetime) -> ModelStatus:
    """Returns the whole status that shall stand after a decision."""
    moment = times.to_text(now)
    status = decision.status.model_copy(
        update={
            "observed_generation": observed.meta.generation,
            "last_handled_reconcile_at": observed.meta.reconcile_at[:128],
            "progress": _progress(observed, decision, now),
            "serving": serving.serving_of(
                observed.identity,
                observed.known_as,
                observed.pods,
                decision.status,
                unload=observed.unload,
                now=now,
            ),
        }
    )
    conditions = summarize(
        decision.outcome,
        (
            _resolved_fact(observed, status),
            _verified_fact(status),
            storage_fact(observed.claim),
            *_update_fact(status),
            *_use_fact(status),
        ),
        generation=observed.meta.generation,
        previous=observed.status.conditions,
        now=moment,
    )
    return status.model_copy(update={"conditions": conditions})


def _progress(observed: ObservedModel, decision: Decision, now: datetime) -> Progress | None:
    working = isinstance(decision.outcome, Wait) and decision.outcome.reason in {
        Reason.PROGRESSING,
        Reason.PROGRESSING_WITH_RETRY,
    }
    if not working or observed.progress is None:
        return None
    previous = observed.status.progress
    if previous and now - times.from_text(previous.updated_time) < PROGRESS_PERIOD:
        return previous
    line, seen = observed.progress
    total, rate = line.total_bytes, line.bytes_per_second
    eta = None
    if total is not None and rate:
        eta = max(0, total - line.completed_bytes) // rate
    return Progress(
        completed_bytes=line.completed_bytes,
        total_bytes=total,
        percent=min(100, line.completed_bytes * 100 // total) if total else None,
        bytes_per_second=rate,
        eta_seconds=eta,
        file=line.file[:1024],
        updated_time=times.to_text(seen),
    )


def _resolved_fact(observed: ObservedModel, status: ModelStatus) -> Fact:
    request = observed.request
    if isinstance(request, InstallRequest):
        if request.repository is not None:
            return _repository_fact(status, request.repository.url)
        count = len(request.files)
        noun = "file" if count == 1 else "files"
        return Fact(ConditionType.RESOLVED, "True", Reason.SUCCEEDED, f"{count} {noun} to fetch")
    if isinstance(request, StalledError):
        return Fact(ConditionType.RESOLVED, "False", request.reason, request.message)
    if request is not None:
        return Fact(ConditionType.RESOLVED, "Unknown", request.reason, request.message)
    if observed.spec is None:
        return Fact(ConditionType.RESOLVED, "False", Reason.INVALID_SPEC, observed.spec_error)
    return Fact(ConditionType.RESOLVED, "Unknown", Reason.GALLERY_NOT_FOUND)


def _repository_fact(status: ModelStatus, url: str) -> Fact:
    """Of a repository only the worker learns the files; what it told stands in the status."""
    resolved, failure = status.resolved, status.last_failure
    if resolved is not None and resolved.plan_digest:
        message = f"{url[:200]} at {resolved.revision or 'no revision'}"
        return Fact(ConditionType.RESOLVED, "True", Reason.SUCCEEDED, message)
    if status.plan is not None:
        message = f"{url[:200]} at {status.plan.revision or 'no revision'}"
        return Fact(ConditionType.RESOLVED, "True", Reason.SUCCEEDED, message)
    if failure is not None and failure.reason in _UNRESOLVABLE:
        reason = Reason(failure.reason)
        return Fact(ConditionType.RESOLVED, "False", reason, failure.message)
    return Fact(ConditionType.RESOLVED, "Unknown", Reason.PROGRESSING, "the source is being asked")


_UNRESOLVABLE = frozenset(
    {Reason.NOT_FOUND, Reason.UNAUTHORIZED, Reason.SOURCE_INVALID, Reason.SECRET_NOT_ALLOWED}
)


def _update_fact(status: ModelStatus) -> tuple[Fact, ...]:
    newer = status.update_available
    if newer is None:
        return ()
    message = f"the source holds {newer.revision or 'something else'}"
    return (Fact(ConditionType.UPDATE_AVAILABLE, "True", Reason.UPDATE_AVAILABLE, message),)


def _use_fact(status: ModelStatus) -> tuple[Fact, ...]:
    """Told only where pods serve the Gallery: without them nobody asks."""
    seen = status.serving
    if seen is None:
        return ()
    if seen.state is ServingState.UNKNOWN:
        message = f"{seen.pods[0].name} does not answer" if seen.pods else ""
        return (Fact(ConditionType.IN_USE, "Unknown", Reason.IN_USE, message),)
    if not serving.in_memory(seen):
        return (Fact(ConditionType.IN_USE, "False", Reason.NOT_IN_USE),)
    names = ", ".join(pod.name for pod in seen.pods[:_MOST_NAMED])
    more = seen.pods_total - min(seen.pods_total, _MOST_NAMED)
    message = f"in memory of {names}" + (f" and {more} more" if more else "")
    return (Fact(ConditionType.IN_USE, "True", Reason.IN_USE, message),)


_MOST_NAMED = 3


def _verified_fact(status: ModelStatus) -> Fact:
    verified = ConditionType.VERIFIED
    if status.damage is not None:
        return Fact(verified, "False", Reason.FILES_DAMAGED, status.damage.message)
    failure = status.last_failure
    if failure is not None and failure.reason == Reason.CHECKSUM_MISMATCH:
        return Fact(verified, "False", Reason.CHECKSUM_MISMATCH, failure.message)
    if status.resolved is None or not status.resolved.plan_digest:
        return Fact(verified, "Unknown", Reason.NOT_INSTALLED)
    if status.verified_time:
        message = "every published byte meets its promised sha256"
        return Fact(verified, "True", Reason.SUCCEEDED, message)
    message = "the source promised no sha256; status.files holds what came"
    return Fact(verified, "Unknown", Reason.NO_CHECKSUM, message)


def storage_fact(claim: ClaimView | None) -> Fact:
    """Returns the StorageReady condition of a claim."""
    storage = ConditionType.STORAGE_READY
    if claim is None:
        return Fact(storage, "False", Reason.CLAIM_NOT_FOUND, "the claim does not exist")
    if claim.deleting or claim.phase == "Lost":
        return Fact(storage, "False", Reason.CLAIM_LOST, f"claim {claim.name} is going or lost")
    if claim.phase != "Bound":
        message = f"claim {claim.name} is not bound; some classes bind with the first pod"
        return Fact(storage, "Unknown", Reason.CLAIM_PENDING, message)
    return Fact(storage, "True", Reason.SUCCEEDED, f"claim {claim.name} is bound")
