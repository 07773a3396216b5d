"""What it costs to watch thousands of serving pods: `hack/bench monitor`; see README.md.

The real monitor and the real decisions over a cache of scripted pods, in a process of their own; the
pods are another process, on loopback, in a network namespace that the run makes.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil

from model_gallery.api import labels
from model_gallery.controller import clock, kinds
from model_gallery.controller.monitoring import Hooks, Monitor
from model_gallery.controller.observe import Observer
from model_gallery.reconcile import model as decisions
from model_gallery.reconcile.observed import IndexView, WorkerSettings
from model_gallery.runtime.workqueue import Key

PORT = 8080
NAMESPACE, GALLERY, CLAIM = "bench", "g", "models"
CREATED = "2026-01-01T00:00:00Z"
INSIDE = "MODEL_GALLERY_BENCH_INSIDE"


def metadata(name: str, **more: Any) -> dict[str, Any]:
    """Returns the metadata of an object of the bench."""
    return {
        "name": name,
        "namespace": NAMESPACE,
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "generation": 1,
        "creationTimestamp": CREATED,
        **more,
    }


def pod(number: int) -> dict[str, Any]:
    """Returns a pod that mounts the claim and runs at an address of its own."""
    address = f"127.1.{number // 250}.{number % 250 + 1}"
    container = {"name": "server", "ports": [{"containerPort": PORT}]}
    volume = {"name": "m", "persistentVolumeClaim": {"claimName": CLAIM}}
    return {
        "metadata": metadata(f"pod-{number}"),
        "spec": {"containers": [container], "volumes": [volume]},
        "status": {
            "phase": "Running",
            "podIP": address,
            "containerStatuses": [{"containerID": f"c-{number}"}],
        },
    }


def model(number: int) -> dict[str, Any]:
    """Returns a Ready Model; the first two are those that the recorded backends serve."""
    name = ("tiny-llama", "tiny-llama:latest")[number] if number < 2 else f"model-{number}"
    return {
        "metadata": metadata(f"m{number}", finalizers=[labels.FINALIZER]),
        "spec": {
            "galleryName": GALLERY,
            "servedName": name,
            "source": {"uri": f"https://example.com/{number}.gguf"},
        },
        "status": {"servedName": name, "files": [], "observedGeneration": 1},
    }


@dataclass
class Objects:
    """The cache, and what would have been written to it."""

    models: int
    pods: int
    writes: int = 0
    wakes: int = 0
    calls: int = 0
    statuses: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cache = kinds.new_cache()
        spec = {"index": {"configMap": {"name": "i"}}, "storage": {"claimName": CLAIM}}
        self.cache.upsert(kinds.GALLERY, {"metadata": metadata(GALLERY), "spec": spec})
        for number in range(self.models):
            self.cache.upsert(kinds.MODEL, model(number))
        for number in range(self.pods):
            self.cache.upsert(kinds.POD, pod(number))

    def observer(self, monitor: Monitor) -> Observer:
        """Returns what the decisions look at."""
        return Observer(
            self.cache,
            SimpleNamespace(
                catalogue=lambda *_: None, digest=lambda *_: "", view=lambda *_: IndexView()
            ),  # type: ignore[arg-type]
            SimpleNamespace(progress=lambda _: None, planned=lambda _: None),  # type: ignore[arg-type]
            WorkerSettings(image="none"),
            SimpleNamespace(
                get=lambda *_: None, changed=lambda *_: None, room_made=lambda *_: None
            ),  # type: ignore[arg-type]
            monitor,
        )

    def reconcile(self, observer: Observer, key: Key) -> None:
        """Decides for a woken Model and counts what would be written."""
        self.wakes += 1
        observed = observer.model(key) if key.kind == kinds.MODEL else None
        if observed is None:
            return
        now = clock.now()
        status = decisions.status_after(observed, decisions.decide(observed, now, 0.5), now)
        text = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        if self.statuses.get(key.name) != text:
            self.writes += 1
            self.statuses[key.name] = text
            body = self.cache.get(kinds.MODEL, key.namespace, key.name)
            assert body is not None
            body["status"] = text


async def measure(objects: Objects, rounds: int) -> None:
    """Prints a line for the first look at all pods, and one for the rounds after it."""
    queue: dict[Key, None] = {}

    def called(*_: object) -> None:
        objects.calls += 1

    async def usage(_: str) -> dict[str, tuple[int, int]]:
        return {}

    hooks = Hooks(queue.setdefault, called, lambda *_: None, lambda *_: "")
    monitor = Monitor(objects.cache, hooks, usage)
    observer = objects.observer(monitor)
    this = psutil.Process()
    before = this.memory_info().rss
    cost = _Cost(objects)
    running = asyncio.create_task(monitor.run())

    async def work() -> None:
        while True:
            for key in list(queue):
                queue.pop(key)
                objects.reconcile(observer, key)
            await asyncio.sleep(0.05)

    working = asyncio.create_task(work())
    # The monitor has no word for having asked everybody once.
    while any(view.facts is None for _, view in monitor.views()) or not monitor.views():  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    cost.tell("the first look at all of them")
    live = sum(view.facts is not None and view.facts.live for _, view in monitor.views())
    print(
        f"live: {live} of {objects.pods}; RSS {before >> 20} MiB before,"
        f" {this.memory_info().rss >> 20} MiB now"
    )
    await asyncio.sleep(35)  # the first figures are written 30 s after the first look
    cost = _Cost(objects)
    await asyncio.sleep(rounds * 15.0)
    cost.tell(f"{rounds} rounds of 15 s with nothing changing", rounds)
    print(f"RSS {this.memory_info().rss >> 20} MiB at the end")
    for task in (running, working):
        task.cancel()
    await asyncio.gather(running, working, return_exceptions=True)


class _Cost:
    """What passed since it was made."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._began = time.perf_counter(), time.process_time()
        self._counted = objects.calls, objects.wakes, objects.writes

    def tell(self, what: str, rounds: int = 1) -> None:
        """Prints it."""
        seconds = time.perf_counter() - self._began[0]
        cpu = time.process_time() - self._began[1]
        now = self._objects.calls, self._objects.wakes, self._objects.writes
        calls, wakes, writes = (after - was for after, was in zip(now, self._counted, strict=True))
        print(
            f"{what}: {seconds:.1f} s, {cpu / rounds:.2f} CPU s each, {calls} requests,"
            f" {wakes} reconciliations, {writes} status writes",
            flush=True,
        )


def main() -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=2000)
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--profile", action="store_true", help="tell where the time went")
    wish = parser.parse_args()
    if os.geteuid() == 0 and not os.environ.get(INSIDE):
        command = 'ip link set lo up && exec "$@"'
        arguments = ["unshare", "--net", "sh", "-c", command, "sh", sys.executable]
        os.environ[INSIDE] = "1"
        os.execvp(  # noqa: S606 - there is no shell to fear in a list of arguments
            "unshare", [*arguments, "-m", "bench.monitor", *sys.argv[1:]]
        )
    program = str(Path(__file__).with_name("backendpods.py"))
    pods = subprocess.Popen(
        [sys.executable, program, str(PORT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert pods.stdin is not None
    assert pods.stdout is not None
    try:
        pods.stdout.readline()
        profile = cProfile.Profile()
        if wish.profile:
            profile.enable()
        asyncio.run(measure(Objects(wish.models, wish.pods), wish.rounds))
        if wish.profile:
            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)
    finally:
        pods.stdin.close()
        pods.wait(timeout=10)
    return 0


if __name__ == "__main__":
    sys.exit(main())
