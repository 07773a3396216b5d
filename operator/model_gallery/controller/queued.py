"""Models that wait for a free worker of their Gallery, oldest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from model_gallery.api.conditions import Reason
from model_gallery.reconcile.observed import ObservedModel
from model_gallery.reconcile.outcome import Outcome, Wait
from model_gallery.runtime.workqueue import Key

__all__ = ["Waiters"]


@dataclass(slots=True)
class Waiters:
    """Who waits. Lost with the process, and found again by the first reconciliations after it."""

    _by_gallery: dict[tuple[str, str], dict[Key, datetime]] = field(default_factory=dict)

    def note(self, key: Key, observed: ObservedModel, outcome: Outcome) -> None:
        """Remembers a Model that waits in the queue, and forgets one that no longer does."""
        gallery = observed.spec.gallery_name if observed.spec else ""
        waiting = self._by_gallery.setdefault((key.namespace, gallery), {})
        if isinstance(outcome, Wait) and outcome.reason is Reason.QUEUED:
            waiting[key] = observed.meta.created
        else:
            waiting.pop(key, None)

    def forget(self, key: Key) -> None:
        """Forgets a Model that is gone."""
        for waiting in self._by_gallery.values():
            waiting.pop(key, None)

    def next(self, namespace: str, gallery: str, count: int) -> list[Key]:
        """Returns the Models that have waited longest."""
        waiting = self._by_gallery.get((namespace, gallery), {})
        return sorted(waiting, key=lambda key: (waiting[key], key.name))[:count]
