"""Known deeds on the real cluster, and what PromQL says of them: a real Prometheus scrapes the operator.

tests/conformance/test_prometheus.py has the exact value of every metric. Here counters are compared with
what they were before and must have grown by our own deeds at least: a developer's cluster has other users.
"""

from __future__ import annotations

import os
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from support import fakebackends
from support.kube import Kube, wait_until
from support.origin import URL, body
from support.prometheus import Prometheus, documented, promtool, scraping
from support.stage import CLAIM, GALLERY, Stage
from support.stage import gallery as gallery_of

pytestmark = pytest.mark.timeout(300)

NAMESPACE = "e2e-metrics"
TINY, DOOMED, BROKEN = "/real/tiny.gguf", "/gen/1Mi/doomed/d.dat", "/gen/1Mi/broken/b.dat"
OLD, NEW, SLOW = "/gen/1Mi/old/kept.dat", "/gen/1Mi/new/kept.dat", "/gen/256Mi/slow/s.dat"
RAM, VRAM = 1_000_000, 3_000_000
LOOSE = 12_345
CALLS = "model_gallery_api_call_seconds_count"


@dataclass(frozen=True)
class World:
    """What was done, and who scraped it.

    Attributes:
        before: what the counters said.
    """

    stage: Stage
    prometheus: Prometheus
    before: dict[str, float]

    def status(self, kind: str, name: str) -> dict[str, Any]:
        """Returns a status as kubectl shows it."""
        found = self.stage.kube.get(kind, name, self.stage.namespace) or {}
        status: dict[str, Any] = found.get("status", {})
        return status


@contextmanager
def forwarded(kube: Kube) -> Iterator[str]:
    """Forwards a port to the operator's own; yields host and port."""
    command = ["kubectl", "port-forward", "-n", "model-gallery-system"]
    command += ["service/model-gallery-model-gallery-operator", ":8080"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | kube.environment
    ) as process:
        try:
            told = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:\d+", told)
            assert found, told
            yield found[0]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def target(full_cluster) -> Iterator[str]:
    with forwarded(full_cluster.kube) as made:
        yield made


@pytest.fixture(scope="module")
def world(full_cluster, leftovers, target, tmp_path_factory) -> Iterator[World]:
    """All deeds, once: done anew for each assertion they would take an hour."""
    stage = Stage(full_cluster, NAMESPACE)
    with scraping(target, tmp_path_factory.mktemp("prometheus")) as prometheus:
        before = {counter: prometheus.value(counter) or 0.0 for counter in GROWN}
        made = World(stage, prometheus, before)
        try:
            install(made)
            disturb(made)
            yield made
        finally:
            stage.remove()
            for path in (BROKEN, SLOW):
                stage.origin.set_faults(path)


def install(world: World) -> None:
    stage = world.stage
    named = {"ollama": "Ollama", "llamacpp": "LlamaCpp"}
    stage.set_up(
        listing={"scanPeriodSeconds": 30},
        worker={"maxConcurrent": 8},
        backends=[
            {
                "name": name,
                "type": kind,
                "selector": {"matchLabels": {"fake": name}},
                "probePeriodSeconds": 2,
            }
            for name, kind in named.items()
        ],
    )
    other = gallery_of(stage.namespace, storage={"claimName": CLAIM}, suspend=True)[1]
    other["metadata"]["name"] = "gone"
    stage.kube.apply(other)
    stage.index(entry("kept", OLD), entry("cannot", OLD, filename="../x"))
    stage.origin.set_faults(SLOW, rate=2 << 20)
    stage.create("slow", source={"uri": URL + SLOW})
    stage.create("tiny", source=files("tiny.gguf", TINY), verifyPeriodSeconds=4000)
    stage.create("doomed", source=files("doomed.dat", DOOMED))
    stage.create("broken", source=files("broken.dat", BROKEN))
    stage.create("stalled", source={"uri": f"{URL}/nothing/here.dat"})
    stage.create("kept", source={"entry": {"name": "kept"}})
    for name in ("tiny", "doomed", "broken", "kept"):
        stage.ready(name)
    # After tiny, whose content it shares.
    stage.create("served", source=files("served.gguf", TINY))
    stage.ready("served")


def disturb(world: World) -> None:
    stage, prometheus = world.stage, world.prometheus
    image, place = stage._image(), stage.namespace
    stage.kube.apply(
        fakebackends.ollama(image, place, {"tiny": (RAM, VRAM), "doomed": (RAM, 0)}),
        fakebackends.llamacpp(image, place, "served.gguf", running=2, waiting=1),
    )
    stage.write(
        f"head -c {LOOSE} /dev/zero > loose.gguf;"
        " printf xyz | dd of=broken.dat bs=1 seek=5000 conv=notrunc"
    )
    stage.origin.set_faults(BROKEN, status=503)
    stage.annotate("model", "broken", "modelgallery.dev/verify-requested-at")
    stage.index(entry("kept", NEW), entry("cannot", OLD, filename="../x"))
    held = f'model_gallery_model_serving_pods{{namespace="{place}",name="doomed",state="Loaded"}}'
    prometheus.until(held, 1, 60)
    prometheus.until(gone("gallery"), 1)
    stage.kube.delete("model", "doomed", place)
    stage.kube.delete("gallery", "gone", place)
    stage.kube.wait_gone("model", "doomed", place)


def entry(name: str, path: str, *, filename: str = "kept.dat") -> dict[str, Any]:
    file = {"filename": filename, "uri": URL + path, "sha256": body(path).sha256()}
    return {"name": name, "overrides": {"backend": "llama-cpp"}, "files": [file]}


def files(path: str, source: str) -> dict[str, Any]:
    return {"files": [{"path": path, "uri": URL + source, "sha256": body(source).sha256()}]}


def gone(kind: str) -> str:
    """One if there is any series of what is to be deleted."""
    labels = 'name="doomed"' if kind == "model" else 'gallery="gone"'
    of_kind = f'__name__=~"model_gallery_.+",namespace="{NAMESPACE}",{labels}'
    return f"count({{{of_kind}}}) > bool 0"


def model(metric: str, name: str, **labels: str) -> str:
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    return f'model_gallery_model_{metric}{{namespace="{NAMESPACE}",name="{name}"{more}}}'


def gallery(metric: str, **labels: str) -> str:
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    return f'model_gallery_{metric}{{namespace="{NAMESPACE}",gallery="{GALLERY}"{more}}}'


def storage(key: str) -> Callable[[World], float]:
    return lambda world: world.status("gallery", GALLERY)["storage"][key]


Want = float | Callable[[World], float] | None
STATE: dict[str, Want] = {
    'model_gallery_build_info{version=~"[0-9].+"}': 1,
    model("info", "tiny", gallery=GALLERY, format="GGUF", architecture="llama"): 1,
    model("info", "stalled", gallery=GALLERY, format="", architecture="", revision=""): 1,
    model("condition", "tiny", type="Ready", status="True"): 1,
    model("condition", "tiny", type="Ready", status="False"): 0,
    model("condition", "tiny", type="Stalled", status="True"): None,
    model("condition", "stalled", type="Ready", status="False"): 1,
    model("condition", "stalled", type="Stalled", status="True"): 1,
    model("size_bytes", "tiny"): body(TINY).size,
    model("size_bytes", "stalled"): None,
    model("files", "tiny"): 1,
    model("verify_period_seconds", "tiny"): 4000,
    model("damaged_files", "broken"): 1,
    model("damaged_files", "tiny"): 0,
    model("update_available", "kept"): 1,
    model("update_available", "tiny"): 0,
    model("attempts", "tiny"): 0,
    model("attempts", "stalled"): 1,
    f"{model('download_progress_ratio', 'slow')} > bool 0": 1,
    f"{model('download_progress_ratio', 'slow')} < bool 1": 1,
    model("download_progress_ratio", "tiny"): None,
    model("serving_pods", "tiny", state="Loaded"): 1,
    model("serving_pods", "served", state="Busy"): 1,
    model("memory_bytes", "tiny"): RAM,
    model("vram_bytes", "tiny"): VRAM,
    model("requests", "served", phase="running"): 2,
    model("requests", "served", phase="waiting"): 1,
    gallery("gallery_condition", type="Ready", status="True"): 1,
    gallery("gallery_condition", type="IndexReady", status="False"): 0,
    gallery("gallery_entries"): lambda world: world.status("gallery", GALLERY)["index"]["entries"],
    gallery("gallery_problem_entries"): 1,
    gallery("gallery_index_stale"): 0,
    gallery("gallery_models", kind="Loose"): 1,
    gallery("gallery_models", kind="Configured"): 6,
    gallery("volume_capacity_bytes"): 4 << 30,
    gallery("volume_available_bytes"): storage("availableBytes"),
    gallery("volume_loose_bytes"): LOOSE,
    gallery("volume_managed_bytes"): storage("managedBytes"),
    gallery("volume_reclaimable_bytes"): storage("reclaimableBytes"),
    gallery("backend_pods", backend="ollama", phase="running"): 1,
    gallery("backend_pods", backend="llamacpp", phase="ready"): 1,
    gallery("backend_pods", backend="llamacpp", phase="busy"): 1,
    gallery("backend_loaded_models", backend="ollama"): 1,
    "model_gallery_workqueue_depth": 0,
    gone("model"): None,
    gone("gallery"): None,
}
TIMES = {
    model("installed_timestamp_seconds", "tiny"): ("model", "tiny", "installedTime"),
    model("checked_timestamp_seconds", "tiny"): ("model", "tiny", "checkedTime"),
    model("last_used_timestamp_seconds", "served"): ("model", "served", "serving", "lastUsedTime"),
    gallery("gallery_last_refresh_timestamp_seconds"): (
        *("gallery", GALLERY, "index", "fetchedTime"),
    ),
    gallery("volume_scanned_timestamp_seconds"): ("gallery", GALLERY, "storage", "scannedTime"),
}
GROWN: dict[str, float] = {
    "model_gallery_download_bytes_total": body(TINY).size + 3 * (1 << 20),
    "model_gallery_verify_failures_total": 1,
    'model_gallery_unloads_total{reason="Deleted",result="Done"}': 1,
    'model_gallery_worker_results_total{operation="install",reason="Succeeded"}': 5,
    'model_gallery_worker_results_total{operation="install",reason="NotFound"}': 1,
    'model_gallery_worker_results_total{operation="remove",reason="Succeeded"}': 1,
    'model_gallery_worker_results_total{operation="scan",reason="Succeeded"}': 1,
    'model_gallery_worker_seconds_count{operation="install"}': 6,
    'model_gallery_worker_seconds_sum{operation="install"}': 1,
    'sum(model_gallery_reconcile_total{kind="Model",result=~"success|requeue"})': 7,
    'model_gallery_reconcile_seconds_sum{kind="Model"}': 0.001,
    f'{CALLS}{{component="kubernetes",method="apply",path="models",code="200"}}': 7,
    f'{CALLS}{{component="backend",method="GET",path="/api/ps",code="200"}}': 2,
    f'{CALLS}{{component="http",method="GET",path="/metrics",code="200"}}': 2,
}
AGREE = {
    "each worker has its time": (
        "sum by (operation) (model_gallery_worker_results_total)"
        " - on (operation) model_gallery_worker_seconds_count"
    ),
    "each reconciliation has its time": (
        "sum by (kind) (model_gallery_reconcile_total) - on (kind) model_gallery_reconcile_seconds_count"
    ),
    "each call is in a bucket": (
        "model_gallery_api_call_seconds_count"
        ' - ignoring (le) model_gallery_api_call_seconds_bucket{le="+Inf"}'
    ),
}
BESIDE = {"model_gallery_model_cpu_cores"}
"""Told by the metrics API, which not every cluster has, and a minute late: see the conformance test."""


@pytest.mark.parametrize("expression", STATE)
def test_the_value_is_right(world: World, expression: str) -> None:
    want = STATE[expression]

    def agrees() -> bool:
        wanted = want(world) if callable(want) else want
        return world.prometheus.value(expression) == wanted

    wait_until(
        f"{expression} is {want}", agrees, 45, lambda: str(world.prometheus.query(expression))
    )


@pytest.mark.parametrize("expression", TIMES)
def test_the_time_is_that_of_the_status(world: World, expression: str) -> None:
    kind, name, *keys = TIMES[expression]

    def agrees() -> bool:
        found: Any = world.status(kind, name)
        for key in keys:
            found = found[key]
        shown = world.prometheus.value(expression)
        return shown == datetime.fromisoformat(found).timestamp()

    wait_until(expression, agrees, 45, lambda: str(world.prometheus.query(expression)))


@pytest.mark.parametrize("expression", GROWN)
def test_deeds_are_counted(world: World, expression: str) -> None:
    least = world.before[expression] + GROWN[expression]
    wait_until(
        f"{expression} is {least} at least",
        lambda: (world.prometheus.value(expression) or 0) >= least,
        45,
        lambda: str(world.prometheus.query(expression)),
    )


@pytest.mark.parametrize("expression", AGREE.values(), ids=AGREE)
def test_counts_agree(world: World, expression: str) -> None:
    found = world.prometheus.query(expression)

    assert found
    assert {value for _, value in found} == {0}


def test_nothing_documented_is_left_out(world: World) -> None:
    asked = set(re.findall(r"model_gallery_\w+", " ".join([*STATE, *TIMES, *GROWN])))
    names = {re.sub(r"_(count|sum)$", "", name) for name in asked}

    assert names == set(documented()) - BESIDE


def test_promtool_has_nothing_to_say(world: World, target: str) -> None:
    with urllib.request.urlopen(f"http://{target}/metrics", timeout=10) as answer:
        assert promtool("check", "metrics", stdin=answer.read().decode()) == ""
