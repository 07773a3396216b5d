"""The watch over pods that follow a script: time is the loop's own, and nothing waits for it."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.model import ModelStatus
from model_gallery.api.v1alpha1.serving import ServingPod, ServingState, ServingStatus
from model_gallery.controller import clock, kinds, monitoring
from model_gallery.controller.monitoring import Hooks, Monitor
from model_gallery.monitor import probe
from model_gallery.monitor.asking import Asker
from model_gallery.protocol.backend import (
    BackendFacts,
    LoadedModel,
    UnloadOutcome,
    UnloadResult,
)
from model_gallery.reconcile import serving
from model_gallery.reconcile.serving import PodView, Unload
from model_gallery.runtime.workqueue import Key

pytestmark = pytest.mark.looptime(start=0)

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SILENT = BackendFacts(BackendType.OLLAMA, live=False, ready=False, message="no answer in time")
Script = Callable[[], Awaitable[BackendFacts]]


def tells(*models: LoadedModel, **changes: Any) -> BackendFacts:
    kind = changes.pop("type", BackendType.OLLAMA)
    return BackendFacts(kind, live=True, ready=True, models=models, **changes)


def loaded(name: str = "m", **changes: Any) -> LoadedModel:
    return LoadedModel(name, changes.pop("state", ServingState.LOADED), **changes)


@dataclass
class World:
    """Pods by address, what they were asked, and who was told.

    Attributes:
        answers: facts, or what is awaited for them.
        asked: moment and address of each look.
        remembered: as what the pod was known at each look.
        served: the model that the Gallery names for the pod, at each look.
        unloads: moment, address and model of each.
        ends: how each unload ends.
        woken: kind, namespace and name.
        told: what was told of unloads.
        usage: what the metrics API does.
    """

    cache: Any = field(default_factory=kinds.new_cache)
    answers: dict[str, BackendFacts | Script] = field(default_factory=dict)
    asked: list[tuple[float, str]] = field(default_factory=list)
    remembered: list[BackendType | None] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    unloads: list[tuple[float, str, str]] = field(default_factory=list)
    ends: UnloadResult = field(default_factory=lambda: UnloadResult(UnloadOutcome.DONE))
    woken: list[tuple[str, str, str]] = field(default_factory=list)
    told: list[tuple[str, Unload, UnloadOutcome]] = field(default_factory=list)
    usage: Callable[[str], Awaitable[dict[str, tuple[int, int]]]] | None = None

    def gallery(self, name: str = "g", namespace: str = "ns", **spec: Any) -> None:
        wish = {"index": {"configMap": {"name": "i"}}, "storage": {"claimName": name}, **spec}
        self._put(kinds.GALLERY, name, namespace, spec=wish)

    def model(self, name: str = "m", gallery: str = "g", namespace: str = "ns", **spec: Any) -> Key:
        wish = {"galleryName": gallery, "source": {"entry": {"name": name}}, **spec}
        self._put(kinds.MODEL, f"{gallery}-{name}", namespace, spec=wish)
        return Key(kinds.MODEL, namespace, f"{gallery}-{name}")

    def status(self, key: Key, **status: Any) -> None:
        body = self.cache.get(key.kind, key.namespace, key.name)
        self._put(key.kind, key.name, key.namespace, spec=body["spec"], status=status)

    def delete(self, key: Key) -> None:
        body = self.cache.get(key.kind, key.namespace, key.name)
        more = {"deletionTimestamp": "2026-11-22T12:00:00Z"}
        self._put(key.kind, key.name, key.namespace, more, spec=body["spec"])

    def pod(
        self,
        address: str,
        answer: BackendFacts | Script,
        *,
        claim: str = "g",
        namespace: str = "ns",
        container: str = "c1",
        labels: dict[str, str] | None = None,
    ) -> None:
        self.answers[address] = answer
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim}}
        status = {
            "phase": "Running",
            "podIP": address,
            "containerStatuses": [{"containerID": container}],
        }
        spec = {"containers": [{"ports": [{"containerPort": 80}]}], "volumes": [volume]}
        more = {"labels": labels or {}}
        self._put(kinds.POD, f"pod-{address}", namespace, more, spec=spec, status=status)

    def _put(
        self,
        kind: str,
        name: str,
        namespace: str,
        more: dict[str, Any] | None = None,
        **parts: Any,
    ) -> None:
        known = self.cache.get(kind, namespace, name)
        version = int(known["metadata"]["resourceVersion"]) + 1 if known else 1
        metadata = {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-11-22T11:00:00Z",
            **(more or {}),
        }
        assert self.cache.upsert(kind, {"metadata": metadata, **parts})

    async def probe(
        self, asker: Asker, _wanted: Any, remembered: BackendType | None, _now: Any
    ) -> BackendFacts:
        address = asker._base.removeprefix("http://").removesuffix(":80")
        self.asked.append((asyncio.get_running_loop().time(), address))
        self.remembered.append(remembered)
        self.served.append(asker.served)
        answer = self.answers[address]
        return answer if isinstance(answer, BackendFacts) else await answer()

    async def unload(self, asker: Asker, _kind: Any, model: str, **_: Any) -> UnloadResult:
        address = asker._base.removeprefix("http://").removesuffix(":80")
        self.unloads.append((asyncio.get_running_loop().time(), address, model))
        return self.ends

    async def costs(self, namespace: str) -> dict[str, tuple[int, int]]:
        return await self.usage(namespace) if self.usage else {}

    def times(self, address: str) -> int:
        return sum(1 for _, asked in self.asked if asked == address)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[Monitor]:
        hooks = Hooks(
            lambda key: self.woken.append((key.kind, key.namespace, key.name)),
            lambda *_: None,
            lambda body, wish, result: self.told.append(
                (body["metadata"]["name"], wish, result.outcome)
            ),
            lambda *_: "",
        )
        monitor = Monitor(self.cache, hooks, self.costs)
        task = asyncio.create_task(monitor.run())
        try:
            yield monitor
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    monkeypatch.setattr(monitoring, "random", random.Random(7))  # noqa: S311 - a seed
    monkeypatch.setattr(probe, "probe", made.probe)
    monkeypatch.setattr(probe, "unload", made.unload)
    monkeypatch.setattr(
        clock, "now", lambda: START + timedelta(seconds=asyncio.get_running_loop().time())
    )
    made.gallery()
    return made


async def hangs() -> BackendFacts:
    await asyncio.sleep(15)
    return SILENT


async def fails() -> BackendFacts:
    raise RuntimeError("a bug of ours")


MINUTE = 60.0


async def test_every_pod_is_asked_in_its_period(world: World) -> None:
    for number in range(200):
        world.pod(f"10.0.0.{number}", tells())
    async with world.watched():
        await asyncio.sleep(10 * MINUTE)
    counted = Counter(address for _, address in world.asked)
    assert len(counted) == 200
    assert 36 <= min(counted.values()) <= max(counted.values()) <= 46


async def test_slow_pods_slow_nobody(world: World) -> None:
    """Three times as many as are asked at once, and all of them came first."""
    for number in range(192):
        world.pod(f"10.0.1.{number}", hangs)
    world.pod("10.0.0.1", tells())
    async with world.watched():
        await asyncio.sleep(10 * MINUTE)
        moments = [moment for moment, address in world.asked if address == "10.0.0.1"]
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    assert max(gaps) < 2 * 30


async def test_a_pod_that_is_silent_is_asked_less_often_and_never_forgotten(world: World) -> None:
    world.pod("10.0.0.1", SILENT)
    async with world.watched():
        await asyncio.sleep(10 * MINUTE)
    assert 18 <= world.times("10.0.0.1") <= 24


async def test_a_metrics_api_that_hangs_slows_nobody(world: World) -> None:
    async def mute(_namespace: str) -> dict[str, tuple[int, int]]:
        await asyncio.Event().wait()
        return {}

    world.usage = mute
    world.pod("10.0.0.1", tells())
    async with world.watched():
        await asyncio.sleep(5 * MINUTE)
    assert world.times("10.0.0.1") >= 18


async def test_what_pods_cost_is_told(world: World) -> None:
    async def one(namespace: str) -> dict[str, tuple[int, int]]:
        return {"pod-10.0.0.1": (250, 1 << 20)} if namespace == "ns" else {}

    world.usage = one
    world.pod("10.0.0.1", tells())
    async with world.watched() as monitor:
        await asyncio.sleep(5)
        (view,) = monitor.pods("ns", "g") or ()
    assert (view.cpu_milli, view.memory_bytes) == (250, 1 << 20)


async def test_a_bug_with_one_pod_costs_one_look_a_period(world: World) -> None:
    world.pod("10.0.0.1", fails)
    world.pod("10.0.0.2", tells())
    async with world.watched():
        await asyncio.sleep(5 * MINUTE)
    assert 18 <= world.times("10.0.0.1") <= 24
    assert world.times("10.0.0.2") >= 18


async def test_a_pod_that_held_a_model_and_hangs_is_unknown_within_30_seconds(world: World) -> None:
    key = world.model()
    world.pod("10.0.0.1", tells(loaded()))
    async with world.watched() as monitor:
        await asyncio.sleep(60)
        world.answers["10.0.0.1"] = hangs
        world.woken.clear()
        await asyncio.sleep(16.5 + 15)
        (view,) = monitor.pods("ns", "g") or ()
        assert view.facts == SILENT
    assert ("Model", "ns", key.name) in world.woken
    assert ("Gallery", "ns", "g") in world.woken


async def test_while_nothing_changes_only_figures_are_looked_at(world: World) -> None:
    key = world.model()
    world.pod("10.0.0.1", tells(loaded()))
    async with world.watched():
        await asyncio.sleep(MINUTE)
        world.woken.clear()
        await asyncio.sleep(10 * MINUTE)
    assert set(world.woken) == {("Model", "ns", key.name)}
    assert len(world.woken) <= 20


async def test_figures_of_a_gallery_move_every_30_seconds(world: World) -> None:
    """Busy and idle by turns, each for 40 s: each of them is told of, and nothing more often."""

    async def by_turns() -> BackendFacts:
        busy = int(asyncio.get_running_loop().time() / 40) % 2
        return tells(loaded(state=ServingState.BUSY if busy else ServingState.LOADED))

    world.pod("10.0.0.1", by_turns)
    async with world.watched():
        await asyncio.sleep(10 * MINUTE)
    assert 13 <= world.woken.count(("Gallery", "ns", "g")) <= 21


async def test_a_gallery_is_told_of_when_all_its_pods_have_been_asked(world: World) -> None:
    world.model()
    world.pod("10.0.0.1", tells(loaded()))
    world.pod("10.0.0.2", hangs)
    async with world.watched() as monitor:
        assert monitor.pods("ns", "g") is None
        await asyncio.sleep(10)
        assert monitor.backends("ns", "g") is None
        world.woken.clear()
        await asyncio.sleep(10)
        (group,) = monitor.backends("ns", "g") or ()
    assert (group.pods, group.ready, group.loaded) == (2, 1, 1)
    assert group.message == "no answer in time"
    assert {("Gallery", "ns", "g"), ("Model", "ns", "g-m")} <= set(world.woken)


async def test_first_answers_of_many_pods_wake_each_model_once(world: World) -> None:
    """Of 300 pods each first answer would otherwise wake every Model."""
    keys = [world.model(f"m{number}") for number in range(20)]
    for number in range(300):
        world.pod(f"10.0.{number // 250}.{number % 250}", tells())
    async with world.watched():
        await asyncio.sleep(10)
    assert Counter(world.woken)["Model", "ns", keys[0].name] == 1


async def test_a_pod_that_goes_is_dropped(world: World) -> None:
    world.model()
    world.pod("10.0.0.1", tells(loaded()))
    async with world.watched() as monitor:
        await asyncio.sleep(20)
        world.cache.remove(kinds.POD, "ns", "pod-10.0.0.1")
        world.woken.clear()
        monitor.changed()
        await asyncio.sleep(2)
        asked = world.times("10.0.0.1")
        await asyncio.sleep(MINUTE)
        assert world.times("10.0.0.1") == asked
        assert monitor.pods("ns", "g") == ()
        assert monitor.backends("ns", "g") == ()
    assert set(world.woken) == {("Model", "ns", "g-m"), ("Gallery", "ns", "g")}


async def test_new_containers_are_recognised_anew(world: World) -> None:
    world.pod("10.0.0.1", tells())
    async with world.watched() as monitor:
        await asyncio.sleep(MINUTE)
        world.pod("10.0.0.1", tells(type=BackendType.VLLM), container="c2")
        monitor.changed()
        before = len(world.remembered)
        await asyncio.sleep(MINUTE)
    assert world.remembered[0] is None
    assert set(world.remembered[1:before]) == {BackendType.OLLAMA}
    assert world.remembered[before] is None
    assert set(world.remembered[before + 1 :]) == {BackendType.VLLM}


async def test_pods_that_cannot_matter_are_passed_over_and_nothing_else_changes(
    world: World,
) -> None:
    """What a Model's status says by some of the pods is what it says by all of them."""
    world.pod("10.0.0.1", tells(loaded("library/m"), loaded("n")))
    world.pod("10.0.0.2", tells(loaded("x", aliases=("models/m/",))))
    world.pod("10.0.0.3", tells(loaded("other")))
    world.pod("10.0.0.4", SILENT)
    async with world.watched() as monitor:
        await asyncio.sleep(20)
        everything = monitor.pods("ns", "g")
        for name, held, found in (
            ("m", (), {"pod-10.0.0.1", "pod-10.0.0.2"}),
            ("m", ("pod-10.0.0.4",), {"pod-10.0.0.1", "pod-10.0.0.2", "pod-10.0.0.4"}),
            ("n", (), {"pod-10.0.0.1"}),
            ("nobody", ("pod-gone",), set()),
        ):
            some = monitor.pods_for("ns/g", [name, f"ns/{name}"], held)
            assert some
            assert found <= {view.name for view in some}
            assert len(some) == max(1, len(found))
            assert shown(name, some, held) == shown(name, everything, held)


async def test_a_pod_that_was_not_asked_yet_counts_for_every_model(world: World) -> None:
    world.pod("10.0.0.1", tells(loaded()))
    world.pod("10.0.0.2", hangs)
    async with world.watched() as monitor:
        assert monitor.pods_for("ns/g", ["m"], ()) is None
        await asyncio.sleep(10)
        some = monitor.pods_for("ns/g", ["m"], ()) or ()
        assert [view.facts is None for view in some] == [False, True]
        assert monitor.pods_for("ns/none", ["m"], ()) == ()


def shown(
    name: str, pods: tuple[PodView, ...] | None, held: tuple[str, ...]
) -> ServingStatus | None:
    before = tuple(ServingPod(name=pod, backend="", state=ServingState.LOADED) for pod in held)
    status = ModelStatus(
        serving=ServingStatus(state=ServingState.LOADED, pods=before, pods_total=len(before))
    )
    names = frozenset({name})
    return serving.serving_of(f"ns/{name}", names, pods, status, unload=None, now=START)


# Unloading

UNLOADED = {"serving": {"desiredState": "Unloaded"}}


async def test_a_pod_is_believed_of_its_own_gallery_only(world: World) -> None:
    """It names a Model of another Gallery, and one of another namespace; neither hears of it."""
    world.gallery("other")
    world.gallery("g", namespace="foreign")
    theirs = world.model("m", "other", **UNLOADED)
    abroad = world.model("m", "g", namespace="foreign", **UNLOADED)
    world.pod("10.0.0.1", tells(loaded()))
    async with world.watched() as monitor:
        await asyncio.sleep(MINUTE)
        assert monitor.pods("ns", "other") == ()
        assert monitor.pods("foreign", "g") == ()
    assert world.unloads == []
    for key in (theirs, abroad):
        assert (key.kind, key.namespace, key.name) not in world.woken


async def test_what_shall_be_unloaded_is(world: World) -> None:
    key = world.model(**UNLOADED)

    async def until_told() -> BackendFacts:
        return tells() if world.unloads else tells(loaded())

    world.pod("10.0.0.1", until_told)
    async with world.watched() as monitor:
        await asyncio.sleep(5 * MINUTE)
        status = monitor.unload_of(f"uid-ns-{key.name}")
        monitor.forget(f"uid-ns-{key.name}")
        assert monitor.unload_of(f"uid-ns-{key.name}") is None
    assert [(address, model) for _, address, model in world.unloads] == [("10.0.0.1", "m")]
    assert status is not None
    assert (status.pod, status.reason, status.result) == ("pod-10.0.0.1", "Desired", "Done")
    assert [(name, outcome) for name, _, outcome in world.told] == [(key.name, UnloadOutcome.DONE)]


async def test_who_loads_a_model_again_is_not_fought(world: World) -> None:
    """Asked for again at once and all the time it goes once, and then a minute after the last use."""
    world.model(**UNLOADED)
    used = [0.0]

    async def in_use() -> BackendFacts:
        now = asyncio.get_running_loop().time()
        if now < 10 * MINUTE:
            used[0] = now
        return tells(loaded(activity=used[0]))

    world.pod("10.0.0.1", in_use)
    async with world.watched():
        await asyncio.sleep(10 * MINUTE)
        assert len(world.unloads) == 1
        await asyncio.sleep(2 * MINUTE)
    assert len(world.unloads) >= 2
    assert world.unloads[1][0] >= used[0] + MINUTE


@pytest.mark.parametrize("outcome", [UnloadOutcome.UNSUPPORTED, UnloadOutcome.FAILED])
async def test_what_is_not_unloaded_is_told_once(world: World, outcome: UnloadOutcome) -> None:
    """A status that had a new time in it at every look would be a write at every look."""
    key = world.model(**UNLOADED)
    world.ends = UnloadResult(outcome, "it does not")
    world.pod("10.0.0.1", tells(loaded()))
    async with world.watched() as monitor:
        await asyncio.sleep(MINUTE)
        first = monitor.unload_of(f"uid-ns-{key.name}")
        await asyncio.sleep(10 * MINUTE)
        assert monitor.unload_of(f"uid-ns-{key.name}") == first
    assert first is not None
    retried = len(world.unloads) > 1
    assert retried == (outcome is UnloadOutcome.FAILED)


async def test_what_was_told_before_a_restart_is_not_told_again(world: World) -> None:
    """The status has it already, with the time of the first."""
    key = world.model(**UNLOADED)
    world.ends = UnloadResult(UnloadOutcome.UNSUPPORTED, "it does not")
    world.pod("10.0.0.1", tells(loaded()))
    async with world.watched() as monitor:
        await asyncio.sleep(MINUTE)
        first = monitor.unload_of(f"uid-ns-{key.name}")
    assert first is not None
    world.status(key, serving={"unload": first.model_dump(by_alias=True)})
    async with world.watched() as monitor:
        await asyncio.sleep(MINUTE)
        assert monitor.unload_of(f"uid-ns-{key.name}") is None
    assert len(world.unloads) == 2


async def test_another_server_in_the_pod_is_asked_to_unload_again(world: World) -> None:
    world.model(**UNLOADED)
    world.ends = UnloadResult(UnloadOutcome.UNSUPPORTED, "it cannot")
    world.pod("10.0.0.1", tells(loaded()))
    async with world.watched() as monitor:
        await asyncio.sleep(MINUTE)
        world.pod("10.0.0.1", tells(loaded(), type=BackendType.VLLM), container="c2")
        monitor.changed()
        await asyncio.sleep(MINUTE)
    assert len(world.unloads) == 2


async def test_a_deletion_is_not_kept_waiting(world: World) -> None:
    key = world.model()
    world.pod("10.0.0.1", tells(loaded()))
    async with world.watched() as monitor:
        await asyncio.sleep(MINUTE)
        assert world.unloads == []
        world.delete(key)
        monitor.hurry("ns", "g")
        await asyncio.sleep(1)
        assert len(world.unloads) == 1


async def test_a_backend_is_asked_for_the_model_that_the_gallery_names(world: World) -> None:
    selector = {"matchLabels": {"app": "llm"}}
    wish = {"name": "b", "selector": selector, "type": "LocalAIBackend", "model": "whisper"}
    world.gallery(backends=[wish])
    world.pod("10.0.0.1", tells(loaded()), labels={"app": "llm"})
    world.pod("10.0.0.2", tells(loaded()))
    async with world.watched():
        await asyncio.sleep(MINUTE)
    assert set(world.served) == {"whisper", ""}


async def test_a_counter_that_was_not_told_at_one_look_tells_of_no_use(world: World) -> None:
    """Metrics fail at times, and LocalAI's calls are a model's own only while it is alone."""
    world.model(serving={"idleTimeoutSeconds": 600})

    async def told_at_times() -> BackendFacts:
        untold = 8 * MINUTE < asyncio.get_running_loop().time() < 9 * MINUTE
        return tells(loaded(activity=None if untold else 7.0))

    world.pod("10.0.0.1", told_at_times)
    async with world.watched():
        await asyncio.sleep(14 * MINUTE)
    assert world.unloads[0][0] < 12 * MINUTE


async def test_no_more_than_a_pod_may_hold(world: World) -> None:
    """Of two Models the one that was not used for longer goes; a stranger's is nobody's to unload."""
    selector = {"matchLabels": {"app": "llm"}}
    world.gallery(backends=[{"name": "b", "selector": selector, "maxLoaded": 2}])
    world.model("old")
    world.model("new")

    async def a_third_later() -> BackendFacts:
        now = asyncio.get_running_loop().time()
        gone = {model for _, _, model in world.unloads}
        models = [loaded("new", activity=now), loaded("old")]
        if now > MINUTE:
            models.append(loaded("stranger"))
        return tells(*(model for model in models if model.name not in gone))

    world.pod("10.0.0.1", a_third_later, labels={"app": "llm"})
    async with world.watched():
        await asyncio.sleep(5 * MINUTE)
    assert [model for _, _, model in world.unloads] == ["old"]
    assert world.told[0][1].reason == "MaxLoaded"
