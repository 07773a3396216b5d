"""Keeps the metrics at the height of the cache: each object's values are made anew when it changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from model_gallery.controller import figures, kinds
from model_gallery.controller.follow import Follower
from model_gallery.telemetry.state import State, Value

__all__ = ["Moving", "Publisher"]

Body = dict[str, Any]
_OF = {kinds.MODEL: figures.of_model, kinds.GALLERY: figures.of_gallery}


@dataclass(frozen=True, slots=True)
class Publisher:
    """Takes every change of an object of ours."""

    state: State

    def take(self, kind: str, body: Body, *, gone: bool) -> None:
        """Takes the newest state of an object; of other kinds nothing is told."""
        of = _OF.get(kind)
        if of is None:
            return
        metadata = body["metadata"]
        if gone:
            self.state.drop(kind, metadata["namespace"], metadata["name"])
        else:
            self.state.put(kind, metadata["namespace"], metadata["name"], of(body))


@dataclass(frozen=True, slots=True)
class Moving:
    """The values that move without a change of an object: transfers under way."""

    follower: Follower

    def __call__(self) -> Iterator[tuple[str, str, tuple[Value, ...]]]:
        """Returns namespace, name and values of each Model with a running transfer."""
        for namespace, name, line in self.follower.running():
            if line.total_bytes:
                ratio = min(1.0, line.completed_bytes / line.total_bytes)
                metric = "model_gallery_model_download_progress_ratio"
                yield namespace, name, (Value(metric, (), ratio),)
