"""An end that is one: on the first word, within the grace period, with nothing lost and nothing left."""

import json
import random
import signal
import socket
import time
from contextlib import contextmanager

import psutil
import pytest

from support.fakekubelet import FakeKubelet
from support.kube import is_current, wait_until
from support.process import OPERATOR, started
from support.stage import CLAIM, gallery, model

GRACE_SECONDS = 30
"""What the chart gives the pod."""
MODELS_EACH = 15
MOMENTS = 6


@pytest.fixture
def kubelet(control_plane):
    with FakeKubelet(control_plane.kube.environment["KUBECONFIG"]).running() as running:
        yield running


@contextmanager
def mute():
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def namespace(kube, name, **spec):
    kube.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        *gallery(name, worker={"maxConcurrent": 50}, **spec),
    )


def wish(name, space):
    files = [{"path": f"{name}.bin", "uri": f"https://example.com/{name}.bin"}]
    return model(name, space, source={"files": files})


def settle(kube, kubelet, space):
    wait_until("the claim is there", lambda: kube.get("pvc", CLAIM, space), 30)
    kubelet.bind_claim(space, CLAIM)


def end(process):
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=GRACE_SECONDS)


@pytest.mark.integration
@pytest.mark.timeout(400)
def test_told_to_stop_at_any_moment_nothing_is_lost(control_plane, kubelet, tmp_path):
    """Each time in the middle of new work; the next one finishes it, with one Job for each Model."""
    kube, log, space = control_plane.kube, tmp_path / "operator.log", "ends-often"
    namespace(kube, space)
    moments = random.Random(20261123)  # noqa: S311 - a seed
    names = [f"m{number}" for number in range(MOMENTS * MODELS_EACH)]
    for turn in range(MOMENTS):
        with started(kube.environment, log, OPERATOR) as process:
            settle(kube, kubelet, space)
            mine = names[turn * MODELS_EACH : (turn + 1) * MODELS_EACH]
            kube.apply(*(wish(name, space) for name in mine))
            time.sleep(moments.uniform(0.0, 1.5))
            assert end(process) == 0, log.read_text()[-4000:]

    with started(kube.environment, log, OPERATOR):
        wait_until(
            "all are Ready",
            lambda: sum(is_current(found) for found in kube.list("models", space)) == len(names),
            120,
            lambda: log.read_text()[-4000:],
        )
    jobs = [job["metadata"]["labels"] for job in kube.list("jobs", space)]
    installs = [
        job["modelgallery.dev/model-uid"]
        for job in jobs
        if job["modelgallery.dev/operation"] == "install"
    ]
    assert len(installs) == len(set(installs)) == len(names)


@pytest.mark.integration
@pytest.mark.timeout(200)
def test_nothing_is_left(control_plane, kubelet, tmp_path):
    """Beside an index and a backend that never answer: no task, thread or socket outlives the end."""
    kube, log, space = control_plane.kube, tmp_path / "operator.log", "ends-clean"
    with mute() as port:
        index = {"http": {"url": f"http://127.0.0.1:{port}/index.yaml"}}
        namespace(kube, space, index=index)
        kube.apply(backend(space, port))
        kube.run(
            *("patch", "pod", "backend", "-n", space, "--subresource=status", "--type=merge"),
            *("-p", json.dumps(RUNNING)),
        )
        settings = {"ALLOWED_NETWORKS": "127.0.0.0/8"}
        with started(kube.environment, log, ("-m", "support.ending"), **settings) as process:
            settle(kube, kubelet, space)
            kube.apply(*(wish(f"m{number}", space) for number in range(10)))
            wait_until("it asks both", lambda: connections(process.pid, port) > 1, 60)
            assert end(process) == 0, log.read_text()[-4000:]
    left = json.loads(log.read_text().strip().splitlines()[-1])["left"]
    assert left == {"tasks": [], "threads": [], "sockets": [], "children": 0}


@pytest.mark.integration
@pytest.mark.timeout(100)
def test_the_second_word_ends_at_once(control_plane, tmp_path):
    """While the first one still waits for a reconciliation that cannot end."""
    kube, log = control_plane.kube, tmp_path / "operator.log"
    with started(kube.environment, log, ("-m", "support.ending", "hold")) as process:
        namespace(kube, "ends-twice")
        wait_until("it is held up", lambda: "held up" in log.read_text(), 30, log.read_text)
        process.send_signal(signal.SIGTERM)
        wait_until("it was told", lambda: "Stopping" in log.read_text(), 10, log.read_text)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == 130


def connections(pid, port):
    """Returns how many connections the process has open to a port of this machine."""
    return sum(
        bool(found.raddr) and found.raddr.port == port
        for found in psutil.Process(pid).net_connections(kind="tcp")
    )


RUNNING = {"status": {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}


def backend(space, port):
    """A pod that mounts the Gallery's claim; no node ever runs it."""
    container = {
        "name": "server",
        "image": "none",
        "ports": [{"containerPort": port}],
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    }
    volume = {"name": "models", "persistentVolumeClaim": {"claimName": CLAIM}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "backend", "namespace": space},
        "spec": {"containers": [container], "volumes": [volume]},
    }
