"""Events on objects: for people, never for decisions. Recording waits for nothing and never fails.

The same event of the same object is sent once in ten minutes: the memory of what was sent is bounded, and
the names are made of the content, so that a second process or a restart does not say it again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from model_gallery.api import labels
from model_gallery.artifact import digest
from model_gallery.errors import GalleryError
from model_gallery.runtime.client import ApiClient
from model_gallery.runtime.resources import EVENTS

__all__ = ["Recorder"]

_LOG = logging.getLogger(__name__)
_WINDOW = 600.0
"""Seconds in which an event is not repeated."""
_REMEMBERED = 4096
_QUEUED = 512
_LONGEST_NOTE, _LONGEST_INSTANCE, _LONGEST_NAME = 1024, 128, 200
"""The API server's limits; of 253 characters of a name some are left for the digest."""

Body = dict[str, Any]
_Identity = tuple[str, str, str]


class Recorder:
    """Sends events from a queue of its own.

    Args:
        component: this process, as `reportingInstance`; usually the pod's name.
        clock: seconds since the epoch.

    Attributes:
        dropped: events that found the queue full.
    """

    def __init__(
        self, client: ApiClient, component: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._client = client
        self._instance = component[:_LONGEST_INSTANCE]
        self._clock = clock
        self._queue: deque[Body] = deque(maxlen=_QUEUED)
        self._filled = asyncio.Event()
        self._sent: OrderedDict[_Identity, float] = OrderedDict()
        self._closing = False
        self.dropped = 0

    def event(
        self,
        regarding: Body,
        type_: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        action: str = "Reconcile",
    ) -> None:
        """Records an event, unless the same was recorded within the last ten minutes.

        Args:
            regarding: the object, at least with apiVersion, kind and metadata.
            reason: CamelCase, usually that of the condition that changed.
            message: one sentence.
        """
        identity = (str(regarding["metadata"]["uid"]), str(reason), message)
        now = self._clock()
        if self._is_repeated(identity, now):
            return
        if len(self._queue) == _QUEUED:
            self.dropped += 1
        self._queue.append(self._manifest(regarding, type_, identity, action, now))
        self._filled.set()

    async def run(self) -> None:
        """Sends what is recorded, one after the other, until closed or cancelled."""
        while self._queue or not self._closing:
            if not self._queue:
                self._filled.clear()
                await self._filled.wait()
                continue
            await self._send(self._queue.popleft())

    async def close(self) -> None:
        """Lets `run` end once the queue is empty."""
        self._closing = True
        self._filled.set()

    def _is_repeated(self, identity: _Identity, now: float) -> bool:
        if now - self._sent.get(identity, float("-inf")) < _WINDOW:
            return True
        self._sent[identity] = now
        self._sent.move_to_end(identity)
        if len(self._sent) > _REMEMBERED:
            self._sent.popitem(last=False)
        return False

    def _manifest(
        self, regarding: Body, type_: str, identity: _Identity, action: str, now: float
    ) -> Body:
        metadata = regarding["metadata"]
        _, reason, message = identity
        # The number of the window makes the name the same for a restart, and new when it may be repeated.
        name_digest = digest.short(digest.sha256_of_value([*identity, int(now // _WINDOW)]))
        when = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "metadata": {
                "name": f"{metadata['name'][:_LONGEST_NAME].rstrip('-.')}.{name_digest}",
                "namespace": metadata.get("namespace") or "default",
            },
            "eventTime": when,
            "reportingController": labels.MANAGED_BY,
            "reportingInstance": self._instance,
            "action": action,
            "reason": reason,
            "type": type_,
            "note": message[:_LONGEST_NOTE],
            "regarding": _reference(regarding),
        }

    async def _send(self, event: Body) -> None:
        try:
            await self._client.create(EVENTS, event)
        except GalleryError as error:
            # 409 among them: another process has said the same. An event is worth no second try.
            _LOG.debug("Failed to record an event", extra={"error": error.message})


def _reference(regarding: Body) -> Body:
    metadata = regarding["metadata"]
    reference = {
        "apiVersion": regarding["apiVersion"],
        "kind": regarding["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
    }
    if metadata.get("namespace"):
        reference["namespace"] = metadata["namespace"]
    return reference
