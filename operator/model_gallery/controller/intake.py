"""From watch events to cache and keys. Synchronous and quick: nothing is decided here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from model_gallery.api import labels
from model_gallery.controller import kinds
from model_gallery.controller.follow import Follower
from model_gallery.controller.inventory import Inventories
from model_gallery.controller.observe import Observer
from model_gallery.controller.publish import Publisher
from model_gallery.controller.queued import Waiters
from model_gallery.controller.tally import Tally
from model_gallery.runtime.cache import Cache
from model_gallery.runtime.workqueue import Key, WorkQueue

__all__ = ["Intake"]

Body = dict[str, Any]

_CHANGING = frozenset({"install", "fetch", "repair", "remove", "evict"})
_LISTING_SECONDS = 6.0
"""Until a Gallery looks at its volume and shows its listing anew after a change."""

_WAKE_PER_FREE_PLACE = 2
"""Two are woken where one place is free, in case the first has been deleted meanwhile."""


class Watcher(Protocol):
    """Who watches the pods that serve."""

    def changed(self) -> None:
        """A pod or Gallery changed."""

    def hurry(self, namespace: str, gallery: str) -> None:
        """Somebody waits for a Gallery's pods."""

    def forget(self, uid: str) -> None:
        """A Model is gone."""


@dataclass(frozen=True, slots=True)
class Intake:
    """Takes what the API server tells."""

    cache: Cache
    queue: WorkQueue
    observer: Observer
    follower: Follower
    waiters: Waiters
    inventories: Inventories
    monitor: Watcher
    publisher: Publisher
    tally: Tally

    def take(self, kind: str, body: Body, *, gone: bool) -> None:
        """Takes the newest state of an object.

        Args:
            gone: whether the object no longer exists; `body` is then its last state.
        """
        metadata = body["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        before = self.cache.get(kind, namespace, name)
        if gone:
            if before is None or before["metadata"]["uid"] != metadata["uid"]:
                return
            self.cache.remove(kind, namespace, name)
            self.publisher.take(kind, body, gone=True)
        elif not self.cache.upsert(kind, body):
            return
        after = None if gone else self.cache.get(kind, namespace, name)
        if after is not None:
            self.publisher.take(kind, after, gone=False)
        self._tell(kind, before, after)

    def answered(self, kind: str, body: Body) -> None:
        """Takes the answer to a write of ours.

        It may be the first to tell of a deletion or a new wish that came before the write; their own
        events are then old news to the cache.
        """
        metadata = body["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        before = self.cache.get(kind, namespace, name)
        if not self.cache.upsert(kind, body):
            return
        after = self.cache.get(kind, namespace, name)
        if after is not None:
            self.publisher.take(kind, after, gone=False)
        if before is None or after is None or _wish(before) != _wish(after):
            self._tell(kind, before, after)

    def wake_models(self, namespace: str, gallery: str) -> None:
        """Has every Model of a Gallery looked at."""
        for model in self.cache.by_index(kinds.MODEL, "gallery", f"{namespace}/{gallery}"):
            self.queue.add(Key(kinds.MODEL, namespace, model["metadata"]["name"]))

    def _tell(self, kind: str, before: Body | None, after: Body | None) -> None:
        body = after or before
        if body is None:
            return
        match kind:
            case kinds.MODEL:
                self._model(body, gone=after is None)
            case kinds.GALLERY:
                self._gallery(before, after, body)
            case kinds.CLAIM:
                self._claim(before, after, body)
            case _:
                if kind == kinds.JOB:
                    self.tally.take(before, after)
                self._worker(kind, body, gone=after is None)

    def _model(self, body: Body, *, gone: bool) -> None:
        metadata = body["metadata"]
        key = Key(kinds.MODEL, metadata["namespace"], metadata["name"])
        self.queue.add(key)
        if gone:
            self.observer.forget(metadata["uid"])
            self.monitor.forget(metadata["uid"])
            self.waiters.forget(key)
        if gone or "deletionTimestamp" in metadata:
            self._wake_rivals(body)
        gallery = str((body.get("spec") or {}).get("galleryName", ""))
        if gone:
            # Until now it counted against the Gallery's quota, whatever its removal has done.
            self._made_room(metadata["namespace"], gallery)
        if "deletionTimestamp" in metadata and not gone:
            self.monitor.hurry(metadata["namespace"], gallery)
        self.queue.add_after(Key(kinds.GALLERY, metadata["namespace"], gallery), _LISTING_SECONDS)

    def _wake_rivals(self, body: Body) -> None:
        metadata = body["metadata"]
        gallery = (body.get("spec") or {}).get("galleryName", "")
        name = f"{metadata['namespace']}/{gallery}/{kinds.install_name(body)}"
        for rival in self.cache.by_index(kinds.MODEL, "name", name):
            self.queue.add(Key(kinds.MODEL, metadata["namespace"], rival["metadata"]["name"]))

    def _gallery(self, before: Body | None, after: Body | None, body: Body) -> None:
        metadata = body["metadata"]
        self.queue.add(Key(kinds.GALLERY, metadata["namespace"], metadata["name"]))
        if before is not None and after is not None and _quota(before) != _quota(after):
            self.inventories.note_room(metadata["namespace"], metadata["name"])
        if before is None or after is None or _wish(before) != _wish(after):
            self.wake_models(metadata["namespace"], metadata["name"])
            self.monitor.changed()

    def _claim(self, before: Body | None, after: Body | None, body: Body) -> None:
        metadata = body["metadata"]
        grown = before is not None and after is not None and _capacity(before) != _capacity(after)
        place = f"{metadata['namespace']}/{metadata['name']}"
        for model in self.cache.by_index(kinds.MODEL, "claim", place):
            self.queue.add(Key(kinds.MODEL, metadata["namespace"], model["metadata"]["name"]))
        for gallery in self.cache.by_index(kinds.GALLERY, "claim", place):
            name = gallery["metadata"]["name"]
            self.queue.add(Key(kinds.GALLERY, metadata["namespace"], name))
            if grown:
                self.inventories.note_room(metadata["namespace"], name)
            self.wake_models(metadata["namespace"], name)

    def _worker(self, kind: str, body: Body, *, gone: bool) -> None:
        metadata = body["metadata"]
        namespace, model = metadata["namespace"], kinds.worker_model(body)
        gallery = kinds.worker_gallery(body)
        if kind == kinds.POD and not gallery:
            self.monitor.changed()
            return
        if model:
            self.queue.add(Key(kinds.MODEL, namespace, model))
        elif gallery:
            self.queue.add(Key(kinds.GALLERY, namespace, gallery))
        if kind == kinds.POD:
            if gone:
                self.follower.forget(metadata["uid"])
            else:
                self.follower.consider(body)
                self.inventories.consider(body)
            return
        if gone or body["ended"]:
            if model:
                self._changed(namespace, gallery, body, gone=gone)
            for key in self.waiters.next(namespace, gallery, _WAKE_PER_FREE_PLACE):
                self.queue.add(key)

    def _changed(self, namespace: str, gallery: str, body: Body, *, gone: bool) -> None:
        """Has the volume looked at after a worker that may have changed it."""
        operation = body["metadata"]["labels"].get(labels.LABEL_OPERATION, "")
        if operation in _CHANGING and not gone:
            self.inventories.note_change(namespace, gallery)
            self.queue.add_after(Key(kinds.GALLERY, namespace, gallery), _LISTING_SECONDS)
        if operation == "remove" and not gone:
            self._made_room(namespace, gallery)

    def _made_room(self, namespace: str, gallery: str) -> None:
        self.inventories.note_room(namespace, gallery)
        for model in self.cache.by_index(kinds.MODEL, "starving", f"{namespace}/{gallery}"):
            self.queue.add(Key(kinds.MODEL, namespace, model["metadata"]["name"]))


def _quota(gallery: Body) -> Any:
    return ((gallery.get("spec") or {}).get("storage") or {}).get("maxBytes")


def _capacity(claim: Body) -> Any:
    return claim.get("capacity")


def _wish(body: Body) -> tuple[Any, Any, Any]:
    """Returns what others say of an object, as against what we write to it."""
    metadata = body["metadata"]
    return (
        metadata.get("generation"),
        metadata.get("deletionTimestamp"),
        metadata.get("annotations"),
    )
