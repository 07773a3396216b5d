"""What is scraped and asked over HTTP: values, their end, bad requests, and no series for strangers."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from model_gallery.api.conditions import Reason
from model_gallery.controller import figures
from model_gallery.errors import StalledError
from model_gallery.telemetry.metrics import Metrics
from model_gallery.telemetry.server import Query, Server
from model_gallery.telemetry.state import FAMILIES
from support.figures import GALLERY, MODEL

EPOCH = 1767225600.0
EXPECTED = {
    ("model_info", "g", "GGUF", "llama", "Q4_K_M", "abc"): 1,
    ("model_condition", "Ready", "True"): 1,
    ("model_condition", "Ready", "False"): 0,
    ("model_condition", "Ready", "Unknown"): 0,
    ("model_size_bytes",): 42,
    ("model_files",): 2,
    ("model_attempts",): 3,
    ("model_installed_timestamp_seconds",): EPOCH,
    ("model_checked_timestamp_seconds",): EPOCH + 10,
    ("model_verify_period_seconds",): 600,
    ("model_damaged_files",): 1,
    ("model_update_available",): 1,
    ("model_serving_pods", "Busy"): 2,
    ("model_requests", "running"): 3,
    ("model_requests", "waiting"): 1,
    ("model_memory_bytes",): 7,
    ("model_vram_bytes",): 8,
    ("model_cpu_cores",): 1.5,
    ("model_last_used_timestamp_seconds",): EPOCH + 20,
    ("gallery_condition", "IndexReady", "True"): 0,
    ("gallery_condition", "IndexReady", "False"): 1,
    ("gallery_condition", "IndexReady", "Unknown"): 0,
    ("gallery_entries",): 9,
    ("gallery_problem_entries",): 2,
    ("gallery_last_refresh_timestamp_seconds",): EPOCH,
    ("gallery_index_stale",): 0,
    ("gallery_models", "Configured"): 3,
    ("gallery_models", "Loose"): 1,
    ("volume_capacity_bytes",): 100,
    ("volume_available_bytes",): 60,
    ("volume_managed_bytes",): 30,
    ("volume_loose_bytes",): 5,
    ("volume_reclaimable_bytes",): 4,
    ("volume_scanned_timestamp_seconds",): EPOCH + 30,
    ("backend_pods", "real", "running"): 4,
    ("backend_pods", "real", "ready"): 3,
    ("backend_pods", "real", "busy"): 2,
    ("backend_loaded_models", "real"): 6,
}


def scraped(metrics: Metrics) -> dict[tuple[str, ...], float]:
    text = metrics.render()[0].decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            family_of = FAMILIES.get(sample.name)
            if family_of is not None:
                values = [sample.labels[label] for label in family_of.labels]
                short = sample.name.removeprefix("model_gallery_")
                assert values[:2] == ["ns", "m" if short.startswith("model_") else "g"]
                found[short, *values[2:]] = sample.value
    return found


@pytest.fixture
def metrics() -> Metrics:
    made = Metrics(version="1")
    made.state.put("Model", "ns", "m", figures.of_model(MODEL))
    made.state.put("Gallery", "ns", "g", figures.of_gallery(GALLERY))
    return made


def test_every_value_of_a_status_is_scraped(metrics: Metrics) -> None:
    assert scraped(metrics) == EXPECTED


def test_every_family_has_a_value_here_but_the_moving_one() -> None:
    shown = {f"model_gallery_{key[0]}" for key in EXPECTED}
    assert set(FAMILIES) - shown == {"model_gallery_model_download_progress_ratio"}


def test_series_vanish_with_their_object(metrics: Metrics) -> None:
    metrics.state.drop("Model", "ns", "m")
    assert not [key for key in scraped(metrics) if key[0].startswith("model_")]
    metrics.state.drop("Gallery", "ns", "g")
    assert scraped(metrics) == {}


def test_what_is_not_known_has_no_series() -> None:
    made = Metrics(version="1")
    made.state.put("Model", "ns", "m", figures.of_model({**MODEL, "status": {}}))
    names = {key[0] for key in scraped(made)}
    assert "model_memory_bytes" not in names
    assert "model_size_bytes" not in names


@pytest.mark.parametrize("spec", [{"verifyPeriodSeconds": 0}, {"suspend": True}])
def test_what_is_never_verified_has_no_period_to_be_late_by(spec: dict[str, Any]) -> None:
    made = Metrics(version="1")
    made.state.put("Model", "ns", "m", figures.of_model({**MODEL, "spec": MODEL["spec"] | spec}))
    assert ("model_verify_period_seconds",) not in scraped(made)


def test_an_index_from_the_last_good_copy_is_stale() -> None:
    made = Metrics(version="1")
    kept = {"type": "IndexReady", "status": "True", "reason": Reason.LAST_GOOD_COPY.value}
    status = GALLERY["status"] | {"conditions": [kept]}
    made.state.put("Gallery", "ns", "g", figures.of_gallery({**GALLERY, "status": status}))
    assert scraped(made)["gallery_index_stale",] == 1


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics._registry.get_sample_value(name, labels)


def test_counters() -> None:
    made = Metrics(version="1")
    made.unloaded("Idle", "Done")
    made.worker_ended("install", "Succeeded", 3.0)
    made.fetched(10)
    made.damaged(2)
    made.backend_call("GET", "/slots", "timeout", 5.0)
    made.api_call("get", "models", 200, 0.01)
    assert value(made, "model_gallery_unloads_total", reason="Idle", result="Done") == 1
    ended = {"operation": "install", "reason": "Succeeded"}
    assert value(made, "model_gallery_worker_results_total", **ended) == 1
    assert value(made, "model_gallery_worker_seconds_sum", operation="install") == 3.0
    assert value(made, "model_gallery_download_bytes_total") == 10
    assert value(made, "model_gallery_verify_failures_total") == 2
    call = "model_gallery_api_call_seconds_count"
    backend = {"component": "backend", "method": "GET", "path": "/slots", "code": "timeout"}
    kubernetes = {"component": "kubernetes", "method": "get", "path": "models", "code": "200"}
    assert (value(made, call, **backend), value(made, call, **kubernetes)) == (1, 1)


def listing(query: Query) -> object:
    if query.one("loose") == "wrong":
        raise StalledError(Reason.INVALID_SPEC, "loose must be one of ...")
    if query.one("gallery") == "gone":
        raise StalledError(Reason.NOT_FOUND, "there is no Gallery ns/gone")
    return {"object": "list", "data": [query.all("tag")]}


@pytest.fixture
async def served():
    made, state = Metrics(version="1"), {"ready": True}
    server = Server(made, ready=lambda: state["ready"], models=listing)
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield session, made, state
    await server.close()


async def test_models_answers_and_refuses_with_a_reason(served) -> None:
    session, _, _ = served
    async with session.get("/v1/models?tag=a&tag=b") as answer:
        assert (answer.status, await answer.json()) == (
            200,
            {"object": "list", "data": [["a", "b"]]},
        )
    async with session.get("/v1/models?loose=wrong") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["code"] == "InvalidSpec"
    async with session.get("/v1/models?gallery=gone") as answer:
        assert answer.status == 404


async def test_what_is_not_known_yet_is_not_listed_as_nothing(served) -> None:
    session, _, state = served
    state["ready"] = False
    async with session.get("/v1/models") as answer:
        assert answer.status == 503
    async with session.get("/readyz") as answer:
        assert answer.status == 503
    async with session.get("/healthz") as answer:
        assert answer.status == 200


async def test_strangers_make_one_series(served) -> None:
    session, metrics, _ = served
    for path in ("/admin", "/etc/passwd", "/x"):
        async with session.get(path) as answer:
            assert answer.status == 404
    name = "model_gallery_api_call_seconds_count"
    labels = {"component": "http", "method": "GET", "path": "other", "code": "404"}
    assert value(metrics, name, **labels) == 3


async def test_no_other_method_and_no_large_request(served) -> None:
    session, _, _ = served
    async with session.post("/metrics", data=b"x" * 10_000) as answer:
        assert answer.status == 405
