"""The last report in Prometheus' form."""

from __future__ import annotations

from datetime import UTC, datetime

from prometheus_client.parser import text_string_to_metric_families

from model_gallery.protocol.usage import ModelUsage, ProcessUsage, UsageReport
from model_gallery.telemetry.sidecar import UsageMetrics

REPORT = UsageReport(
    sampled_time=datetime(2026, 1, 2, tzinfo=UTC),
    processes=(
        ProcessUsage(pid=1, name="x", resident_bytes=100, shared_bytes=1, threads=1),
        ProcessUsage(pid=2, name="y", resident_bytes=200, shared_bytes=1, threads=1),
        ProcessUsage(pid=3, name="z", resident_bytes=400, shared_bytes=1, threads=1),
    ),
    models=(
        ModelUsage(
            namespace="team",
            name="a",
            uid="u",
            state_hint="mapped",
            resident_bytes=64,
            cpu_seconds=1.5,
            processes=(1, 2),
        ),
        ModelUsage(namespace="team", name="b", uid="v", state_hint="open", processes=(2,)),
    ),
    hidden=1,
)


def scraped(report: UsageReport | None) -> dict[tuple[str, str], float]:
    body, content_type = UsageMetrics(lambda: report, version="1").render()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, sample.labels.get("name", "")): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_metrics_of_a_report() -> None:
    """By model and of the sidecar; no process has a series."""
    assert scraped(REPORT) == {
        ("model_gallery_build_info", ""): 1,
        ("model_gallery_sidecar_sample_timestamp_seconds", ""): 1767312000,
        ("model_gallery_sidecar_processes", ""): 3,
        ("model_gallery_sidecar_hidden_processes", ""): 1,
        ("model_gallery_model_process_resident_bytes", "a"): 300,
        ("model_gallery_model_process_resident_bytes", "b"): 200,
        ("model_gallery_model_mapped_resident_bytes", "a"): 64,
        ("model_gallery_model_process_cpu_seconds_total", "a"): 1.5,
        ("model_gallery_model_process_cpu_seconds_total", "b"): 0,
    }


def test_before_the_first_report() -> None:
    assert scraped(None) == {("model_gallery_build_info", ""): 1}
