"""The operator as a process of this machine, against a control plane."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from support.kube import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OPERATOR", "operator", "started"]

OPERATOR = ("-m", "model_gallery", "operator")
_TESTS = Path(__file__).resolve().parents[1]
_PACKAGE = _TESTS.parent / "operator"


@contextmanager
def operator(environment: dict[str, str], log: Path, **settings: str) -> Iterator[int]:
    """Runs `model-gallery operator` until the block ends; yields its process id once it is ready.

    Args:
        environment: of kubectl; KUBECONFIG counts.
        settings: MODEL_GALLERY_* variables without their prefix.
    """
    with started(environment, log, OPERATOR, **settings) as process:
        yield process.pid


@contextmanager
def started(
    environment: dict[str, str], log: Path, command: tuple[str, ...], **settings: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a program of ours until the block ends; yields its process once it is ready.

    Args:
        command: arguments of the Python interpreter.
    """
    port = _free_port()
    settings = {"WORKER_IMAGE": "none", "PORT": str(port), **settings}
    variables = {f"MODEL_GALLERY_{name}": value for name, value in settings.items()}
    modules = {"PYTHONPATH": os.pathsep.join(map(str, (_PACKAGE, _TESTS)))}
    with log.open("a") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            env=os.environ | environment | modules | variables,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
        )
        try:
            wait_until("the operator is ready", lambda: _ready(process, port), 60, log.read_text)
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _ready(process: subprocess.Popen[bytes], port: int) -> bool:
    assert process.poll() is None, f"the operator ended with {process.returncode}"
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
