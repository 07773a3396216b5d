"""What the whole operator does beside thousands of serving pods: `hack/bench fleet`; see README.md.

The operator is the real one, as a process. Its API server is in memory, and all pods are one asyncio server
that answers at 127.x.y.z as Ollama and llama.cpp do.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from support.kube import condition, wait_until
from support.liveapi import LiveApi, serving
from support.process import OPERATOR, started
from support.stage import gallery, model

SPACE = "models"
PERIOD = 15
"""Seconds between two looks at a pod, by default."""
GREETING = b"Ollama is running"
MIB = 1 << 20


@dataclass
class Pods:
    """All backends.

    Attributes:
        looks: by pod, the moments of the requests with which a look at it begins.
        ended: by pod, the moment of the last answer.
        requests: all of them.
        mute: pods that take connections and never answer.
    """

    count: int
    models: int
    mute: int
    port: int = 0
    looks: dict[int, list[float]] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)
    requests: int = 0

    @staticmethod
    def address(number: int) -> str:
        """Returns a pod's address."""
        return f"127.1.{number // 200}.{number % 200 + 1}"

    def body(self, number: int) -> dict[str, Any]:
        """Returns a pod as the API server has it."""
        volume = {"name": "models", "persistentVolumeClaim": {"claimName": "c"}}
        return {
            "metadata": {"name": f"pod-{number}", "namespace": SPACE},
            "spec": {
                "containers": [{"name": "server", "ports": [{"containerPort": self.port}]}],
                "volumes": [volume],
            },
            "status": {"phase": "Running", "podIP": self.address(number)},
        }

    def answer(self, number: int, path: str) -> tuple[int, bytes]:
        """Returns status and body of one request to one pod."""
        now = time.monotonic()
        self.requests += 1
        self.ended[number] = now
        looks = self.looks.setdefault(number, [])
        if not looks or now - looks[-1] > PERIOD / 3:
            looks.append(now)
        name = f"m{number % self.models}"
        routes = _ollama(name) if number % 2 else _llama_cpp(name)
        found = routes.get(path)
        return (200, found) if found is not None else (404, b"{}")


def _ollama(name: str) -> dict[str, bytes]:
    entry = {
        "name": name,
        "model": name,
        "size": 4096,
        "size_vram": 0,
        "expires_at": "2319-01-01T00:00:00Z",
    }
    return {
        "/": GREETING,
        "/api/version": b'{"version":"0.12.0"}',
        "/api/ps": json.dumps({"models": [entry]}).encode(),
    }


def _llama_cpp(name: str) -> dict[str, bytes]:
    about = {"model_path": f"/models/{name}.bin", "build_info": "b1", "endpoint_metrics": True}
    return {
        "/props": json.dumps(about).encode(),
        "/v1/models": json.dumps({"data": [{"id": name, "owned_by": "llamacpp"}]}).encode(),
        "/metrics": b"llamacpp:requests_processing 0\nllamacpp:requests_deferred 0\n",
        "/health": b'{"status":"ok"}',
    }


class _Connection(asyncio.Protocol):
    """One connection of the operator to a pod: requests without bodies, answered in order."""

    def __init__(self, pods: Pods) -> None:
        self._pods = pods

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._rest = b""
        *_, high, low = map(int, transport.get_extra_info("sockname")[0].split("."))
        self._number = high * 200 + low - 1

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while b"\r\n\r\n" in self._rest:
            head, _, self._rest = self._rest.partition(b"\r\n\r\n")
            self._answer(head.split(b" ", 2)[1].decode())

    def _answer(self, path: str) -> None:
        status, body = self._pods.answer(self._number, path)
        if self._number < self._pods.mute:
            return
        server = b"" if self._number % 2 else b"Server: llama.cpp\r\n"
        head = b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n" % (status, server, len(body))
        self._transport.write(head + body)


@contextmanager
def answering(pods: Pods) -> Iterator[None]:
    """Has all pods answer until the block ends."""
    started_up, box = threading.Event(), []

    async def serve() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        server = await loop.create_server(lambda: _Connection(pods), "0.0.0.0", 0, backlog=512)
        pods.port = server.sockets[0].getsockname()[1]
        box.extend([loop, stop])
        started_up.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started_up.wait(30)
    try:
        yield
    finally:
        box[0].call_soon_threadsafe(box[1].set)
        thread.join()


def main() -> int:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(prog="hack/bench fleet")
    parser.add_argument("--pods", type=int, default=2000)
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--mute", type=int, default=0, help="pods that never answer")
    parser.add_argument("--seconds", type=int, default=60, help="of watching while nothing changes")
    wish = parser.parse_args()
    pods = Pods(wish.pods, wish.models, wish.mute)
    with tempfile.TemporaryDirectory() as folder, serving() as api, answering(pods):
        rows = _measured(wish, api, pods, Path(folder))
    print(f"{wish.pods} pods ({wish.mute} of them mute), {wish.models} Models; {_machine()}.\n")
    print("| what | |\n|---|---|")
    for what, value in rows:
        print(f"| {what} | {value} |")
    return 0


def _measured(
    wish: argparse.Namespace, api: LiveApi, pods: Pods, folder: Path
) -> list[tuple[str, str]]:
    environment = {"KUBECONFIG": api.kubeconfig(folder)}
    settings = {"NAMESPACES": SPACE, "ALLOWED_NETWORKS": "127.0.0.0/8"}
    _furnish(api, wish.models)
    with started(environment, folder / "log", OPERATOR, **settings) as process:
        wait_until("all are Ready", lambda: _ready(api) == wish.models, 120)
        time.sleep(5)
        without = psutil.Process(process.pid).memory_info().rss
    api.put("pods", *map(pods.body, range(wish.pods)))
    with started(environment, folder / "log", OPERATOR, **settings) as process:
        patience = 60 + wish.mute / 4
        wait_until("all pods are known", lambda: _known(api) == wish.pods, patience)
        first = max(pods.ended.values()) - min(looks[0] for looks in pods.looks.values())
        wait_until("nothing is written any more", lambda: _is_quiet(api, PERIOD), 120)
        operator = psutil.Process(process.pid)
        since, asked, written = _cpu(operator), pods.requests, len(api.writes)
        time.sleep(wish.seconds)
        spent = _cpu(operator) - since
        asked, written = pods.requests - asked, len(api.writes) - written
        with_pods = operator.memory_info().rss
        at_once = _all_at_once(api, pods)
    rounds = wish.seconds / PERIOD
    return [
        ("all pods recognised and asked, after a start", f"{first:.1f} s"),
        ("all pods asked, when all are due at once", f"{at_once:.1f} s"),
        ("longest time between two looks at one pod", f"{_longest(pods):.1f} s"),
        ("requests to pods, each second", f"{asked / wish.seconds:.0f}"),
        ("CPU of the operator, each round of all pods", f"{spent / rounds:.2f} s"),
        ("the same, of one core", f"{spent / wish.seconds:.1%}"),
        ("resident without pods, with pods", f"{without // MIB} MiB, {with_pods // MIB} MiB"),
        (f"writes to the API server in {wish.seconds} s", str(written)),
    ]


def _furnish(api: LiveApi, models: int) -> None:
    wish = gallery(SPACE, storage={"claimName": "c"}, worker={"maxConcurrent": 100})
    api.put("configmaps", wish[0])
    api.put("galleries", wish[1])
    bound = {"phase": "Bound", "capacity": {"storage": "1Gi"}}
    claim = {"metadata": {"name": "c", "namespace": SPACE}, "status": bound}
    api.put("persistentvolumeclaims", claim)
    for number in range(models):
        files = [{"path": f"m{number}.bin", "uri": f"https://example.com/m{number}.bin"}]
        api.put("models", model(f"m{number}", SPACE, source={"files": files}))


def _ready(api: LiveApi) -> int:
    found = api.named("models").values()
    return sum(condition(body, "Ready").get("status") == "True" for body in found)


def _known(api: LiveApi) -> int:
    (body,) = api.named("galleries").values()
    return sum(group["pods"] for group in body.get("status", {}).get("backends", ()))


def _all_at_once(api: LiveApi, pods: Pods) -> float:
    """Has a Model deleted, for which all pods of its Gallery are asked at once; returns the seconds."""
    found = api.named("models")["m0"]
    found["metadata"]["deletionTimestamp"] = "2026-11-01T12:00:00Z"
    began = time.monotonic()
    api.put("models", found)
    while min(pods.ended[number] for number in range(pods.mute, pods.count)) < began:
        time.sleep(0.02)
    return time.monotonic() - began


def _is_quiet(api: LiveApi, seconds: float) -> bool:
    before = len(api.writes)
    time.sleep(seconds)
    return len(api.writes) == before


def _cpu(process: psutil.Process) -> float:
    spent = process.cpu_times()
    return spent.user + spent.system


def _longest(pods: Pods) -> float:
    return max(
        (
            after - before
            for number, looks in pods.looks.items()
            if number >= pods.mute
            for before, after in itertools.pairwise(looks)
        ),
        default=0.0,
    )


def _machine() -> str:
    return (
        f"{os.cpu_count()} cores, kernel {platform.release()}, Python {platform.python_version()}"
    )


if __name__ == "__main__":
    sys.exit(main())
