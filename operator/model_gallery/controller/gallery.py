"""Reconciles one Gallery: its claim and its index."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from model_gallery.api.conditions import ConditionType
from model_gallery.api.v1alpha1.gallery import GalleryStatus
from model_gallery.controller import clock, kinds, transitions
from model_gallery.controller.apply import Applier
from model_gallery.controller.index import IndexStore
from model_gallery.controller.inventory import Inventories
from model_gallery.controller.observe import Observer
from model_gallery.errors import TransientError
from model_gallery.reconcile import gallery as decisions
from model_gallery.reconcile.actions import DeleteModel, LoadIndex
from model_gallery.reconcile.observed import ObservedGallery
from model_gallery.reconcile.outcome import Act, Wait, recheck_seconds
from model_gallery.runtime.client import Refused
from model_gallery.runtime.recorder import Recorder
from model_gallery.runtime.workqueue import Key

__all__ = ["GalleryReconciler"]

_LOG = logging.getLogger(__name__)
_MAX_PASSES = 4


@dataclass(frozen=True, slots=True)
class GalleryReconciler:
    """Brings Galleries to what their specs say."""

    observer: Observer
    applier: Applier
    recorder: Recorder
    indexes: IndexStore
    inventories: Inventories

    async def reconcile(self, key: Key) -> float | None:
        """Reconciles the Gallery of the key.

        Returns:
            Seconds after which to look again without an event; None: events suffice.

        Raises:
            TransientError: the API server could not be reached or refused a write.
        """
        for _ in range(_MAX_PASSES):
            observed = self.observer.gallery(key)
            if observed is None:
                self.indexes.forget(key.namespace, key.name)
                self.inventories.forget(key.namespace, key.name)
                return None
            decision = decisions.decide(observed, clock.now())
            if not isinstance(decision.outcome, Act):
                return await self._conclude(key, observed, decision)
            if not await self._act(key, observed, decision.outcome):
                return None
        return 1.0

    async def _act(self, key: Key, observed: ObservedGallery, outcome: Act) -> bool:
        """Carries the actions out; returns whether to go on."""
        for action in outcome.actions:
            if isinstance(action, LoadIndex):
                if observed.spec is not None:
                    self.indexes.load(observed.meta, observed.spec)
                continue
            body = self._body(key)
            if body is None:
                return False
            try:
                await self.applier.carry_out(kinds.GALLERIES, body, action)
            except TransientError as error:
                if isinstance(error, Refused) and error.namespace_terminating:
                    return False
                await self._failed(body, observed, outcome, error)
                raise
        # What is being deleted is still in the cache; its own event tells when it goes.
        return not any(isinstance(action, DeleteModel) for action in outcome.actions)

    async def _failed(
        self, body: dict[str, Any], observed: ObservedGallery, outcome: Act, error: TransientError
    ) -> None:
        """Tells why nothing comes of an action; a Gallery with its index and claim stays Ready."""
        if isinstance(error, Refused) and error.is_race:
            return
        self.recorder.event(body, "Warning", error.reason, error.message)
        stands = outcome.beside or Wait(error.reason, error.message)
        await self._write(body, observed, decisions.Decision(stands, observed.status))

    async def _conclude(
        self, key: Key, observed: ObservedGallery, decision: decisions.Decision
    ) -> float | None:
        body = self._body(key)
        if observed.meta.deleting is not None or body is None:
            return None
        await self._write(body, observed, decision)
        return recheck_seconds(decision.outcome)

    async def _write(
        self, body: dict[str, Any], observed: ObservedGallery, decision: decisions.Decision
    ) -> None:
        status = decisions.status_after(observed, decision, clock.now())
        if await self.applier.write_status(kinds.GALLERIES, body, status):
            self._announce(body, observed.status, status)

    def _announce(self, body: dict[str, Any], before: GalleryStatus, after: GalleryStatus) -> None:
        for type_ in (ConditionType.READY, ConditionType.INDEX_READY):
            old = transitions.condition(before.conditions, type_)
            new = transitions.condition(after.conditions, type_)
            if new is None or not transitions.is_news(old, new):
                continue
            self.recorder.event(
                body, "Warning" if new.status == "False" else "Normal", new.reason, new.message
            )
            metadata = body["metadata"]
            _LOG.info(
                new.message or "Reconciled Gallery",
                extra={
                    "kind": kinds.GALLERY,
                    "namespace": metadata["namespace"],
                    "object": metadata["name"],
                    "uid": metadata["uid"],
                    "generation": metadata.get("generation"),
                    "reason": new.reason,
                },
            )

    def _body(self, key: Key) -> dict[str, Any] | None:
        return self.observer.cache.get(kinds.GALLERY, key.namespace, key.name)
