"""Metrics that have a value each, and the Model and the Gallery that give them theirs."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from model_gallery.controller import figures
from model_gallery.telemetry.metrics import Metrics
from model_gallery.telemetry.server import Server
from model_gallery.telemetry.state import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GALLERY", "MODEL", "filled", "serving"]

_PROGRESS = Value("model_gallery_model_download_progress_ratio", (), 0.25)

MODEL: dict[str, Any] = {
    "metadata": {"namespace": "ns", "name": "m"},
    "spec": {"galleryName": "g", "verifyPeriodSeconds": 600},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "model": {"format": "GGUF", "architecture": "llama", "quantisation": "Q4_K_M"},
        "resolved": {"revision": "abc"},
        "sizeBytes": 42,
        "filesTotal": 2,
        "attempts": 3,
        "installedTime": "2026-01-01T00:00:00Z",
        "checkedTime": "2026-01-01T00:00:10Z",
        "damage": {"total": 1},
        "updateAvailable": {"revision": "def"},
        "serving": {
            "state": "Busy",
            "pods": [
                {"name": "p", "state": "Busy", "running": 2, "waiting": 1},
                {"name": "q", "state": "Busy", "running": 1},
            ],
            "memoryBytes": 7,
            "vramBytes": 8,
            "cpuMilli": 1500,
            "lastUsedTime": "2026-01-01T00:00:20Z",
        },
    },
}
GALLERY: dict[str, Any] = {
    "metadata": {"namespace": "ns", "name": "g"},
    "status": {
        "conditions": [{"type": "IndexReady", "status": "False"}],
        "index": {"entries": 9, "problemsTotal": 2, "fetchedTime": "2026-01-01T00:00:00Z"},
        "storage": {
            "capacityBytes": 100,
            "availableBytes": 60,
            "managedBytes": 30,
            "looseBytes": 5,
            "reclaimableBytes": 4,
            "scannedTime": "2026-01-01T00:00:30Z",
        },
        "listing": {"configured": 3, "loose": 1},
        "backends": [{"name": "real", "pods": 4, "ready": 3, "busy": 2, "loaded": 6}],
    },
}


def filled() -> Metrics:
    """Returns metrics in which everything has been counted, measured and set."""
    made = Metrics(version="1.2.3")
    made.state.put("Model", "ns", "m", figures.of_model(MODEL))
    made.state.put("Gallery", "ns", "g", figures.of_gallery(GALLERY))
    made.state.moving = lambda: [("ns", "m", (_PROGRESS,))]
    made.watch_queue(lambda: 5)
    made.reconciled("Model", "success", 0.25)
    made.reconciled("Model", "error", 0.5)
    made.api_call("get", "models", 200, 0.5)
    made.api_call("get", "models", 200, 3.0)
    made.backend_call("GET", "/slots", "timeout", 5.0)
    made.http_call("GET", "/v1/models", 404, 0.01)
    made.unloaded("Idle", "Done")
    made.worker_ended("install", "Succeeded", 90.0)
    made.fetched(123456789)
    made.damaged(2)
    return made


@contextmanager
def serving(metrics: Metrics | None = None) -> Iterator[str]:
    """Serves them as the operator does, in a thread; yields host and port."""
    loop = asyncio.new_event_loop()
    server = Server(metrics or filled(), ready=lambda: True, models=lambda _: {})
    port = loop.run_until_complete(server.start("127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(server.close())
        loop.close()
