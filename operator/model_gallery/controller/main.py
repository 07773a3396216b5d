"""The operator process: builds every part by hand and hands it on; no globals.

Order of start: API client, cache filled by own lists, last good indexes, reconcilers, watches. Order of
stop: no new keys, those in flight end, events, watches, log streams, servers, client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from model_gallery import __version__
from model_gallery.api import labels
from model_gallery.controller import handlers, kinds, settings
from model_gallery.controller.apply import Applier
from model_gallery.controller.copies import Copies
from model_gallery.controller.fetch import Fetcher
from model_gallery.controller.follow import Follower
from model_gallery.controller.gallery import GalleryReconciler
from model_gallery.controller.index import IndexStore
from model_gallery.controller.intake import Intake
from model_gallery.controller.inventory import Inventories
from model_gallery.controller.keys import Keys
from model_gallery.controller.model import ModelReconciler
from model_gallery.controller.monitoring import Hooks, Monitor
from model_gallery.controller.observe import Observer
from model_gallery.controller.offers import Offers
from model_gallery.controller.publish import Moving, Publisher
from model_gallery.controller.queued import Waiters
from model_gallery.controller.tally import Tally
from model_gallery.controller.unloads import Unloads
from model_gallery.controller.usage import Usage
from model_gallery.errors import GalleryError
from model_gallery.runtime import watch
from model_gallery.runtime.cache import Cache
from model_gallery.runtime.client import ApiClient
from model_gallery.runtime.recorder import Recorder
from model_gallery.runtime.resources import JOBS, PODS, Resource
from model_gallery.runtime.workqueue import Key, WorkQueue
from model_gallery.telemetry import logs
from model_gallery.telemetry.metrics import Metrics
from model_gallery.telemetry.server import Server

__all__ = ["main"]

_LOG = logging.getLogger(__name__)
_ENDED_AT_ONCE = 130
_EVENTS_SECONDS = 2.0
"""How long a stop waits for events that are not sent yet; they are for people, and worth no more."""


def _selectors(wish: settings.Settings) -> dict[Resource, str]:
    """Returns what is asked of the server: all pods only where those that serve are watched."""
    jobs = {JOBS: labels.WORKER_SELECTOR}
    return jobs if wish.monitor else {**jobs, PODS: labels.WORKER_SELECTOR}


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the process consists of, built once."""

    client: ApiClient
    cache: Cache
    queue: WorkQueue
    recorder: Recorder
    follower: Follower
    indexes: IndexStore
    inventories: Inventories
    observer: Observer
    intake: Intake
    metrics: Metrics
    monitor: Monitor
    applier: Applier


def main() -> int:
    """Runs the operator until SIGTERM or SIGINT; returns the exit code."""
    try:
        wish = settings.from_environment(os.environ)
    except GalleryError as error:
        sys.stderr.write(f"model-gallery operator: {error.message}\n")
        return 2
    logs.configure(wish.log_level, json=wish.log_json)
    return asyncio.run(_run(wish))


async def _run(wish: settings.Settings) -> int:
    _LOG.info("Started", extra={"version": __version__, "namespaces": list(wish.namespaces)})
    stop, ready = asyncio.Event(), asyncio.Event()
    _stop_on_signals(stop)
    parts = _build(wish)
    server = Server(parts.metrics, ready=ready.is_set, models=Offers(parts.observer).models)
    await server.start(wish.host, wish.port)
    try:
        await _work(wish, parts, stop, ready)
    except GalleryError as error:
        _LOG.error("Ended by an error", extra={"reason": error.reason, "error": error.message})
        return 1
    finally:
        await parts.follower.close()
        await parts.inventories.close()
        await parts.indexes.close()
        await server.close()
        await parts.client.close()
    _LOG.info("Ended")
    return 0


def _stop_on_signals(stop: asyncio.Event) -> None:
    """The first signal asks for an orderly end, the second ends at once."""
    loop = asyncio.get_running_loop()

    def stop_or_end() -> None:
        if stop.is_set():
            os._exit(_ENDED_AT_ONCE)
        _LOG.info("Stopping")
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_or_end)


def _build(wish: settings.Settings) -> _Parts:
    """Builds the parts; a lambda stands where two parts need each other."""
    metrics = Metrics(version=__version__)
    client = ApiClient(on_call=metrics.api_call)
    cache = kinds.new_cache()
    queue = WorkQueue(
        lambda key: _reconcile(reconcilers, key),
        workers=wish.reconcilers,
        on_result=metrics.reconciled,
    )
    recorder = Recorder(client, wish.name)
    follower = Follower(client, queue.add)
    indexes = IndexStore(
        Fetcher(
            client, wish.worker.network, Path(wish.proxy_folder) if wish.proxy_folder else None
        ),
        Copies(client),
        queue.add,
        lambda namespace, gallery: intake.wake_models(namespace, gallery),  # noqa: PLW0108
    )
    inventories = Inventories(client, queue.add)
    hooks = Hooks(
        queue.add, metrics.backend_call, Unloads(recorder, metrics), Keys(wish.backend_keys)
    )
    monitor = Monitor(cache, hooks, Usage(client).of, wish.worker.network.allowed_networks)
    observer = Observer(cache, indexes, follower, wish.worker, inventories, monitor)
    waiters = Waiters()
    intake = Intake(
        cache,
        queue,
        observer,
        follower,
        waiters,
        inventories,
        monitor,
        Publisher(metrics.state),
        Tally(cache, metrics),
    )
    applier = Applier(
        client, cache, intake.answered, lambda kind, body: intake.take(kind, body, gone=True)
    )
    reconcilers = _Reconcilers(
        ModelReconciler(observer, applier, recorder, waiters, queue.add),
        GalleryReconciler(observer, applier, recorder, indexes, inventories),
    )
    metrics.watch_queue(queue.depth)
    metrics.state.moving = Moving(follower)
    return _Parts(
        client,
        cache,
        queue,
        recorder,
        follower,
        indexes,
        inventories,
        observer,
        intake,
        metrics,
        monitor,
        applier,
    )


@dataclass(frozen=True, slots=True)
class _Reconcilers:
    model: ModelReconciler
    gallery: GalleryReconciler


async def _reconcile(reconcilers: _Reconcilers, key: Key) -> float | None:
    if key.kind == kinds.MODEL:
        return await reconcilers.model.reconcile(key)
    return await reconcilers.gallery.reconcile(key)


async def _work(
    wish: settings.Settings, parts: _Parts, stop: asyncio.Event, ready: asyncio.Event
) -> None:
    """Fills the cache, reconciles and watches until told to stop or until the watch ends."""
    selectors = _selectors(wish)
    await _fill(parts, wish.namespaces, selectors)
    sweeper = watch.Sweeper(
        parts.client,
        parts.cache,
        lambda kind, body: parts.intake.take(kind, body, gone=True),
        watched=dict(handlers.WATCHED),
        namespaces=wish.namespaces,
        label_selectors=selectors,
    )
    registry = handlers.registry(parts.intake, sweeper.noticed)
    stop_watching = asyncio.Event()
    reconciling = asyncio.create_task(parts.queue.run(), name="workqueue")
    recording = asyncio.create_task(parts.recorder.run(), name="recorder")
    monitoring = asyncio.create_task(
        parts.monitor.run() if wish.monitor else stop.wait(), name="monitor"
    )
    watching = asyncio.create_task(
        watch.run(
            registry,
            namespaces=wish.namespaces,
            stop=stop_watching,
            ready=ready,
            label_selectors=selectors,
        ),
        name="watch",
    )
    stopping = asyncio.create_task(stop.wait(), name="stop")
    try:
        done, _ = await asyncio.wait(
            {watching, stopping, reconciling, monitoring}, return_when=asyncio.FIRST_COMPLETED
        )
        ready.clear()
        await parts.queue.drain(wish.drain_seconds)
        for task in done - {stopping}:
            task.result()
    finally:
        stop_watching.set()
        await parts.recorder.close()
        await asyncio.wait({recording}, timeout=_EVENTS_SECONDS)
        await sweeper.close()
        for task in (stopping, reconciling, recording, monitoring):
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(
                watching, stopping, reconciling, recording, monitoring, return_exceptions=True
            )


async def _fill(parts: _Parts, namespaces: tuple[str, ...], selectors: dict[Resource, str]) -> None:
    """Lists all watched kinds before the first decision: what is not known must not be made twice."""
    for kind, resource in handlers.WATCHED:
        selector = selectors.get(resource, "")
        for namespace in namespaces or (None,):
            for body in await parts.client.list(resource, namespace, label_selector=selector):
                parts.cache.upsert(kind, body)
                parts.intake.publisher.take(kind, body, gone=False)
    for namespace, name in parts.cache.keys(kinds.GALLERY):
        await _restore(parts, namespace, name)
    for kind in (kinds.GALLERY, kinds.MODEL):
        for namespace, name in parts.cache.keys(kind):
            parts.queue.add(Key(kind, namespace, name))
    for namespace, name in parts.cache.keys(kinds.POD):
        pod = parts.cache.get(kinds.POD, namespace, name)
        if pod is not None:
            parts.follower.consider(pod)
            parts.inventories.consider(pod)


async def _restore(parts: _Parts, namespace: str, name: str) -> None:
    observed = parts.observer.gallery(Key(kinds.GALLERY, namespace, name))
    if observed is not None and observed.spec is not None:
        await parts.indexes.restore(observed.meta, observed.spec)
