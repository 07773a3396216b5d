"""What the last scan of each Gallery's volume found. Held in memory: the next scan finds it again.

A scan tells its inventory as lines of its log, since a termination message is too small for it. Nothing
that decides about files depends on it alone: a lost log costs the listing of loose files until the next
scan, and a damage is looked at by a verification or a repair before anything is fetched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from model_gallery.api import labels
from model_gallery.api.conditions import Reason
from model_gallery.controller import clock, kinds
from model_gallery.errors import GalleryError, TransientError
from model_gallery.protocol import report
from model_gallery.protocol.report import (
    MAX_LOOSE_FILES,
    InventoryLine,
    LooseFile,
    ModelInventory,
    ResultLine,
)
from model_gallery.reconcile import times
from model_gallery.reconcile.manifests.job import CONTAINER
from model_gallery.runtime import tasks
from model_gallery.runtime.client import ApiClient
from model_gallery.runtime.workqueue import Key

__all__ = ["Inventories", "Inventory"]

_LOG = logging.getLogger(__name__)

Body = dict[str, Any]
Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Inventory:
    """One scan.

    Attributes:
        begun: when the scan's Job was created.
        models: by uid.
        loose: the first `MAX_LOOSE_FILES` files that no receipt names.
    """

    begun: datetime
    models: dict[str, ModelInventory] = field(default_factory=dict)
    loose: tuple[LooseFile, ...] = ()


class Inventories:
    """The newest inventory by Gallery, and when each volume last changed.

    Args:
        wake: called with the keys of the Gallery and of Models with problems.
    """

    def __init__(self, client: ApiClient, wake: Callable[[Key], None]) -> None:
        self._client = client
        self._wake = wake
        self._known: dict[Place, Inventory] = {}
        self._changed: dict[Place, datetime] = {}
        self._room: dict[Place, datetime] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._read: set[str] = set()

    def get(self, namespace: str, gallery: str) -> Inventory | None:
        """Returns the newest inventory of a Gallery; None before its first scan."""
        return self._known.get((namespace, gallery))

    def changed(self, namespace: str, gallery: str) -> datetime | None:
        """Returns when a worker last ended that may have changed the volume; None: none did."""
        return self._changed.get((namespace, gallery))

    def note_change(self, namespace: str, gallery: str) -> None:
        """Remembers that a worker ended that may have changed the volume."""
        self._changed[namespace, gallery] = clock.now()

    def room_made(self, namespace: str, gallery: str) -> datetime | None:
        """Returns when a worker last ended that removed a Model's files; None: none did."""
        return self._room.get((namespace, gallery))

    def note_room(self, namespace: str, gallery: str) -> None:
        """Remembers that a worker ended that removed a Model's files."""
        self._room[namespace, gallery] = clock.now()

    def forget(self, namespace: str, gallery: str) -> None:
        """Drops what is held of a Gallery that is gone."""
        self._known.pop((namespace, gallery), None)
        self._changed.pop((namespace, gallery), None)
        self._room.pop((namespace, gallery), None)

    def consider(self, pod: Body) -> None:
        """Reads what a scan has told, once its pod has ended well."""
        metadata = pod["metadata"]
        uid, ended = metadata["uid"], pod["state"].get("terminated") or {}
        is_scan = metadata["labels"].get(labels.LABEL_OPERATION) == "scan"
        if not is_scan or not ended or ended.get("exitCode") or uid in self._read:
            return
        self._read.add(uid)
        task = asyncio.create_task(self._take(pod), name=f"inventory {metadata['name']}")
        self._tasks[uid] = task
        task.add_done_callback(lambda _: self._tasks.pop(uid, None))

    async def close(self) -> None:
        """Ends all reading."""
        await tasks.end(self._tasks.values())

    async def _take(self, pod: Body) -> None:
        metadata = pod["metadata"]
        namespace, gallery = metadata["namespace"], kinds.worker_gallery(pod)
        begun = times.from_text(metadata["creationTimestamp"])
        if self._is_old(namespace, gallery, begun):
            return
        try:
            found = await self._collect(namespace, metadata["name"], begun)
        except GalleryError as error:
            _LOG.info(
                "Lost the inventory of a scan",
                extra={"namespace": namespace, "gallery": gallery, "reason": error.reason},
            )
            return
        if self._is_old(namespace, gallery, begun):
            # A newer one was read meanwhile.
            return
        self._known[namespace, gallery] = found
        self._wake(Key(kinds.GALLERY, namespace, gallery))
        for model in found.models.values():
            if model.problems_total:
                self._wake(Key(kinds.MODEL, model.namespace, model.name))

    def _is_old(self, namespace: str, gallery: str, begun: datetime) -> bool:
        known = self._known.get((namespace, gallery))
        return known is not None and known.begun >= begun

    async def _collect(self, namespace: str, pod: str, begun: datetime) -> Inventory:
        models: dict[str, ModelInventory] = {}
        loose: list[LooseFile] = []
        whole = False
        async for text in self._client.follow_log(namespace, pod, container=CONTAINER):
            line = report.parse_line(text)
            if isinstance(line, InventoryLine):
                models |= {model.uid: model for model in line.models}
                loose += line.loose[: MAX_LOOSE_FILES - len(loose)]
            whole = whole or isinstance(line, ResultLine)
        if not whole:
            # What was not told would count as gone.
            raise TransientError(Reason.INTERRUPTED, "the log ends before the scan's result")
        return Inventory(begun, models, tuple(loose))
