"""What is counted and measured. One instance for each process; no global registry."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

__all__ = ["Metrics"]

_API_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Seconds, from a read served from the API server's memory to a call that hangs."""
_RECONCILE_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds; a reconciliation that finds nothing to do takes less than the first."""


class Metrics:
    """The operator's metrics.

    Args:
        version: of this program.
    """

    def __init__(self, *, version: str) -> None:
        registry = self._registry = CollectorRegistry(auto_describe=True)
        self._reconciled = Counter(
            "model_gallery_reconcile_total",
            "Reconciliations by kind and result.",
            ["kind", "result"],
            registry=registry,
        )
        self._reconcile_seconds = Histogram(
            "model_gallery_reconcile_seconds",
            "How long reconciliations take.",
            ["kind"],
            buckets=_RECONCILE_BUCKETS,
            registry=registry,
        )
        self._depth = Gauge(
            "model_gallery_workqueue_depth",
            "Keys that wait for a worker.",
            registry=registry,
        )
        self._api_seconds = Histogram(
            "model_gallery_api_call_seconds",
            "How long calls to the API server take; code 0 where no answer came.",
            ["component", "method", "path", "code"],
            buckets=_API_BUCKETS,
            registry=registry,
        )
        info = Gauge(
            "model_gallery_build_info", "1, labelled by version.", ["version"], registry=registry
        )
        info.labels(version).set(1)

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        """Takes one reconciliation."""
        self._reconciled.labels(kind, result).inc()
        self._reconcile_seconds.labels(kind).observe(seconds)

    def api_call(self, verb: str, plural: str, code: int, seconds: float) -> None:
        """Takes one call to the API server.

        Args:
            plural: stands for the path, which would have a value for each object.
            code: HTTP status, or 0.
        """
        self._api_seconds.labels("operator", verb, plural, str(code)).observe(seconds)

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Has `depth` asked at each scrape."""
        self._depth.set_function(depth)

    def render(self) -> tuple[bytes, str]:
        """Returns all metrics in Prometheus' text form, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
