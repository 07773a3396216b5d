"""Asks the pods that serve models, in turn, and has models unloaded that shall be.

Every pod is asked by itself: one that hangs costs a place among many for some seconds, and nobody else
waits for it. What is learned lies in memory; a Model or Gallery is woken where a state changed, and at
most every 30 s for figures. What concerns a whole Gallery is summed up once a turn, not once a pod.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

import aiohttp

from model_gallery.api.conditions import ConditionType, Reason
from model_gallery.api.v1alpha1.gallery import BackendStatus, BackendType
from model_gallery.api.v1alpha1.model import ModelSpec
from model_gallery.api.v1alpha1.serving import ServingState, UnloadStatus
from model_gallery.controller import clock, kinds
from model_gallery.controller.groups import Sums
from model_gallery.controller.spoken import Spoken
from model_gallery.controller.targets import Target, Targets
from model_gallery.controller.turns import Turns
from model_gallery.monitor import probe, sidecar
from model_gallery.monitor.asking import Asker, new_session
from model_gallery.protocol.backend import (
    BackendFacts,
    LoadedModel,
    UnloadOutcome,
    UnloadResult,
)
from model_gallery.reconcile import serving, sizes, times
from model_gallery.reconcile.serving import PodView, Unload
from model_gallery.runtime import tasks
from model_gallery.runtime.cache import Cache
from model_gallery.runtime.workqueue import Key

__all__ = ["Hooks", "Monitor"]

_LOG = logging.getLogger(__name__)
_AT_ONCE = 64
_TURN_SECONDS = 0.5
_SOON_SECONDS = 2.0
_FIGURES_SECONDS = serving.FIGURES_PERIOD.total_seconds()
_MOST_BACKOFF = 8
_SLOWEST_SECONDS = 30.0
_WORKING = frozenset({ServingState.BUSY})

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Hooks:
    """Whom the monitor tells.

    Attributes:
        wake: the key of a Model or Gallery whose state changed.
        on_call: a request to a backend: method, route, code, seconds.
        on_unload: the Model's object, the wish and what came of it.
        token: the key for a backend: namespace, Gallery, name of the backend; empty without one.
    """

    wake: Callable[[Key], None]
    on_call: Callable[[str, str, str, float], None]
    on_unload: Callable[[Body, Unload, UnloadResult], None]
    token: Callable[[str, str, str], str]


@dataclass(slots=True)
class _State:
    """One pod as far as it is known.

    Attributes:
        due: by the loop's clock, when it is asked next, once the present look has ended.
        kind: what it was recognised as, and for which containers.
        told: by the loop's clock, when its Models were last looked at for figures.
        unloads: by a Model's uid, what came of the last wish to unload it here.
        stuck: models that what was recognised cannot unload: asked once, not at every look.
    """

    target: Target
    due: float
    view: PodView
    kind: tuple[BackendType | None, str] = (None, "")
    failures: int = 0
    told: float = 0.0
    activity: dict[str, float] = field(default_factory=dict)
    unloads: dict[str, UnloadStatus] = field(default_factory=dict)
    stuck: set[str] = field(default_factory=set)


class Monitor:
    """The probes of all backends.

    Args:
        usage: returns CPU (thousandths of a core) and memory (bytes) of a namespace's pods, by name.
        networks: CIDR blocks whose addresses are asked although no pod has such a one.
    """

    def __init__(
        self,
        cache: Cache,
        hooks: Hooks,
        usage: Callable[[str], Awaitable[dict[str, tuple[int, int]]]],
        networks: tuple[str, ...] = (),
    ) -> None:
        self._cache = cache
        self._hooks = hooks
        self._usage = usage
        self._targets = Targets(cache, networks)
        self._states: dict[tuple[str, str], _State] = {}
        self._turns = Turns()
        self._places: dict[str, dict[str, tuple[str, str]]] = {}
        self._unasked: dict[str, set[tuple[str, str]]] = {}
        self._spoken = Spoken()
        self._told: dict[str, float] = {}
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._sums = Sums()
        self._settle_due = 0.0
        self._unloads: dict[str, UnloadStatus] = {}
        self._wakeup = asyncio.Event()
        self._built = False
        self._session: aiohttp.ClientSession | None = None

    def pods(self, namespace: str, gallery: str) -> tuple[PodView, ...] | None:
        """Returns what is known of a Gallery's pods; None before the first look around."""
        if not self._built:
            return None
        return tuple(state.view for state in self._at(f"{namespace}/{gallery}"))

    def _at(self, place: str) -> list[_State]:
        return [self._states[key] for key in self._places.get(place, {}).values()]

    def pods_for(
        self, place: str, names: Collection[str], shown: Collection[str]
    ) -> tuple[PodView, ...] | None:
        """As `observe.Seen` has it."""
        if not self._built:
            return None
        there, unasked = self._places.get(place, {}), self._unasked.get(place, set())
        found = self._spoken.of(place, names) | {there[name] for name in shown if name in there}
        found |= set(itertools.islice(unasked, 1))
        some = found or itertools.islice(there.values(), 1)
        return tuple(self._states[key].view for key in sorted(some))

    def backends(self, namespace: str, gallery: str) -> tuple[BackendStatus, ...] | None:
        """Returns the pods of a Gallery by backend; None before all of them were asked once."""
        place = f"{namespace}/{gallery}"
        return (
            None if not self._built or self._unasked.get(place) else self._sums.shown.get(place, ())
        )

    def unload_of(self, uid: str) -> UnloadStatus | None:
        """Returns the last wish to unload a Model; None since the operator started."""
        return self._unloads.get(uid)

    def forget(self, uid: str) -> None:
        """Drops what is remembered of a Model that is gone."""
        self._unloads.pop(uid, None)
        self._told.pop(uid, None)

    def views(self) -> list[tuple[Target, PodView]]:
        """Returns all pods, for metrics."""
        return [(state.target, state.view) for state in self._states.values()]

    def changed(self) -> None:
        """Has the targets looked up anew, after a change of a pod or Gallery."""
        self._targets.dirty = True
        self._wakeup.set()

    def hurry(self, namespace: str, gallery: str) -> None:
        """Has a Gallery's pods asked at once: somebody waits for an unload."""
        for key in self._places.get(f"{namespace}/{gallery}", {}).values():
            self._turns.hurry(key, 0.0)
        self._wakeup.set()

    async def run(self) -> None:
        """Asks until cancelled."""
        self._session = new_session(connections=_AT_ONCE)
        # By itself: an API of metrics that hangs must not keep anybody from being asked.
        costs = asyncio.create_task(self._read_usage(), name="pod metrics")
        try:
            while True:
                self._rebuild()
                self._start_due()
                self._settle()
                await self._pause()
                if costs.done():
                    costs.result()
        finally:
            await tasks.end([costs, *self._running.values()])
            await self._session.close()

    async def _pause(self) -> None:
        self._wakeup.clear()
        try:
            async with asyncio.timeout(_TURN_SECONDS):
                await self._wakeup.wait()
        except TimeoutError:
            return

    def _rebuild(self) -> None:
        found = self._targets.refresh(_now())
        if found is None:
            return
        self._built = True
        for key in self._states.keys() - found.keys():
            self._turns.drop(key)
            self._spoken.drop(key)
            self._asked(key)
            self._sums.came_or_went.add(self._states.pop(key).target.place)
        for key, target in found.items():
            state = self._states.get(key)
            if state is not None:
                state.target = target
                continue
            # Spread: what started together is not asked together for ever.
            due = _now() + random.random() * min(2.0, target.period)  # noqa: S311
            self._states[key] = _State(target, due, PodView(target.pod, target.uid, target.backend))
            self._turns.set(key, due)
            self._unasked.setdefault(target.place, set()).add(key)
            self._sums.came_or_went.add(target.place)
        self._places = {}
        for key, state in self._states.items():
            self._places.setdefault(key[0], {})[state.target.pod] = key

    def _asked(self, key: tuple[str, str]) -> None:
        unasked = self._unasked.get(key[0], set())
        unasked.discard(key)
        if not unasked:
            self._unasked.pop(key[0], None)

    def _start_due(self) -> None:
        now = _now()
        while len(self._running) < _AT_ONCE and (key := self._turns.take(now)) is not None:
            if key in self._running:
                continue
            state = self._states[key]
            state.due = now + state.target.period
            task = asyncio.create_task(self._look(state), name=f"probe {state.target.pod}")
            self._running[key] = task
            task.add_done_callback(partial(self._done, key))

    def _done(self, key: tuple[str, str], task: asyncio.Task[None]) -> None:
        self._running.pop(key, None)
        if key in self._states:
            self._turns.set(key, self._states[key].due)
        self._wakeup.set()
        if not task.cancelled() and task.exception() is not None:
            # A bug of ours with one pod must not end the watch over the others.
            _LOG.error("Failed to look at a pod", exc_info=task.exception())

    async def _look(self, state: _State) -> None:
        target = state.target
        if not target.base:
            facts = BackendFacts(None, live=False, ready=False, message=target.problem)
        else:
            facts = await probe.probe(
                self._asker(target), target.type, _remembered(state), clock.now()
            )
        if target.usage:
            report = await sidecar.usage(self._asker(replace(target, base=target.usage)))
            state.view = replace(state.view, usage=report)
        if facts.type is not None and state.kind != (facts.type, target.containers):
            state.kind = (facts.type, target.containers)
            state.stuck.clear()
        self._take(state, facts)
        await self._unload(state)

    def _asker(self, target: Target) -> Asker:
        if self._session is None:
            raise AssertionError("asked before the start")
        return Asker(
            self._session,
            target.base,
            token=self._hooks.token(target.namespace, target.gallery, target.backend),
            insecure=True,
            served=target.served,
            on_call=self._hooks.on_call,
        )

    # What is learned

    def _take(self, state: _State, facts: BackendFacts) -> None:
        before, now = state.view, clock.now()
        state.failures = 0 if facts.live else state.failures + 1
        wait = state.target.period * min(_MOST_BACKOFF, 1 << min(state.failures, 3))
        spread = 0.9 + random.random() * 0.2  # noqa: S311
        state.due = _now() + min(wait, max(state.target.period, _SLOWEST_SECONDS)) * spread
        state.view = _learned(before, facts, state.activity, now)
        state.activity = {
            model.name: model.activity for model in facts.models if model.activity is not None
        }
        key = (state.target.place, state.target.uid)
        if self._states.get(key) is state:
            self._asked(key)
            self._spoken.put(key, state.view)
        if before.facts is None or _shape(before.facts) != _shape(facts):
            self._wake_named(state, before.facts, facts)
            state.told = _now()
        elif _now() - state.told >= _FIGURES_SECONDS:
            # Memory and CPU move without a word of the backend; whether it is worth a write, the
            # reconciliation knows.
            state.told = _now()
            self._wake_rested(state.target, facts)
        self._sums.note(state.target.place, before.facts, facts)

    def _wake_named(self, state: _State, before: BackendFacts | None, after: BackendFacts) -> None:
        models = (*(before.models if before else ()), *after.models)
        for body in self._models(state.target, models):
            self._hooks.wake(Key(kinds.MODEL, state.target.namespace, body["metadata"]["name"]))

    def _wake_rested(self, target: Target, facts: BackendFacts) -> None:
        """Wakes the pod's Models that no other of their pods had woken for figures a moment ago."""
        for body in self._models(target, facts.models):
            uid, now = body["metadata"]["uid"], _now()
            if now - self._told.get(uid, float("-inf")) >= _FIGURES_SECONDS:
                self._told[uid] = now
                self._hooks.wake(Key(kinds.MODEL, target.namespace, body["metadata"]["name"]))

    def _settle(self) -> None:
        """Wakes Galleries whose sums are others now, and all of their Models where pods came or went."""
        if _now() < self._settle_due:
            return
        self._settle_due = _now() + _TURN_SECONDS
        for place in self._sums.due(_now()):
            views = [state.view for state in self._at(place)]
            namespace, _, gallery = place.partition("/")
            complete = self._sums.is_complete(place, unasked=place in self._unasked)
            if complete:
                for body in self._cache.by_index(kinds.MODEL, "gallery", place):
                    self._hooks.wake(Key(kinds.MODEL, namespace, body["metadata"]["name"]))
            if self._sums.show(place, views, _now()) or complete:
                self._hooks.wake(Key(kinds.GALLERY, namespace, gallery))

    def _models(self, target: Target, models: tuple[LoadedModel, ...]) -> list[Body]:
        """Returns the Models that a backend may mean."""
        found: dict[str, Body] = {}
        for name in serving.spoken_of(models):
            for body in self._cache.by_index(kinds.MODEL, "known-as", f"{target.place}/{name}"):
                found[body["metadata"]["uid"]] = body
        return list(found.values())

    # Unloading

    async def _unload(self, state: _State) -> None:
        facts = state.view.facts
        if facts is None or not facts.live or not facts.models:
            return
        for body, wish in self._wishes(state):
            result = await probe.unload(
                self._asker(state.target), facts.type, wish.model, force=wish.force
            )
            self._note(state, body, wish, result)

    def _wishes(self, state: _State) -> list[tuple[Body, Unload]]:
        facts, target, now = state.view.facts, state.target, clock.now()
        if facts is None:
            return []
        found: dict[str, tuple[Body, Unload]] = {}
        bodies = self._models(target, facts.models)
        for body in bodies:
            spec = kinds.spec_of(ModelSpec, body)
            if spec is None:
                continue
            names = frozenset(kinds.known_as(body))
            for wish in serving.to_unload(spec, names, [state.view], now, going=_going(body)):
                found.setdefault(wish.model, (body, wish))
        room = serving.to_make_room(
            state.view,
            frozenset(name for body in bodies for name in kinds.known_as(body)),
            max_loaded=target.max_loaded,
            max_memory=sizes.from_quantity(target.max_memory),
            now=now,
        )
        for wish in room:
            for body in bodies:
                if _means(body, wish, facts):
                    found.setdefault(wish.model, (body, wish))
        return [found[model] for model in found.keys() - state.stuck]

    def _note(self, state: _State, body: Body, wish: Unload, result: UnloadResult) -> None:
        now, metadata = clock.now(), body["metadata"]
        self._hooks.on_unload(body, wish, result)
        fresh = UnloadStatus(
            pod=wish.pod,
            reason=wish.reason,
            result=result.outcome.value,
            message=result.message[:256],
            time=times.to_text(now),
        )
        if result.outcome is UnloadOutcome.UNSUPPORTED:
            state.stuck.add(wish.model)
        if result.outcome is UnloadOutcome.DONE:
            unloaded = {**(state.view.unloaded or {}), wish.model: now}
            state.view = replace(state.view, unloaded=unloaded)
            state.due = _now() + _SOON_SECONDS
        elif _is_same(state.unloads.get(metadata["uid"]) or _shown(body), fresh):
            # What fails in the same way at every look is written once, with the time of the first.
            return
        self._unloads[metadata["uid"]] = state.unloads[metadata["uid"]] = fresh
        self._hooks.wake(Key(kinds.MODEL, metadata["namespace"], metadata["name"]))

    # What pods cost

    async def _read_usage(self) -> None:
        while True:
            for namespace in {state.target.namespace for state in self._states.values()}:
                found = await self._usage(namespace)
                for state in self._states.values():
                    if state.target.namespace == namespace:
                        cpu, memory = found.get(state.target.pod, (None, None))
                        state.view = replace(state.view, cpu_milli=cpu, memory_bytes=memory)
            await asyncio.sleep(_FIGURES_SECONDS if self._states else _TURN_SECONDS)  # noqa: TID251 - its period


def _now() -> float:
    return asyncio.get_running_loop().time()


def _remembered(state: _State) -> BackendType | None:
    kind, containers = state.kind
    return kind if containers == state.target.containers else None


def _learned(
    before: PodView, facts: BackendFacts, activity: dict[str, float], now: datetime
) -> PodView:
    """Returns the view with what this look adds to what earlier ones saw."""
    used, since, busy = {}, {}, {}
    for model in facts.models:
        name = model.name
        if model.state not in serving.IN_MEMORY:
            continue
        known = (before.used or {}).get(name)
        # A counter that the last look lacked tells nothing yet: metrics fail at times.
        moved = model.activity is not None and activity.get(name, model.activity) != model.activity
        works = model.state in _WORKING or bool(model.running)
        # What came into memory since the last look did so because somebody asked for it.
        came = before.facts is not None and name not in (before.since or {})
        if works or moved or came:
            known = now
        if known is not None:
            used[name] = known
        since[name] = (before.since or {}).get(name, now)
        if works:
            busy[name] = (before.busy_since or {}).get(name, now)
    spoken = serving.spoken_of(facts.models)
    return replace(before, facts=facts, used=used, since=since, busy_since=busy, spoken=spoken)


def _shape(facts: BackendFacts) -> object:
    """What counts as a state, and not as a figure."""
    return (
        facts.type,
        facts.live,
        facts.ready,
        facts.message,
        sorted((model.name, model.state, model.message) for model in facts.models),
    )


def _going(body: Body) -> str:
    """Returns why a Model's files are about to go; empty: they stay."""
    if "deletionTimestamp" in body["metadata"]:
        return serving.UnloadReason.DELETED
    status = body.get("status") or {}
    waits = any(
        (item["type"], item["reason"]) == (ConditionType.RECONCILING, Reason.IN_USE)
        for item in status.get("conditions") or ()
    )
    return serving.UnloadReason.REPLACED if waits and status.get("staged") else ""


def _shown(body: Body) -> UnloadStatus | None:
    """Returns what the status tells of the last wish to unload: a restart has nothing new to say."""
    shown = ((body.get("status") or {}).get("serving") or {}).get("unload")
    return UnloadStatus.model_validate(shown) if shown else None


def _is_same(known: UnloadStatus | None, fresh: UnloadStatus) -> bool:
    return known is not None and known.model_copy(update={"time": fresh.time}) == fresh


def _means(body: Body, wish: Unload, facts: BackendFacts) -> bool:
    names = frozenset(kinds.known_as(body))
    return any(model.name == wish.model and serving.holds(names, model) for model in facts.models)
