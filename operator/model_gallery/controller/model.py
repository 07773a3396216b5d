"""Reconciles one Model: observe, decide, apply, summarize, one status write."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from model_gallery.api import labels
from model_gallery.api.conditions import ConditionType, Reason
from model_gallery.api.v1alpha1.common import Condition
from model_gallery.api.v1alpha1.model import ModelStatus
from model_gallery.catalog.request import InstallRequest
from model_gallery.controller import clock, kinds, transitions
from model_gallery.controller.apply import Applier
from model_gallery.controller.observe import Observer
from model_gallery.controller.queued import Waiters
from model_gallery.errors import TransientError
from model_gallery.reconcile import model as decisions
from model_gallery.reconcile.actions import RemoveFinalizer, StartWorker
from model_gallery.reconcile.observed import ObservedModel
from model_gallery.reconcile.outcome import Act, Done, Wait, recheck_seconds
from model_gallery.runtime.client import Refused
from model_gallery.runtime.recorder import Recorder
from model_gallery.runtime.workqueue import Key

__all__ = ["ModelReconciler"]

_LOG = logging.getLogger(__name__)
_SHORT_OF_ROOM = frozenset({Reason.NO_SPACE.value, Reason.QUOTA_EXCEEDED.value})
_MAX_PASSES = 5
"""A Model needs at most three: finalizer, worker, and the look at the result."""


@dataclass(frozen=True, slots=True)
class ModelReconciler:
    """Brings Models to what their specs say."""

    observer: Observer
    applier: Applier
    recorder: Recorder
    waiters: Waiters
    wake: Callable[[Key], None]

    async def reconcile(self, key: Key) -> float | None:
        """Reconciles the Model of the key.

        Returns:
            Seconds after which to look again without an event; None: events suffice.

        Raises:
            TransientError: the API server could not be reached or refused a write.
        """
        for _ in range(_MAX_PASSES):
            observed = self.observer.model(key)
            if observed is None:
                return None
            decision = decisions.decide(observed, clock.now(), random.random())  # noqa: S311
            outcome = decision.outcome
            if not isinstance(outcome, Act):
                return await self._conclude(key, observed, decision)
            if await self._act(key, observed, decision, outcome):
                return None
        return 1.0

    async def _act(
        self, key: Key, observed: ObservedModel, decision: decisions.Decision, outcome: Act
    ) -> bool:
        """Carries the actions out; returns whether the Model was let go."""
        starts = any(isinstance(action, StartWorker) for action in outcome.actions)
        gallery = observed.gallery.name if observed.gallery else ""
        reserved = self.observer.reserved.setdefault((key.namespace, gallery), set())
        if starts:
            # In the same turn of the event loop as the observation: no other Model can come between.
            reserved.add(observed.meta.uid)
        try:
            for action in outcome.actions:
                body = self._body(key)
                if body is None:
                    return True
                if isinstance(action, RemoveFinalizer) and action.warning:
                    self._warn(body, action.warning)
                await self.applier.carry_out(kinds.MODELS, body, action)
                if isinstance(action, RemoveFinalizer):
                    return True
        except TransientError as error:
            if not (isinstance(error, Refused) and error.namespace_terminating):
                await self._failed(key, observed, outcome, error)
                raise
            self.observer.ending.add(key.namespace)
            return observed.meta.deleting is None
        finally:
            reserved.discard(observed.meta.uid)
        if starts:
            # It was another namespace of this name that ended.
            self.observer.ending.discard(key.namespace)
            await self._write(key, observed, decision)
        return False

    async def _failed(
        self, key: Key, observed: ObservedModel, outcome: Act, error: TransientError
    ) -> None:
        """Tells why nothing comes of an action; what is published stays so."""
        body = self._body(key)
        if body is None or (isinstance(error, Refused) and error.is_race):
            return
        self.recorder.event(body, "Warning", error.reason, error.message)
        stands = outcome.beside or Wait(error.reason, error.message)
        await self._write(key, observed, decisions.Decision(stands, observed.status))

    async def _conclude(
        self, key: Key, observed: ObservedModel, decision: decisions.Decision
    ) -> float | None:
        outcome = decision.outcome
        self.waiters.note(key, observed, outcome)
        if observed.meta.deleting is not None and isinstance(outcome, Done):
            return None
        await self._write(key, observed, decision)
        return recheck_seconds(outcome)

    async def _write(self, key: Key, observed: ObservedModel, decision: decisions.Decision) -> None:
        body = self._body(key)
        if body is None:
            return
        status = decisions.status_after(observed, decision, clock.now())
        if isinstance(observed.request, InstallRequest):
            self.observer.pauses.learn(key.namespace, observed.request.hosts, status)
        if await self.applier.write_status(kinds.MODELS, body, status):
            self._announce(body, observed.status, status)

    def _announce(self, body: dict[str, Any], before: ModelStatus, after: ModelStatus) -> None:
        old = transitions.condition(before.conditions, ConditionType.READY)
        new = transitions.condition(after.conditions, ConditionType.READY)
        if new is None or not transitions.is_news(old, new):
            return
        if new.reason in _SHORT_OF_ROOM:
            self._wake(body, "evictable")
        if new.reason == Reason.EVICTED and new.status == "False":
            namespace, gallery = body["metadata"]["namespace"], body["spec"]["galleryName"]
            self.observer.inventories.note_room(namespace, gallery)
            self._wake(body, "starving")
        stalled = transitions.condition(after.conditions, ConditionType.STALLED) is not None
        self.recorder.event(body, "Warning" if stalled else "Normal", new.reason, new.message)
        _LOG.info(new.message or "Reconciled Model", extra=_fields(body, new))

    def _wake(self, body: dict[str, Any], index: str) -> None:
        """Has those of the Model's Gallery looked at whom it concerns."""
        namespace = body["metadata"]["namespace"]
        place = f"{namespace}/{body['spec']['galleryName']}"
        for other in self.observer.cache.by_index(kinds.MODEL, index, place):
            self.wake(Key(kinds.MODEL, namespace, other["metadata"]["name"]))

    def _warn(self, body: dict[str, Any], message: str) -> None:
        self.recorder.event(body, "Warning", "CleanupIncomplete", message)

    def _body(self, key: Key) -> dict[str, Any] | None:
        return self.observer.cache.get(kinds.MODEL, key.namespace, key.name)


def _fields(body: dict[str, Any], condition: Condition) -> dict[str, Any]:
    metadata = body["metadata"]
    return {
        "kind": labels.MODEL,
        "namespace": metadata["namespace"],
        "object": metadata["name"],
        "uid": metadata["uid"],
        "generation": metadata.get("generation"),
        "reason": condition.reason,
    }
