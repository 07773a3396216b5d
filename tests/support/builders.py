"""Builders of observed values: what matters stands in the test, the rest is as in production."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import structs

from model_gallery.api import labels
from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import GallerySpec
from model_gallery.api.v1alpha1.model import ModelSpec, ModelStatus
from model_gallery.catalog.entry import InstallRequest
from model_gallery.protocol import operation
from model_gallery.protocol.operation import Document, WantedFile
from model_gallery.protocol.report import PublishedFile, ResultLine
from model_gallery.reconcile import install, model
from model_gallery.reconcile.actions import StartWorker
from model_gallery.reconcile.observed import (
    ClaimView,
    GalleryView,
    Meta,
    ObservedModel,
    WorkerPhase,
    WorkerSettings,
    WorkerView,
)
from model_gallery.reconcile.plan import plan_of

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
SHA = "a" * 64
CLAIM = ClaimView(name="models", uid="claim-uid", phase="Bound", capacity_bytes=1 << 30)

GALLERY_SPEC: dict[str, Any] = {
    "index": {"configMap": {"name": "index"}},
    "storage": {"claimName": "models"},
}
REQUEST = InstallRequest(
    files=(WantedFile(path="a.gguf", url="https://example.org/a.gguf", sha256=SHA),),
    documents=(Document(path="a.yaml", content="name: a\n"),),
    served_name="a",
    backend="llama-cpp",
)


def meta(**changes: Any) -> Meta:
    """A Model's metadata, in our care already."""
    start = Meta(
        namespace="ns",
        name="a",
        uid="uid-a",
        generation=1,
        created=NOW - timedelta(hours=1),
        has_finalizer=True,
    )
    return replace(start, **changes)


def gallery(**changes: Any) -> GalleryView:
    """A Gallery named g with a claim named models."""
    spec = GallerySpec.model_validate({**GALLERY_SPEC, **changes})
    return GalleryView(name="g", claim_name="models", spec=spec, index_digest="d" * 64)


def spec(**changes: Any) -> ModelSpec:
    """A Model's spec with one entry."""
    start = {"galleryName": "g", "source": {"entry": {"name": "a"}}}
    return ModelSpec.model_validate({**start, **changes})


def observed(**changes: Any) -> ObservedModel:
    """A Model whose worker could start now."""
    start = ObservedModel(
        meta=meta(),
        spec=spec(),
        status=ModelStatus(),
        settings=WorkerSettings(image="worker:1"),
        gallery=gallery(),
        request=REQUEST,
        claim=CLAIM,
    )
    return replace(start, **changes)


def worker(phase: WorkerPhase = WorkerPhase.ACTIVE, **changes: Any) -> WorkerView:
    """The install worker that `decide` would start for `observed()`."""
    decision = model.decide(observed(), NOW, 0.0)
    (start,) = decision.outcome.actions  # type: ignore[union-attr]
    view = WorkerView(
        name=start.job["metadata"]["name"],
        uid="job-uid",
        operation=install.OPERATION,
        plan_digest=plan_digest(),
        phase=phase,
        created=NOW - timedelta(seconds=30),
    )
    return replace(view, **changes)


def plan_digest() -> str:
    """The digest of the plan of `observed()`."""
    return plan_of(REQUEST, gallery(), CLAIM, spec()).digest


def success(**changes: Any) -> ResultLine:
    """The result of a worker that published one verified file."""
    line = ResultLine(
        plan_digest=plan_digest(),
        reason=Reason.SUCCEEDED,
        verified=True,
        files=(PublishedFile(path="a.gguf", size_bytes=4096, sha256=SHA),),
        files_total=1,
        size_bytes=4096,
        digest="b" * 64,
    )
    return structs.replace(line, **changes)


def failure(reason: Reason, message: str = "it failed") -> ResultLine:
    """The result of a worker that failed."""
    return ResultLine(plan_digest=plan_digest(), reason=reason, message=message)


def published(**changes: Any) -> ModelStatus:
    """The status after the worker succeeded."""
    ready = observed(workers=(worker(WorkerPhase.SUCCEEDED, result=success()),))
    status = model.status_after(ready, model.decide(ready, NOW, 0.0), NOW)
    return status.model_copy(update=changes)


def job(start: StartWorker, phase: WorkerPhase = WorkerPhase.ACTIVE, **changes: Any) -> WorkerView:
    """The Job that was started, as it is seen afterwards."""
    metadata = start.job["metadata"]
    view = WorkerView(
        name=metadata["name"],
        uid="job-uid",
        operation=metadata["labels"][labels.LABEL_OPERATION],
        plan_digest=metadata["annotations"][labels.ANNOTATION_PLAN_DIGEST],
        phase=phase,
        created=NOW,
    )
    return replace(view, **changes)


def told(start: StartWorker) -> operation.AnyOperation:
    """What the worker of a Job is told."""
    (container,) = start.job["spec"]["template"]["spec"]["containers"]
    variables = {entry["name"]: entry.get("value", "") for entry in container["env"]}
    return operation.parse(start.operation or variables[operation.ENV_OPERATION])
