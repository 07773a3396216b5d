"""What happens to a Model that is being deleted.

It must end within a minute, whatever is broken: a missing claim, a vanished Gallery or a namespace that
ends are no reasons to wait. The removal Job has no owner reference, so it finishes its work even where
the Model had to be let go first.
"""

from __future__ import annotations

from datetime import datetime

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.model import DeletionPolicy
from model_gallery.protocol.message import to_json
from model_gallery.protocol.operation import Owner, RemoveOperation
from model_gallery.reconcile import names, serving
from model_gallery.reconcile.actions import DeleteJob, RemoveFinalizer, StartWorker
from model_gallery.reconcile.manifests import job as job_manifest
from model_gallery.reconcile.observed import ClaimView, ObservedModel, WorkerPhase, WorkerView
from model_gallery.reconcile.outcome import Act, Done, Outcome, Wait

__all__ = ["DEADLINE_SECONDS", "USE_SECONDS", "decide"]

DEADLINE_SECONDS = 45.0
"""After this long the Model is let go; with the writes around it, deletion ends within 60 s."""

USE_SECONDS = 25.0
"""How long a deletion waits for those who have the model in memory. What they have mapped stays theirs
after that: the names go, and the file system keeps the bytes until they close them."""

_OPERATION = "remove"


def decide(observed: ObservedModel, now: datetime) -> Outcome:
    """Returns the next step of a deletion. `observed.meta.deleting` must be set."""
    deleting = observed.meta.deleting
    if deleting is None or not observed.meta.has_finalizer:
        return Done()
    age = (now - deleting).total_seconds()
    return _nothing_to_do(observed) or _using(observed, age) or _remove(observed, age)


def _nothing_to_do(observed: ObservedModel) -> Outcome | None:
    if not _has_anything_to_remove(observed):
        return _let_go()
    if observed.namespace_ending:
        return _let_go()
    if not _usable(observed.claim):
        return _let_go("The claim is gone; there was nothing to remove files from.")
    return None


def _remove(observed: ObservedModel, age: float) -> Outcome:
    removal = _removal(observed)
    if removal is not None and removal.phase is WorkerPhase.SUCCEEDED:
        return _let_go()
    if age >= DEADLINE_SECONDS:
        return _let_go(
            "The removal did not end in time; its Job goes on alone and files may be left until then."
        )
    left = DEADLINE_SECONDS - age
    writers = [worker for worker in observed.workers if worker.operation != _OPERATION]
    unfinished = [worker for worker in writers if worker.phase is WorkerPhase.ACTIVE]
    if unfinished:
        return _stop(unfinished, left)
    if removal is None:
        return _begin(observed, left)
    if removal.phase is WorkerPhase.FAILED:
        why = removal.result.message if removal.result else removal.failure
        return _let_go(f"The removal failed and files may be left: {why}")
    return Wait(Reason.DELETING, "Removing the files", left)


def _using(observed: ObservedModel, age: float) -> Outcome | None:
    """Waits for the backends that hold the model, which are asked to unload it; not for ever."""
    seen = serving.in_pods(observed.identity, observed.known_as, observed.pods or ())
    if not seen or age >= USE_SECONDS or _removal(observed) is not None:
        return None
    message = f"waiting for {', '.join(seen[:3])} to give the model back"
    return Wait(Reason.IN_USE, message, USE_SECONDS - age)


def _let_go(warning: str = "") -> Act:
    return Act((RemoveFinalizer(warning),), Reason.DELETING, "Letting the object go")


def _has_anything_to_remove(observed: ObservedModel) -> bool:
    return observed.status.storage is not None or bool(observed.workers)


def _usable(claim: ClaimView | None) -> bool:
    return claim is not None and not claim.deleting and claim.phase != "Lost"


def _removal(observed: ObservedModel) -> WorkerView | None:
    return next((job for job in observed.workers if job.operation == _OPERATION), None)


def _stop(workers: list[WorkerView], left: float) -> Outcome:
    to_delete = tuple(
        DeleteJob(worker.name, worker.uid) for worker in workers if not worker.deleting
    )
    if to_delete:
        return Act(to_delete, Reason.DELETING, "Stopping the running worker")
    return Wait(Reason.DELETING, "Stopping the running worker", left)


def _begin(observed: ObservedModel, left: float) -> Outcome:
    if observed.strays:
        message = f"Pod {observed.strays[0]}, whose Job is gone, is still ending"
        return Wait(Reason.DELETING, message, left)
    return Act((_start(observed),), Reason.DELETING, "Removing the files")


def _start(observed: ObservedModel) -> StartWorker:
    meta = observed.meta
    claim = observed.claim.name if observed.claim else ""
    retain = observed.spec is not None and observed.spec.deletion_policy is DeletionPolicy.RETAIN
    operation = RemoveOperation(
        owner=Owner(namespace=meta.namespace, name=meta.name, uid=meta.uid), retain_files=retain
    )
    job = job_manifest.WorkerJob(
        name=names.worker_name(meta.name, _OPERATION, meta.uid),
        operation=_OPERATION,
        payload=to_json(operation),
        plan_digest="",
        gallery=observed.spec.gallery_name if observed.spec else "",
        claim_name=claim,
        sub_path=_sub_path(observed),
        owned=False,
        resources=observed.gallery.spec.worker.resources if observed.gallery else {},
        node_selector=observed.gallery.spec.worker.node_selector if observed.gallery else {},
    )
    return StartWorker(job_manifest.manifest(job, meta, observed.settings))


def _sub_path(observed: ObservedModel) -> str:
    if observed.status.storage is not None:
        return observed.status.storage.sub_path
    return observed.gallery.spec.storage.sub_path if observed.gallery else ""
