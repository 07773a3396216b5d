"""A Model and a Gallery whose statuses give a value to every metric that follows an object."""

from __future__ import annotations

from typing import Any

__all__ = ["GALLERY", "MODEL"]

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
