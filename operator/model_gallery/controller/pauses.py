"""Hosts that asked to be left alone, for all Models of a namespace.

A worker obeys the server that it talks to; only the operator can keep the next worker from asking the same
host at once. Lost with the process, and learned again from the first answer after it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.model import ModelStatus
from model_gallery.reconcile import times

__all__ = ["Pauses"]

_MOST = 1000


@dataclass(slots=True)
class Pauses:
    """Until when which host is left alone."""

    _until: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def learn(self, namespace: str, hosts: Iterable[str], status: ModelStatus) -> None:
        """Takes from a Model's status that its source asked to wait."""
        failure = status.last_failure
        limited = failure is not None and failure.reason == Reason.RATE_LIMITED
        if not limited or not status.next_retry_time:
            return
        until = times.from_text(status.next_retry_time)
        for host in hosts:
            if len(self._until) < _MOST or (namespace, host) in self._until:
                self._until[namespace, host] = until

    def until(self, namespace: str, hosts: Iterable[str], now: datetime) -> datetime | None:
        """Returns the moment before which none of the hosts should be asked; None: now is fine."""
        found = [self._until.get((namespace, host)) for host in hosts]
        open_ = [moment for moment in found if moment is not None and moment > now]
        for key in [key for key, moment in self._until.items() if moment <= now]:
            del self._until[key]
        return max(open_, default=None)
