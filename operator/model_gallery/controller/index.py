"""The indexes of all Galleries: what is loaded, what is being fetched, what is due.

A fetch runs in a thread (it waits for the network, then parses) and replaces the loaded value at once,
so a reader never sees half an index. The last good one is kept in ConfigMaps beside the Gallery
(`controller/copies.py`): neither a restart nor a dead upstream loses it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from model_gallery.api.v1alpha1.gallery import GallerySpec
from model_gallery.artifact.digest import sha256_of_value
from model_gallery.controller import clock, kinds
from model_gallery.controller.copies import Copies
from model_gallery.controller.fetch import Fetcher, Loaded
from model_gallery.errors import GalleryError
from model_gallery.reconcile.observed import IndexView, Meta
from model_gallery.reconcile.resolution import Catalogue
from model_gallery.runtime import tasks
from model_gallery.runtime.workqueue import Key

__all__ = ["IndexStore"]

_LOG = logging.getLogger(__name__)
_FIRST_RETRY = timedelta(seconds=2)
_LAST_RETRY = timedelta(seconds=60)
_CONFIG_MAP_PERIOD = timedelta(seconds=30)
"""ConfigMaps are polled, since watching them would need rights on all of a namespace's."""
_CONCURRENT_FETCHES = 2

Place = tuple[str, str]


@dataclass(slots=True)
class _State:
    """What is known of one Gallery's index.

    Attributes:
        wish: fingerprint of the spec that the last fetch was for.
        asked: the reconcile-requested-at value that the last fetch was for.
        failures: fetches in a row that failed.
    """

    uid: str
    loaded: Loaded | None = None
    error: GalleryError | None = None
    due: datetime | None = None
    wish: str = ""
    asked: str = ""
    failures: int = 0
    task: asyncio.Task[None] | None = None


class IndexStore:
    """Holds the indexes, by Gallery.

    Args:
        wake: called with the Gallery's key when a fetch has ended.
        wake_models: called with namespace and name of a Gallery whose index is another now.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        copies: Copies,
        wake: Callable[[Key], None],
        wake_models: Callable[[str, str], None],
    ) -> None:
        self._fetcher = fetcher
        self._copies = copies
        self._wake = wake
        self._wake_models = wake_models
        self._states: dict[Place, _State] = {}
        self._slots = asyncio.Semaphore(_CONCURRENT_FETCHES)

    def catalogue(self, namespace: str, name: str) -> Catalogue | None:
        """Returns the loaded index of a Gallery with its base configurations."""
        state = self._states.get((namespace, name))
        return state.loaded.catalogue if state and state.loaded else None

    def digest(self, namespace: str, name: str) -> str:
        """Returns the digest of the loaded index; empty without one."""
        state = self._states.get((namespace, name))
        return state.loaded.status.digest if state and state.loaded else ""

    def view(self, meta: Meta, spec: GallerySpec | None) -> IndexView:
        """Returns what a decision about the Gallery may know of its index."""
        state = self._states.get((meta.namespace, meta.name))
        if state is None or spec is None:
            return IndexView()
        wish = fingerprint(spec)
        loaded = state.loaded
        current = state.wish == wish and state.asked == meta.reconcile_at
        return IndexView(
            status=loaded.status if loaded else None,
            fresh=loaded is not None and loaded.wish == wish,
            loading=state.task is not None,
            error=state.error if state.wish == wish else None,
            due=state.due if current else None,
        )

    async def restore(self, meta: Meta, spec: GallerySpec) -> None:
        """Loads the last good copy, so that a restart begins where the last run ended."""
        state = self._state(meta)
        if state.loaded is None:
            state.loaded = await self._copies.read(meta.namespace, meta.name)
        if state.loaded is not None and state.loaded.wish == fingerprint(spec):
            state.wish = state.loaded.wish
            state.asked = meta.reconcile_at
            state.due = clock.now() + timedelta(seconds=1)

    def load(self, meta: Meta, spec: GallerySpec) -> None:
        """Starts a fetch in the background, unless one is under way."""
        state = self._state(meta)
        if state.task is not None:
            return
        state.wish, state.asked = fingerprint(spec), meta.reconcile_at
        state.task = asyncio.create_task(
            self._load(state, meta, spec), name=f"index {meta.namespace}/{meta.name}"
        )

    def forget(self, namespace: str, name: str) -> None:
        """Drops what is held of a Gallery that is gone."""
        state = self._states.pop((namespace, name), None)
        if state is not None and state.task is not None:
            state.task.cancel()

    async def close(self) -> None:
        """Ends the fetches under way."""
        await tasks.end(state.task for state in self._states.values() if state.task is not None)

    def _state(self, meta: Meta) -> _State:
        place = (meta.namespace, meta.name)
        state = self._states.get(place)
        if state is None or state.uid != meta.uid:
            state = self._states[place] = _State(meta.uid)
        return state

    async def _load(self, state: _State, meta: Meta, spec: GallerySpec) -> None:
        names = {"namespace": meta.namespace, "gallery": meta.name}
        try:
            async with self._slots:
                await self._load_once(state, meta, spec)
        except GalleryError as error:
            state.error = error
            state.due = clock.now() + min(_FIRST_RETRY * (1 << min(state.failures, 6)), _LAST_RETRY)
            state.failures += 1
            _LOG.warning("Failed to load the index", extra={"reason": error.reason, **names})
        finally:
            state.task = None
            self._wake(Key(kinds.GALLERY, meta.namespace, meta.name))

    async def _load_once(self, state: _State, meta: Meta, spec: GallerySpec) -> None:
        if state.loaded is None:
            state.loaded = await self._copies.read(meta.namespace, meta.name)
        loaded = await self._fetcher.fetch(meta.namespace, spec, state.wish, state.loaded)
        changed = state.loaded is None or loaded.revision != state.loaded.revision
        if changed:
            await self._copies.write(meta, loaded)
            _LOG.info(
                "Loaded the index",
                extra={
                    "namespace": meta.namespace,
                    "gallery": meta.name,
                    "entries": loaded.status.entries,
                },
            )
        state.loaded, state.error, state.failures = loaded, None, 0
        if changed:
            self._wake_models(meta.namespace, meta.name)
        state.due = clock.now() + _period(spec)


def fingerprint(spec: GallerySpec) -> str:
    """Returns the digest of what an index depends on: its source and the rewrites."""
    return sha256_of_value(
        {
            "index": spec.index.model_dump(mode="json", exclude={"refresh_period_seconds"}),
            "rewrites": [rewrite.model_dump() for rewrite in spec.rewrites],
        }
    )


def _period(spec: GallerySpec) -> timedelta:
    period = timedelta(seconds=spec.index.refresh_period_seconds)
    return min(period, _CONFIG_MAP_PERIOD) if spec.index.config_map is not None else period
