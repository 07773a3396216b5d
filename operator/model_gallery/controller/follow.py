"""Follows the logs of running workers for their progress. Nothing that decides depends on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from model_gallery.api import labels
from model_gallery.controller import clock, kinds
from model_gallery.errors import GalleryError
from model_gallery.protocol import report
from model_gallery.reconcile.manifests.job import CONTAINER
from model_gallery.runtime import tasks
from model_gallery.runtime.client import ApiClient
from model_gallery.runtime.workqueue import Key

__all__ = ["Follower"]

_LOG = logging.getLogger(__name__)
_MAX_STREAMS = 64
_FIRST_WORD = timedelta(seconds=2)
_WORD_PERIOD = timedelta(seconds=10)

Body = dict[str, Any]
Progress = tuple[report.ProgressLine, datetime]


class Follower:
    """One log stream for each running worker pod, at most `_MAX_STREAMS`.

    Args:
        wake: called with a Model's key when its progress is worth a status write.
    """

    def __init__(self, client: ApiClient, wake: Callable[[Key], None]) -> None:
        self._client = client
        self._wake = wake
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._progress: dict[str, tuple[Key, Progress]] = {}
        self._planned: dict[str, int] = {}

    def progress(self, model_uid: str) -> Progress | None:
        """Returns the newest progress of a Model's running worker, and when it came."""
        known = self._progress.get(model_uid)
        return known[1] if known else None

    def planned(self, pod_uid: str) -> int | None:
        """Returns the bytes that a worker's files will have; None while that is not known."""
        return self._planned.get(pod_uid)

    def forget(self, pod_uid: str) -> None:
        """Drops what a pod that is gone has planned."""
        self._planned.pop(pod_uid, None)

    def running(self) -> Iterator[tuple[str, str, report.ProgressLine]]:
        """Returns namespace, name and newest progress of each Model with a running worker."""
        for key, (line, _) in list(self._progress.values()):
            yield key.namespace, key.name, line

    def consider(self, pod: Body) -> None:
        """Starts to follow a pod that runs, and forgets one that has ended."""
        uid = pod["metadata"]["uid"]
        if not kinds.worker_model(pod):
            return
        if "running" not in pod["state"]:
            if "terminated" in pod["state"]:
                self._progress.pop(_model_uid(pod), None)
            return
        if uid in self._tasks or len(self._tasks) >= _MAX_STREAMS:
            return
        task = asyncio.create_task(self._follow(pod), name=f"follow {pod['metadata']['name']}")
        self._tasks[uid] = task
        task.add_done_callback(lambda _: self._tasks.pop(uid, None))

    async def close(self) -> None:
        """Ends all streams."""
        await tasks.end(self._tasks.values())

    async def _follow(self, pod: Body) -> None:
        metadata = pod["metadata"]
        key = Key(kinds.MODEL, metadata["namespace"], kinds.worker_model(pod))
        next_word = clock.now() + _FIRST_WORD
        try:
            lines = self._client.follow_log(
                metadata["namespace"], metadata["name"], container=CONTAINER
            )
            async for text in lines:
                line = report.parse_line(text)
                if isinstance(line, report.PlanLine):
                    self._plan(metadata["uid"], line)
                if not isinstance(line, report.ProgressLine):
                    continue
                now = clock.now()
                self._progress[_model_uid(pod)] = (key, (line, now))
                if now >= next_word:
                    next_word = now + _WORD_PERIOD
                    self._wake(key)
        except GalleryError as error:
            _LOG.debug("Lost the log of a worker", extra={"reason": error.reason, **_names(pod)})

    def _plan(self, pod_uid: str, line: report.PlanLine) -> None:
        if line.total_bytes is not None:
            self._planned[pod_uid] = line.total_bytes + line.reused_bytes


def _model_uid(pod: Body) -> str:
    return str(pod["metadata"]["labels"].get(labels.LABEL_MODEL_UID, ""))


def _names(pod: Body) -> dict[str, str]:
    return {"namespace": pod["metadata"]["namespace"], "pod": pod["metadata"]["name"]}
