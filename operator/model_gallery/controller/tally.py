"""Counts ended workers: once each, when their Job is first seen to have ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from model_gallery.api import labels
from model_gallery.api.conditions import Reason
from model_gallery.controller import clock, kinds
from model_gallery.protocol import report
from model_gallery.protocol.report import ResultLine
from model_gallery.reconcile import times
from model_gallery.runtime.cache import Cache
from model_gallery.telemetry.metrics import Metrics

__all__ = ["Tally"]

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tally:
    """Takes Jobs."""

    cache: Cache
    metrics: Metrics

    def take(self, before: Body | None, after: Body | None) -> None:
        """Takes a change of a Job of ours; those that had ended before the start are not counted."""
        if before is None or after is None or before["ended"] or not after["ended"]:
            return
        operation = after["metadata"]["labels"].get(labels.LABEL_OPERATION, "")
        result = self._result(after)
        succeeded = any(condition["type"] == "Complete" for condition in after["ended"])
        fallback = Reason.SUCCEEDED if succeeded else Reason.WORKER_FAILED
        reason = result.reason if result else fallback
        self.metrics.worker_ended(operation, reason.value, _seconds(after, clock.now()))
        if result is not None:
            self.metrics.fetched(0 if operation in {"ask", "plan"} else result.fetched_bytes)
            self.metrics.damaged(result.problems_total)

    def _result(self, job: Body) -> ResultLine | None:
        for pod in self.cache.by_index(kinds.POD, "job", job["metadata"]["uid"]):
            ended = pod["state"].get("terminated") or {}
            line = report.parse_line(ended.get("message") or "")
            if isinstance(line, ResultLine):
                return line
        return None


def _seconds(job: Body, now: datetime) -> float:
    created = times.from_text(job["metadata"]["creationTimestamp"])
    return max(0.0, (now - created).total_seconds())
