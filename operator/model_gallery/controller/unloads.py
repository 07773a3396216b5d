"""What an unload means for people: an event on the Model, a line in the log, a count."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from model_gallery.api.conditions import Reason
from model_gallery.protocol.backend import UnloadOutcome, UnloadResult
from model_gallery.reconcile.serving import Unload
from model_gallery.runtime.recorder import Recorder
from model_gallery.telemetry.metrics import Metrics

__all__ = ["Unloads"]

_LOG = logging.getLogger(__name__)
_SILENT = frozenset({UnloadOutcome.NOT_LOADED, UnloadOutcome.BUSY})
"""What is told by the next look anyway, and would come at each look."""


@dataclass(frozen=True, slots=True)
class Unloads:
    """Tells of unloads."""

    recorder: Recorder
    metrics: Metrics

    def __call__(self, body: dict[str, Any], wish: Unload, result: UnloadResult) -> None:
        """Takes one wish and what came of it."""
        self.metrics.unloaded(wish.reason, result.outcome.value)
        if result.outcome in _SILENT:
            return
        done = result.outcome is UnloadOutcome.DONE
        unsupported = result.outcome is UnloadOutcome.UNSUPPORTED
        reason = Reason.UNLOAD_UNSUPPORTED.value if unsupported else "UnloadFailed"
        message = f"{wish.reason}: {wish.model} in pod {wish.pod}"
        if result.message:
            message += f": {result.message}"
        self.recorder.event(
            body, "Normal" if done else "Warning", "Unloaded" if done else reason, message
        )
        metadata = body["metadata"]
        _LOG.info(
            "Unloaded a model" if done else "Failed to unload a model",
            extra={
                "namespace": metadata["namespace"],
                "object": metadata["name"],
                "uid": metadata["uid"],
                "pod": wish.pod,
                "reason": wish.reason,
                "result": result.outcome.value,
            },
        )
