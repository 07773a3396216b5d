"""The operator's metrics as a real Prometheus takes them: each has the value that was put in."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator

import pytest

from support.figures import filled, serving
from support.prometheus import Prometheus, documented, promtool, scraping

_EPOCH = 1767225600
VALUES = {
    'api_call_seconds_count{component="kubernetes",method="get",path="models",code="200"}': 2,
    'api_call_seconds_sum{component="kubernetes",method="get",path="models",code="200"}': 3.5,
    'api_call_seconds_bucket{component="kubernetes",code="200",le="0.5"}': 1,
    'api_call_seconds_count{component="backend",path="/slots",code="timeout"}': 1,
    'api_call_seconds_count{component="http",path="/v1/models",code="404"}': 1,
    'backend_loaded_models{namespace="ns",gallery="g",backend="real"}': 6,
    'backend_pods{namespace="ns",gallery="g",backend="real",phase="running"}': 4,
    'backend_pods{namespace="ns",gallery="g",backend="real",phase="ready"}': 3,
    'backend_pods{namespace="ns",gallery="g",backend="real",phase="busy"}': 2,
    'build_info{version="1.2.3"}': 1,
    "download_bytes_total": 123456789,
    'gallery_condition{namespace="ns",gallery="g",type="IndexReady",status="False"}': 1,
    'gallery_condition{namespace="ns",gallery="g",type="IndexReady",status="True"}': 0,
    'gallery_entries{namespace="ns",gallery="g"}': 9,
    'gallery_index_stale{namespace="ns",gallery="g"}': 0,
    'gallery_last_refresh_timestamp_seconds{namespace="ns",gallery="g"}': _EPOCH,
    'gallery_models{namespace="ns",gallery="g",kind="Configured"}': 3,
    'gallery_models{namespace="ns",gallery="g",kind="Loose"}': 1,
    'gallery_problem_entries{namespace="ns",gallery="g"}': 2,
    'model_attempts{namespace="ns",name="m"}': 3,
    'model_checked_timestamp_seconds{namespace="ns",name="m"}': _EPOCH + 10,
    'model_condition{namespace="ns",name="m",type="Ready",status="True"}': 1,
    'model_condition{namespace="ns",name="m",type="Ready",status="False"}': 0,
    'model_cpu_cores{namespace="ns",name="m"}': 1.5,
    'model_damaged_files{namespace="ns",name="m"}': 1,
    'model_download_progress_ratio{namespace="ns",name="m"}': 0.25,
    'model_files{namespace="ns",name="m"}': 2,
    'model_info{gallery="g",format="GGUF",architecture="llama",quantisation="Q4_K_M",revision="abc"}': 1,
    'model_installed_timestamp_seconds{namespace="ns",name="m"}': _EPOCH,
    'model_last_used_timestamp_seconds{namespace="ns",name="m"}': _EPOCH + 20,
    'model_memory_bytes{namespace="ns",name="m"}': 7,
    'model_requests{namespace="ns",name="m",phase="running"}': 3,
    'model_requests{namespace="ns",name="m",phase="waiting"}': 1,
    'model_serving_pods{namespace="ns",name="m",state="Busy"}': 2,
    'model_size_bytes{namespace="ns",name="m"}': 42,
    'model_update_available{namespace="ns",name="m"}': 1,
    'model_verify_period_seconds{namespace="ns",name="m"}': 600,
    'model_vram_bytes{namespace="ns",name="m"}': 8,
    'reconcile_seconds_count{kind="Model"}': 2,
    'reconcile_seconds_sum{kind="Model"}': 0.75,
    'reconcile_total{kind="Model",result="success"}': 1,
    'reconcile_total{kind="Model",result="error"}': 1,
    'unloads_total{reason="Idle",result="Done"}': 1,
    "verify_failures_total": 2,
    'volume_available_bytes{namespace="ns",gallery="g"}': 60,
    'volume_capacity_bytes{namespace="ns",gallery="g"}': 100,
    'volume_loose_bytes{namespace="ns",gallery="g"}': 5,
    'volume_managed_bytes{namespace="ns",gallery="g"}': 30,
    'volume_reclaimable_bytes{namespace="ns",gallery="g"}': 4,
    'volume_scanned_timestamp_seconds{namespace="ns",gallery="g"}': _EPOCH + 30,
    'worker_results_total{operation="install",reason="Succeeded"}': 1,
    'worker_seconds_count{operation="install"}': 1,
    'worker_seconds_sum{operation="install"}': 90,
    'worker_seconds_bucket{operation="install",le="300.0"}': 1,
    "workqueue_depth": 5,
}


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with serving() as made:
        yield made


@pytest.fixture(scope="module")
def prometheus(target: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with scraping(target, tmp_path_factory.mktemp("prometheus")) as running:
        yield running


@pytest.mark.parametrize("expression", VALUES)
def test_the_value_is_right(prometheus: Prometheus, expression: str) -> None:
    assert prometheus.value(f"model_gallery_{expression}") == VALUES[expression]


def test_every_documented_metric_is_asked_for() -> None:
    asked = {re.sub(r"_(count|sum|bucket)$", "", found) for found in _names(VALUES)}
    assert asked == {name.removeprefix("model_gallery_") for name in documented()}


def _names(expressions: dict[str, float]) -> list[str]:
    return [expression.partition("{")[0] for expression in expressions]


def test_nothing_is_served_that_is_not_documented(prometheus: Prometheus) -> None:
    names = {labels["__name__"] for labels, _ in prometheus.query('{__name__=~"model_gallery_.+"}')}
    allowed = {
        name + ending
        for name, kind in documented().items()
        for ending in (("_count", "_sum", "_bucket") if kind == "histogram" else ("",))
    }
    # When a series began is the client library's own addition.
    assert {name for name in names if not name.endswith("_created")} == allowed


def test_promtool_has_nothing_to_say(target: str) -> None:
    with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
        assert promtool("check", "metrics", stdin=answer.read().decode()) == ""


def test_series_vanish_with_their_object(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A deleted Model and Gallery are gone at the next scrape, not five minutes later."""
    own = filled()
    own.state.moving = lambda: ()
    theirs = 'count({__name__=~"model_gallery_(model|gallery|volume|backend)_.+"})'
    with (
        serving(own) as target,
        scraping(target, tmp_path_factory.mktemp("prometheus")) as running,
    ):
        assert running.value(theirs)
        own.state.drop("Model", "ns", "m")
        own.state.drop("Gallery", "ns", "g")
        running.until(theirs, None)
        assert running.value("model_gallery_download_bytes_total") == 123456789
