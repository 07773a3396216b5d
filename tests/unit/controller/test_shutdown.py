"""The operator as a process, told to stop while work is under way; the API server is in memory.

On a real API server: tests/integration/test_shutdown.py.
"""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from support.kube import condition, wait_until
from support.liveapi import LiveApi, serving
from support.process import OPERATOR, started
from support.stage import gallery, model

SPACE = "models"
GRACE_SECONDS = 30
MOMENTS, MODELS_EACH = 8, 10
WATCHED = ("-m", "support.ending")


@pytest.fixture
def api() -> Iterator[LiveApi]:
    with serving() as made:
        wish = gallery(SPACE, storage={"claimName": "c"}, worker={"maxConcurrent": 50})
        made.put("configmaps", wish[0])
        made.put("galleries", wish[1])
        bound = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
        made.put(
            "persistentvolumeclaims",
            {"metadata": {"name": "c", "namespace": SPACE}, "status": bound},
        )
        yield made


@contextmanager
def running(
    api: LiveApi, folder: Path, command: tuple[str, ...] = OPERATOR
) -> Iterator[subprocess.Popen[bytes]]:
    environment = {"KUBECONFIG": api.kubeconfig(folder)}
    settings = {"NAMESPACES": SPACE, "ALLOWED_NETWORKS": "127.0.0.0/8"}
    with started(environment, folder / "log", command, **settings) as process:
        yield process


def wish(api: LiveApi, *names: str) -> None:
    for name in names:
        files = [{"path": f"{name}.bin", "uri": f"https://example.com/{name}.bin"}]
        api.put("models", model(name, SPACE, source={"files": files}))


def ready(api: LiveApi) -> set[str]:
    return {
        name
        for name, body in api.named("models").items()
        if condition(body, "Ready").get("status") == "True"
    }


def end(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=GRACE_SECONDS)


def test_a_write_in_flight_is_finished_and_nothing_is_left(api: LiveApi, tmp_path: Path) -> None:
    """Beside it a log is followed and a backend is asked that never answers."""
    api.jobs_end = False
    with socket.create_server(("127.0.0.1", 0), backlog=64) as mute:
        port = mute.getsockname()[1]
        api.put("pods", backend(port))
        with running(api, tmp_path, WATCHED) as process:
            wish(api, "running")
            wait_until("a log is followed", lambda: api.streams, 30)
            wait_until("the backend is asked", lambda: connections(process.pid, port), 30)
            written = len(api.writes)
            api.held |= {"models/status", "events"}
            wish(api, "late")
            held = ("PATCH", "models/status", "late")
            wait_until("its status is being written", lambda: held in api.begun, 30)
            process.send_signal(signal.SIGTERM)
            wait_until("it was told", lambda: "Stopping" in log(tmp_path), 10)
            assert process.poll() is None
            api.let_go("models/status")
            wait_until("its event is being written", lambda: events_of(api.begun, "late"), 10)
            api.let_go("events")
            assert process.wait(timeout=GRACE_SECONDS) == 0
    assert held in api.writes[written:]
    assert "conditions" in api.named("models")["late"]["status"]
    assert events_of(api.writes, "late")
    left = json.loads(log(tmp_path).strip().splitlines()[-1])["left"]
    assert left == {"tasks": [], "threads": [], "sockets": [], "children": 0}


def test_told_to_stop_at_any_moment_every_model_is_ready_in_the_end(
    api: LiveApi, tmp_path: Path
) -> None:
    moments = random.Random(20261123)  # noqa: S311 - a seed
    names = [f"m{number}" for number in range(MOMENTS * MODELS_EACH)]
    for turn in range(MOMENTS):
        with running(api, tmp_path) as process:
            wish(api, *names[turn * MODELS_EACH : (turn + 1) * MODELS_EACH])
            time.sleep(moments.uniform(0.0, 0.3))
            assert end(process) == 0, log(tmp_path)[-4000:]

    with running(api, tmp_path):
        wait_until("all are Ready", lambda: ready(api) == set(names), 60, lambda: log(tmp_path))
    made = [
        job["metadata"]["labels"]["modelgallery.dev/model-uid"]
        for job in api.named("jobs").values()
        if job["metadata"]["labels"]["modelgallery.dev/operation"] == "install"
    ]
    assert len(made) == len(set(made)) == len(names)


def events_of(writes: list[tuple[str, str, str]], name: str) -> list[str]:
    return [made for _, what, made in writes if what == "events" and made.startswith(f"{name}.")]


def log(folder: Path) -> str:
    return (folder / "log").read_text()


def connections(pid: int, port: int) -> int:
    return sum(
        bool(found.raddr) and found.raddr.port == port
        for found in psutil.Process(pid).net_connections(kind="tcp")
    )


def backend(port: int) -> dict[str, object]:
    container = {"name": "server", "ports": [{"containerPort": port}]}
    volume = {"name": "models", "persistentVolumeClaim": {"claimName": "c"}}
    return {
        "metadata": {"name": "backend", "namespace": SPACE},
        "spec": {"containers": [container], "volumes": [volume]},
        "status": {"phase": "Running", "podIP": "127.0.0.1"},
    }
