"""The sidecar's metrics: the last report, in Prometheus' form.

By Model and never by process: pids and program names are without number over the life of a pod. Who
wants one process asks /usage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from model_gallery.protocol.usage import ModelUsage, UsageReport

__all__ = ["UsageMetrics"]

_MODEL = ("namespace", "name")


class UsageMetrics(Collector):
    """What is scraped from a sidecar.

    Args:
        latest: asked at each scrape; None before the first report.
        version: of this program.
    """

    def __init__(self, latest: Callable[[], UsageReport | None], *, version: str) -> None:
        self._latest = latest
        self._version = version
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def render(self) -> tuple[bytes, str]:
        """Returns all metrics in Prometheus' text form, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Metric]:
        """Hands out the metrics; none of processes and models before the first report."""
        info = GaugeMetricFamily(
            "model_gallery_build_info", "1, labelled by version.", labels=["version"]
        )
        info.add_metric([self._version], 1)
        yield info
        report = self._latest()
        if report is not None:
            yield from _sidecar(report)
            yield from _models(report)


def _sidecar(report: UsageReport) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "model_gallery_sidecar_sample_timestamp_seconds",
        "When the processes were last looked at.",
        value=report.sampled_time.timestamp(),
    )
    yield GaugeMetricFamily(
        "model_gallery_sidecar_processes",
        "Processes in the pod, without the sidecar.",
        value=len(report.processes),
    )
    yield GaugeMetricFamily(
        "model_gallery_sidecar_hidden_processes",
        "Processes whose files may not be read, so that their models are not known.",
        value=report.hidden,
    )


def _models(report: UsageReport) -> Iterator[Metric]:
    memory = GaugeMetricFamily(
        "model_gallery_model_process_resident_bytes",
        "Memory of the processes that use a model; what they share counts for each.",
        labels=_MODEL,
    )
    mapped = GaugeMetricFamily(
        "model_gallery_model_mapped_resident_bytes",
        "Pages of a model's files that are mapped and in memory.",
        labels=_MODEL,
    )
    cpu = CounterMetricFamily(
        "model_gallery_model_process_cpu_seconds",
        "CPU time of the processes that use a model, while they use it.",
        labels=_MODEL,
    )
    resident = {process.pid: process.resident_bytes for process in report.processes}
    for model in report.models:
        labels = _labels(model)
        memory.add_metric(labels, sum(resident.get(pid, 0) for pid in model.processes))
        cpu.add_metric(labels, model.cpu_seconds)
        if model.resident_bytes is not None:
            mapped.add_metric(labels, model.resident_bytes)
    yield from (memory, mapped, cpu)


def _labels(model: ModelUsage) -> tuple[str, str]:
    return model.namespace, model.name
