"""What the controller tells of workers, backends and Models: counts, events, series, keys, costs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from model_gallery.api import labels
from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.controller import kinds, usage
from model_gallery.controller.groups import Sums, grouped
from model_gallery.controller.keys import Keys
from model_gallery.controller.publish import Moving, Publisher
from model_gallery.controller.spoken import Spoken
from model_gallery.controller.tally import Tally
from model_gallery.controller.unloads import Unloads
from model_gallery.controller.usage import Usage
from model_gallery.errors import TransientError
from model_gallery.protocol.backend import BackendFacts, LoadedModel, UnloadOutcome, UnloadResult
from model_gallery.protocol.message import to_json
from model_gallery.protocol.report import ProgressLine, ResultLine
from model_gallery.protocol.usage import ProcessUsage, UsageReport
from model_gallery.reconcile import serving
from model_gallery.reconcile.serving import PodView, Unload
from model_gallery.runtime.client import Refused
from model_gallery.telemetry.metrics import Metrics

NOW = "2026-11-01T12:00:00Z"


def value(metrics: Metrics, name: str, **found: str) -> float | None:
    return metrics._registry.get_sample_value(f"model_gallery_{name}", found)


# Ended workers


def job(*, ended: str = "", operation: str = "install") -> dict[str, Any]:
    metadata = {
        "name": "j",
        "namespace": "ns",
        "uid": "uid-j",
        "resourceVersion": "2" if ended else "1",
        "creationTimestamp": NOW,
        "annotations": {labels.ANNOTATION_GALLERY: "g"},
        "labels": {labels.LABEL_OPERATION: operation},
    }
    conditions = [{"type": ended, "status": "True"}] if ended else []
    return {"metadata": metadata, "status": {"conditions": conditions}}


def tallied(
    before: dict[str, Any] | None, after: dict[str, Any] | None, line: str | None = None
) -> Metrics:
    cache, metrics = kinds.new_cache(), Metrics(version="1")
    states = []
    for body in (before, after):
        if body is not None:
            cache.upsert(kinds.JOB, body)
        states.append(cache.get(kinds.JOB, "ns", "j") if body is not None else None)
    if line is not None:
        pod = {
            "metadata": {
                **job()["metadata"],
                "name": "p",
                "uid": "uid-p",
                "ownerReferences": [{"uid": "uid-j"}],
            },
            "status": {
                "phase": "Succeeded",
                "containerStatuses": [{"state": {"terminated": {"message": line}}}],
            },
        }
        cache.upsert(kinds.POD, pod)
    Tally(cache, metrics).take(*states)
    return metrics


def results(metrics: Metrics, reason: str, operation: str = "install") -> float | None:
    return value(metrics, "worker_results_total", operation=operation, reason=reason)


def test_an_ended_worker_is_counted_with_what_it_said() -> None:
    line = ResultLine(plan_digest="p", reason=Reason.NO_SPACE, fetched_bytes=7, problems_total=2)
    metrics = tallied(job(), job(ended="Failed"), to_json(line))
    assert results(metrics, "NoSpace") == 1
    assert value(metrics, "download_bytes_total") == 7
    assert value(metrics, "verify_failures_total") == 2


@pytest.mark.parametrize(
    ("ended", "line", "reason"),
    [
        ("Complete", None, "Succeeded"),
        ("Failed", None, "WorkerFailed"),
        ("Failed", "no line of ours", "WorkerFailed"),
    ],
)
def test_a_worker_that_said_nothing(ended: str, line: str | None, reason: str) -> None:
    assert results(tallied(job(), job(ended=ended), line), reason) == 1


@pytest.mark.parametrize("operation", ["ask", "plan"])
def test_questions_fetch_nothing(operation: str) -> None:
    line = ResultLine(plan_digest="p", reason=Reason.SUCCEEDED, fetched_bytes=7)
    after = job(ended="Complete", operation=operation)
    metrics = tallied(job(operation=operation), after, to_json(line))
    assert results(metrics, "Succeeded", operation) == 1
    assert value(metrics, "download_bytes_total") == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, job(ended="Complete")),
        (job(), None),
        (job(), job()),
        (job(ended="Complete"), job(ended="Complete")),
    ],
)
def test_a_worker_is_counted_once_and_not_after_a_restart(before: Any, after: Any) -> None:
    assert results(tallied(before, after), "Succeeded") is None


# Unloads


class Events:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []

    def event(self, _body: Any, kind: str, reason: str, message: str) -> None:
        self.told.append((kind, reason, message))


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        (UnloadOutcome.DONE, [("Normal", "Unloaded", "Idle: m in pod p: why")]),
        (
            UnloadOutcome.UNSUPPORTED,
            [("Warning", "UnloadUnsupported", "Idle: m in pod p: why")],
        ),
        (UnloadOutcome.FAILED, [("Warning", "UnloadFailed", "Idle: m in pod p: why")]),
        (UnloadOutcome.BUSY, []),
        (UnloadOutcome.NOT_LOADED, []),
    ],
)
def test_an_unload_is_told_and_counted(outcome: UnloadOutcome, told: Any) -> None:
    events, metrics = Events(), Metrics(version="1")
    body = {"metadata": {"namespace": "ns", "name": "m", "uid": "u"}}
    unloads = Unloads(events, metrics)  # type: ignore[arg-type]
    unloads(body, Unload("p", "m", "Idle"), UnloadResult(outcome, "why"))
    assert events.told == told
    assert value(metrics, "unloads_total", reason="Idle", result=outcome.value) == 1


# Series


def test_series_follow_the_objects() -> None:
    metrics = Metrics(version="1")
    publisher = Publisher(metrics.state)
    model = {"metadata": {"namespace": "ns", "name": "m"}, "status": {"sizeBytes": 5}}
    for kind in (kinds.MODEL, kinds.POD):
        publisher.take(kind, model, gone=False)
    assert set(metrics.state._values) == {(kinds.MODEL, "ns", "m")}
    publisher.take(kinds.MODEL, model, gone=True)
    assert metrics.state._values == {}


@pytest.mark.parametrize(("total", "ratios"), [(8, [0.5]), (2, [1.0]), (None, [])])
def test_transfers_under_way(total: int | None, ratios: list[float]) -> None:
    line = ProgressLine(completed_bytes=4, total_bytes=total)
    follower = SimpleNamespace(running=lambda: iter([("ns", "m", line)]))
    found = list(Moving(follower)())  # type: ignore[arg-type]
    assert [values[0].value for _, _, values in found] == ratios


# Keys


def test_a_key_is_read_whenever_it_is_used(tmp_path: Path) -> None:
    keys = Keys(str(tmp_path))
    assert keys("ns", "g", "b") == ""
    for text in ("first\n", "second"):
        (tmp_path / "ns.g.b").write_text(text)
        assert keys("ns", "g", "b") == text.strip()
    assert keys("ns", "g", "other") == ""
    assert Keys("")("ns", "g", "b") == ""


def test_a_key_is_bounded_and_plain(tmp_path: Path) -> None:
    (tmp_path / "ns.g.b").write_bytes("kéy".encode() + b"x" * 10_000)
    key = Keys(str(tmp_path))("ns", "g", "b")
    assert len(key) <= 4096
    assert key.startswith("kyx")


# What pods cost


@pytest.mark.parametrize(
    ("cpu", "memory", "cost"),
    [
        ("250m", "64Mi", (250, 64 << 20)),
        ("2", "1Gi", (2000, 1 << 30)),
        ("1500000n", "1000", (2, 1000)),
        ("1500u", "1Ki", (2, 1024)),
        ("a lot", "1Ki", None),
        ("1e999", "1Ki", None),
        ("nan", "1Ki", None),
        ("1", "much", None),
    ],
)
def test_quantities(cpu: str, memory: str, cost: tuple[int, int] | None) -> None:
    container = {"usage": {"cpu": cpu, "memory": memory}}
    assert usage.parse({"containers": [container]}) == cost


async def test_garbage_of_one_pod_is_that_pods_alone() -> None:
    async def listed(*_: Any) -> list[dict[str, Any]]:
        return [
            {"metadata": {"name": "bad"}, "containers": [{"usage": {"cpu": "?"}}]},
            {"metadata": {"name": "good"}, "containers": [{"usage": {"cpu": "1"}}]},
        ]

    found = await Usage(SimpleNamespace(list=listed)).of("ns")  # type: ignore[arg-type]
    assert found == {"good": (1000, 0)}


@pytest.mark.looptime(start=0)
@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (Refused(404, "not served"), 1),
        (Refused(403, "forbidden"), 1),
        (TransientError(Reason.API_UNAVAILABLE, "down"), 2),
    ],
)
async def test_a_metrics_api_that_is_not_served_is_left_alone(error: Any, calls: int) -> None:
    asked = []

    async def fails(*_: Any) -> list[dict[str, Any]]:
        asked.append(1)
        raise error

    reads = Usage(SimpleNamespace(list=fails))  # type: ignore[arg-type]
    assert [await reads.of("ns"), await reads.of("ns")] == [{}, {}]
    assert len(asked) == calls


# Galleries' pods


def view(name: str, facts: BackendFacts | None, **more: Any) -> PodView:
    spoken = serving.spoken_of(facts.models) if facts else frozenset()
    return PodView(name, f"uid-{name}", "b", facts, spoken=spoken, **more)


def facts(*models: LoadedModel, **changes: Any) -> BackendFacts:
    told = {"live": True, "ready": True, **changes}
    return BackendFacts(BackendType.OLLAMA, models=models, **told)


BUSY = LoadedModel("m", ServingState.BUSY)
IDLE = LoadedModel("m", ServingState.LOADED)


def test_pods_are_summed_by_backend() -> None:
    views = [
        view("a", facts(BUSY)),
        view("b", facts(IDLE, IDLE)),
        view("c", facts(live=False, ready=False, message="no answer in time")),
        view("d", None),
    ]
    (group,) = grouped(views)
    assert (group.name, group.type, group.message) == ("b", "Ollama", "no answer in time")
    assert (group.pods, group.ready, group.busy, group.loaded) == (4, 2, 1, 3)


def test_states_are_due_at_once_and_figures_in_time() -> None:
    sums = Sums()
    sums.note("ns/g", None, facts(IDLE))
    assert sums.due(100.0) == {"ns/g"}
    assert sums.show("ns/g", [view("a", facts(IDLE))], 100.0)
    sums.note("ns/g", facts(IDLE), facts(BUSY))
    assert sums.due(129.0) == set()
    assert sums.due(130.0) == {"ns/g"}
    sums.note("ns/g", facts(IDLE), facts(IDLE))
    assert sums.due(500.0) == set()
    sums.note("ns/g", facts(IDLE), facts(ready=False))
    assert sums.due(500.0) == {"ns/g"}


def test_a_gallery_without_pods_is_shown_so_and_forgotten() -> None:
    sums = Sums()
    assert sums.show("ns/g", [view("a", facts(IDLE))], 0.0)
    assert not sums.show("ns/g", [view("a", facts(IDLE))], 1.0)
    assert sums.show("ns/g", [], 2.0)
    assert sums.shown == {}


# Who speaks of what


def test_pods_are_found_by_what_they_speak_of() -> None:
    spoken, first, second = Spoken(), ("ns/g", "uid-a"), ("ns/other", "uid-a")
    named = LoadedModel("models/m.gguf", ServingState.LOADED, aliases=("m",))
    spoken.put(first, view("a", facts(named)))
    spoken.put(second, view("a", facts(named)))
    for name in ("m", "m.gguf", "models/m.gguf"):
        assert spoken.of("ns/g", [name, "nobody"]) == {first}
    spoken.put(first, view("a", facts()))
    assert spoken.of("ns/g", ["m"]) == set()
    spoken.drop(second)
    assert spoken._pods == {}


def test_a_sidecar_speaks_by_namespace_and_name() -> None:
    process = ProcessUsage(
        pid=1, name="server", resident_bytes=1, shared_bytes=0, threads=1, models=("ns/m",)
    )
    report = UsageReport(sampled_time=datetime(2026, 11, 1, tzinfo=UTC), processes=(process,))
    spoken = Spoken()
    spoken.put(("ns/g", "u"), view("a", facts(), usage=report))
    assert spoken.of("ns/g", ["ns/m"]) == {("ns/g", "u")}
