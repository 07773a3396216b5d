"""`model-gallery sidecar` as a process, beside others that use models."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from model_gallery.monitor.usage import ProcessReader
from model_gallery.sidecar.files import FileIndex
from model_gallery.sidecar.main import Sampler
from model_gallery.storage.volume import Volume
from support.serving import MIB, NOBODY, Gallery, backend, gallery

PACKAGE = Path(__file__).resolve().parents[3] / "operator"
COMMAND = (sys.executable, "-m", "model_gallery", "sidecar")
# The interpreter may lie where the other user may not read, so all is imported before.
DROPPING = f"""
import os, sys, encodings.idna, model_gallery.sidecar.main as sidecar
os.setgroups([]); os.setresgid(*[{NOBODY}] * 3); os.setresuid(*[{NOBODY}] * 3)
sys.exit(sidecar.main())
"""
AS_NOBODY = (sys.executable, "-c", DROPPING)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="other users take root")


@pytest.fixture
def volume():
    with gallery() as made:
        yield made


class Running:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=2) as answer:  # noqa: S310
            return answer.read()

    def usage(self) -> dict[str, Any]:
        return json.loads(self.get("/usage"))

    def process_told(self, pid: int) -> dict[str, Any]:
        return next(one for one in self.usage()["processes"] if one["pid"] == pid)


def environment(volume: Gallery, port: int) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(PACKAGE),
        "MODEL_GALLERY_ROOT": str(volume.root),
        "MODEL_GALLERY_SIDECAR_PORT": str(port),
    }


@contextmanager
def sidecar(volume: Gallery, *command: str) -> Iterator[Running]:
    port = _free_port()
    process = subprocess.Popen(command or COMMAND, env=environment(volume, port))
    try:
        running = Running(process, port)
        _until(lambda: _answers(running))
        yield running
    finally:
        process.kill()
        process.wait()


def test_which_process_uses_which_model(volume: Gallery) -> None:
    """And it ends within a second when told to."""
    path = volume.publish("a", "a.gguf")
    with backend("map", path) as process, sidecar(volume) as running:
        told = running.process_told(process.pid)
        (model,) = running.usage()["models"]
        pids = {one["pid"] for one in running.usage()["processes"]}

        assert told["models"] == ["team/a"]
        assert told["visible"] is True
        assert (model["namespace"], model["name"], model["uid"]) == ("team", "a", "uid-a")
        assert model["processes"] == [process.pid]
        assert running.process.pid not in pids
        assert running.get("/healthz") == b"ok\n"
        series = 'model_gallery_model_process_resident_bytes{name="a",namespace="team"}'
        assert series in running.get("/metrics").decode()

        began = time.monotonic()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(5) == 0
        assert time.monotonic() - began < 1


@as_root
def test_a_process_of_another_user_is_told_without_its_files(volume: Gallery) -> None:
    """One of the sidecar's own user is told with them, by a sidecar that has no rights at all."""
    path = volume.publish("a", "a.gguf")
    with (
        backend("map", path) as foreign,
        backend("map", path, uid=NOBODY) as own,
        sidecar(volume, *AS_NOBODY) as running,
    ):
        foreign.tell(f"touch {MIB}")
        hidden, seen = running.process_told(foreign.pid), running.process_told(own.pid)
        found = running.usage()

        assert hidden["visible"] is False
        assert hidden["models"] == []
        assert hidden["residentBytes"] > MIB
        assert hidden["threads"] == 1
        assert seen["visible"] is True
        assert seen["models"] == ["team/a"]
        assert found["models"][0]["processes"] == [own.pid]
        assert found["hidden"] == sum(not one["visible"] for one in found["processes"])


@as_root
def test_the_pause_process_is_left_out(volume: Gallery) -> None:
    """As in a pod: pid 1 of a namespace of its own, and the sidecar beside it."""
    pause = volume.root / "pause"
    pause.write_bytes(Path("/bin/sleep").read_bytes())
    pause.chmod(0o755)
    script = f'"$@" & sleep 30 & exec {pause} 60'
    before = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", script)
    with sidecar(volume, *before, "sh", *COMMAND) as running:
        assert [one["name"] for one in running.usage()["processes"]] == ["sleep"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MODEL_GALLERY_SIDECAR_PORT", "many"),
        ("MODEL_GALLERY_SIDECAR_PORT", "70000"),
        ("MODEL_GALLERY_ROOT", "/does/not/exist"),
        ("MODEL_GALLERY_ROOT", "/etc/passwd"),
    ],
)
def test_a_wrong_setting_ends_it_with_2(volume: Gallery, variable: str, value: str) -> None:
    wrong = environment(volume, 0) | {variable: value}
    done = subprocess.run(
        COMMAND, env=wrong, capture_output=True, text=True, timeout=20, check=False
    )

    assert done.returncode == 2
    assert done.stderr.startswith("model-gallery sidecar: ")
    assert "Traceback" not in done.stderr


def test_a_port_in_use_ends_it_with_1(volume: Gallery) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        done = subprocess.run(
            COMMAND,
            env=environment(volume, taken.getsockname()[1]),
            capture_output=True,
            timeout=20,
            check=False,
        )

    assert done.returncode == 1
    assert b"Could not listen" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("unwanted", ["kopf", "kubernetes", "aiohttp", "urllib3"])
def test_it_loads_little(unwanted: str) -> None:
    """Every serving pod pays for it."""
    program = f"import model_gallery.sidecar.main, sys; sys.exit({unwanted!r} in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(PACKAGE)}, check=False
    )

    assert done.returncode == 0


def test_the_sampler_leaves_no_thread(volume: Gallery) -> None:
    """It looks again and again until it is closed."""
    opened, ended = Volume(volume.root), threading.Event()
    sampler = Sampler(FileIndex(opened, volume.root), ended.set, period=0.05)
    before = threading.active_count()
    sampler.start()
    _until(lambda: sampler.latest() is not None)
    first = sampler.latest()
    _until(lambda: sampler.latest().sampled_time > first.sampled_time)
    sampler.close()
    opened.close()

    assert ended.is_set()
    assert threading.active_count() == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_sampler_is_told(volume: Gallery, monkeypatch) -> None:
    """The process then ends, and Kubernetes starts it anew."""

    def bug(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(ProcessReader, "read", bug)
    opened, ended = Volume(volume.root), threading.Event()
    sampler = Sampler(FileIndex(opened, volume.root), ended.set)
    sampler.start()

    assert ended.wait(5)
    sampler.close()
    opened.close()
    assert sampler.latest() is None


def _answers(running: Running) -> bool:
    assert running.process.poll() is None, f"it ended with {running.process.returncode}"
    try:
        running.get("/usage")
    except OSError:
        return False
    return True


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
