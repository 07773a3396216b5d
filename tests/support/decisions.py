"""Decisions for a Model as the tests of the reconcilers ask for them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from model_gallery.api.v1alpha1.model import ModelStatus
from model_gallery.protocol.operation import InstallOperation
from model_gallery.reconcile import model
from model_gallery.reconcile.actions import StartWorker
from model_gallery.reconcile.observed import ObservedModel
from model_gallery.reconcile.outcome import Act, Outcome
from support import builders as b
from support import status_lint


def decide(observed: ObservedModel, now: datetime = b.NOW) -> Outcome:
    return model.decide(observed, now, 0.0).outcome


def after(observed: ObservedModel, now: datetime = b.NOW) -> ModelStatus:
    """The status that is written, which must keep the contract."""
    status = model.status_after(observed, model.decide(observed, now, 0.0), now)
    status_lint.check(
        {
            "metadata": {"generation": observed.meta.generation},
            "status": status.model_dump(by_alias=True, exclude_none=True, mode="json"),
        }
    )
    return status


def on(observed: ObservedModel, now: datetime = b.NOW, **changes: Any) -> ObservedModel:
    """The world after the status of one decision was written, with what changes then."""
    return replace(observed, status=after(observed, now), **changes)


def start(observed: ObservedModel, now: datetime = b.NOW) -> StartWorker:
    outcome = decide(observed, now)
    assert isinstance(outcome, Act), outcome
    (action,) = outcome.actions
    assert isinstance(action, StartWorker)
    return action


def started(observed: ObservedModel, now: datetime = b.NOW) -> InstallOperation:
    operation = b.told(start(observed, now))
    assert isinstance(operation, InstallOperation)
    return operation


def kind(action: StartWorker) -> str:
    return str(action.job["metadata"]["labels"]["modelgallery.dev/operation"])


def condition(status: ModelStatus, type_: str) -> tuple[str, str] | None:
    found = [c for c in status.conditions if c.type == type_]
    return (found[0].status, found[0].reason) if found else None
