"""What is counted and measured. One instance for each process; no global registry."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric

from model_gallery.telemetry.state import FAMILIES, State

__all__ = ["Metrics"]

_API_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
"""Seconds, from a read served from the API server's memory to a call that hangs."""
_RECONCILE_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Seconds; a reconciliation that finds nothing to do takes less than the first."""


_WORKER_BUCKETS = (1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
"""Seconds, from a link to a model of hundreds of gigabytes."""


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
            "How long calls take: of the Kubernetes API (kubernetes; path is the resource), of serving"
            " backends (backend; path is the route without names) and of our own HTTP API (http). The"
            " code is 0, or a word, where no answer came.",
            ["component", "method", "path", "code"],
            buckets=_API_BUCKETS,
            registry=registry,
        )
        self._unloads = Counter(
            "model_gallery_unloads_total",
            "Wishes to unload a model, by why (Desired, Idle, BusyTooLong, Deleted, Replaced,"
            " MaxLoaded, Memory) and result (Done, NotLoaded, Busy, Unsupported, Failed).",
            ["reason", "result"],
            registry=registry,
        )
        self._workers = Counter(
            "model_gallery_worker_results_total",
            "Ended workers by operation (install, fetch, repair, remove, verify, ask, plan, scan)"
            " and reason.",
            ["operation", "reason"],
            registry=registry,
        )
        self._fetched = Counter(
            "model_gallery_download_bytes_total",
            "Bytes that successful workers have fetched.",
            registry=registry,
        )
        self._took = Histogram(
            "model_gallery_worker_seconds",
            "How long workers took, from the creation of their Job to its end.",
            ["operation"],
            buckets=_WORKER_BUCKETS,
            registry=registry,
        )
        self._damaged = Counter(
            "model_gallery_verify_failures_total",
            "Files that verifications found missing or damaged.",
            registry=registry,
        )
        self.state = State()
        registry.register(self.state)
        ProcessCollector(registry=registry)
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
        self._api_seconds.labels("kubernetes", verb, plural, str(code)).observe(seconds)

    def backend_call(self, method: str, route: str, code: str, seconds: float) -> None:
        """Takes one request to a serving backend.

        Args:
            route: path without any name in it.
            code: HTTP status, or a word where no answer came.
        """
        self._api_seconds.labels("backend", method, route, code).observe(seconds)

    def http_call(self, method: str, route: str, code: int, seconds: float) -> None:
        """Takes one request to our own HTTP API."""
        self._api_seconds.labels("http", method, route, str(code)).observe(seconds)

    def unloaded(self, reason: str, result: str) -> None:
        """Takes one wish to unload a model."""
        self._unloads.labels(reason, result).inc()

    def worker_ended(self, operation: str, reason: str, seconds: float) -> None:
        """Takes one ended worker."""
        self._workers.labels(operation, reason).inc()
        self._took.labels(operation).observe(seconds)

    def fetched(self, size: int) -> None:
        """Takes the bytes that a worker fetched."""
        self._fetched.inc(size)

    def damaged(self, files: int) -> None:
        """Takes the files that a verification found missing or damaged."""
        self._damaged.inc(files)

    def describe(self) -> list[tuple[str, str, tuple[str, ...], str]]:
        """Returns name, type, labels and help of each metric of ours, sorted."""
        labels = {
            name: tuple(getattr(collector, "_labelnames", ()))
            for collector, names in self._registry._collector_to_names.items()  # noqa: SLF001 - no other way
            for name in names
        }
        return sorted(
            (
                _full_name(family),
                family.type,
                FAMILIES[family.name].labels
                if family.name in FAMILIES
                else labels.get(family.name, ()),
                family.documentation,
            )
            for family in self._registry.collect()
            if family.name.startswith("model_gallery_")
        )

    def watch_queue(self, depth: Callable[[], int]) -> None:
        """Has `depth` asked at each scrape."""
        self._depth.set_function(depth)

    def render(self) -> tuple[bytes, str]:
        """Returns all metrics in Prometheus' text form, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


def _full_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name
