"""Finds the deletions that the watch does not tell.

After a watch breaks with 410 Gone, kopf lists everything again; what was deleted in between is not in
that list, and nobody says so. A list is recognised by its events, which have no type. Some seconds after
one the metadata of all watched kinds is listed once, and what the cache has and the server has not is
reported. A kind of which nothing is left has no events, so all kinds are swept together, and once in an
hour in any case.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model_gallery.errors import GalleryError
from model_gallery.runtime.cache import Cache
from model_gallery.runtime.client import ApiClient
from model_gallery.runtime.resources import Resource

__all__ = ["Gone", "Sweeper"]

_LOG = logging.getLogger(__name__)
_DELAY = 30.0
"""Seconds: a list of 10,000 objects has been taken in by then."""
_PERIOD = 3600.0

Body = dict[str, Any]
Gone = Callable[[str, Body], None]
"""Told the kind and the last known slim object of what has vanished; must remove it from the cache."""


class Sweeper:
    """Sweeps after lists.

    Args:
        watched: the kinds in the cache, and where to list them.
        namespaces: as watched; empty for the whole cluster.
        label_selectors: as watched.
        delay: seconds between a list and its sweep.
        period: most seconds between two sweeps.
    """

    def __init__(
        self,
        client: ApiClient,
        cache: Cache,
        gone: Gone,
        *,
        watched: Mapping[str, Resource],
        namespaces: Sequence[str] = (),
        label_selectors: Mapping[Resource, str] | None = None,
        delay: float = _DELAY,
        period: float = _PERIOD,
    ) -> None:
        self._client, self._cache, self._gone = client, cache, gone
        self._watched = dict(watched)
        self._namespaces: list[str | None] = [*namespaces] or [None]
        self._selectors = dict(label_selectors or {})
        self._delay, self._period = delay, period
        self._listed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def noticed(self, _kind: str, event: Mapping[str, Any]) -> None:
        """Takes a raw event of the watch; one without a type is part of a list."""
        if event["type"] is not None:
            return
        self._listed.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="sweeper")

    async def close(self) -> None:
        """Ends a sweep that runs, and all later ones."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def sweep(self) -> None:
        """Lists all watched kinds and reports what has vanished.

        Raises:
            GalleryError: as `ApiClient.list` does.
        """
        for kind, resource in self._watched.items():
            await self._sweep_kind(kind, resource)

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._listed.wait(), self._period)
            await asyncio.sleep(self._delay)  # noqa: TID251 - lets the list be taken in first
            self._listed.clear()
            try:
                await self.sweep()
            except GalleryError as error:
                _LOG.warning("Failed to look for vanished objects", extra={"reason": error.reason})
                self._listed.set()

    async def _sweep_kind(self, kind: str, resource: Resource) -> None:
        # Taken before the list: what is in here and not in the list was deleted, not made since.
        before = self._cache.uids(kind)
        there = {
            item["metadata"]["uid"]
            for namespace in self._namespaces
            for item in await self._client.list(
                resource,
                namespace,
                label_selector=self._selectors.get(resource, ""),
                metadata_only=True,
            )
        }
        now = self._cache.uids(kind)
        for (namespace, name), uid in before.items():
            if uid not in there and now.get((namespace, name)) == uid:
                self._report(kind, namespace, name)

    def _report(self, kind: str, namespace: str, name: str) -> None:
        body = self._cache.get(kind, namespace, name)
        if body is not None:
            _LOG.info(
                "Noticed a deletion late",
                extra={"kind": kind, "namespace": namespace, "object": name},
            )
            self._gone(kind, body)
