"""How a Model is served, as its status shows it, and when it is unloaded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.api.v1alpha1.model import ModelStatus
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.protocol.backend import BackendFacts, LoadedModel
from model_gallery.protocol.usage import ProcessUsage, UsageReport
from model_gallery.reconcile import model, removal, serving
from model_gallery.reconcile.outcome import Act, Wait
from model_gallery.reconcile.serving import PodView, Unload
from support import builders as b

NAMES = frozenset({"a", "a.gguf"})
S = ServingState
MIB = 1 << 20


def loaded(name: str = "a", state: ServingState = S.LOADED, **more: Any) -> LoadedModel:
    return LoadedModel(name, state, **more)


def pod(*models: LoadedModel, name: str = "p", live: bool = True, **more: Any) -> PodView:
    facts = BackendFacts(BackendType.OLLAMA, live=live, ready=live, models=models)
    return PodView(name, f"uid-{name}", "real", facts, **more)


def shown(*pods: PodView, status: ModelStatus | None = None, now: Any = b.NOW) -> Any:
    return serving.serving_of("ns/a", NAMES, pods, status or ModelStatus(), unload=None, now=now)


STATES: dict[str, tuple[list[PodView], ServingState, int]] = {
    "nobody holds it": ([pod(loaded("other"))], S.UNLOADED, 0),
    "one holds it": ([pod(loaded())], S.LOADED, 1),
    "the busiest state counts": ([pod(loaded()), pod(loaded(state=S.BUSY), name="q")], S.BUSY, 2),
    "loading is more than an error": (
        [pod(loaded(state=S.ERROR)), pod(loaded(state=S.LOADING), name="q")],
        S.LOADING,
        2,
    ),
    "listed as unloaded is not held": ([pod(loaded(state=S.UNLOADED))], S.UNLOADED, 0),
    "by the name of its file": ([pod(loaded("/models/x/a.gguf"))], S.LOADED, 1),
    "by an alias": ([pod(loaded("hash", aliases=("a",)))], S.LOADED, 1),
    "a part of a name is no name": ([pod(loaded("a.gguf.old"))], S.UNLOADED, 0),
    "a silent pod that never held it": ([pod(live=False)], S.UNLOADED, 0),
}


@pytest.mark.parametrize("case", STATES)
def test_state(case: str) -> None:
    pods, state, count = STATES[case]
    found = shown(*pods)
    assert (found.state, found.pods_total) == (state, count)


def test_without_pods_there_is_nothing_to_show() -> None:
    assert shown() is None


def test_what_is_not_known_yet_leaves_what_was_shown() -> None:
    before = ModelStatus(serving=shown(pod(loaded())))
    assert shown(PodView("p", "u", "real"), status=before) == before.serving
    unknown = serving.serving_of("ns/a", NAMES, None, before, unload=None, now=b.NOW)
    assert unknown == before.serving


def test_a_pod_that_held_it_and_is_silent_is_unknown() -> None:
    before = ModelStatus(serving=shown(pod(loaded())))
    assert shown(pod(live=False), status=before).state is S.UNKNOWN


def test_absent_facts_stay_absent() -> None:
    found = shown(pod(loaded()))
    assert (found.memory_bytes, found.cpu_milli, found.last_used_time) == (None, None, None)


def test_figures_of_all_pods_are_summed() -> None:
    found = shown(
        pod(loaded(memory_bytes=5, vram_bytes=1), cpu_milli=20),
        pod(loaded(memory_bytes=7), name="q", cpu_milli=30),
    )
    assert (found.memory_bytes, found.vram_bytes, found.cpu_milli) == (12, 1, 50)


def test_a_pods_memory_is_the_models_only_where_it_is_alone() -> None:
    assert shown(pod(loaded(), memory_bytes=9)).memory_bytes == 9
    assert shown(pod(loaded(), loaded("other"), memory_bytes=9)).memory_bytes is None


def usage(*models: str, resident: int = 100) -> UsageReport:
    process = ProcessUsage(
        pid=3,
        name="x",
        resident_bytes=resident,
        shared_bytes=0,
        threads=1,
        models=models,
        cpu_milli=7,
    )
    return UsageReport(sampled_time=b.NOW, processes=(process,), models=(), hidden=0)


def test_the_kernels_word_comes_first() -> None:
    found = shown(pod(loaded(memory_bytes=5), usage=usage("ns/a"), cpu_milli=900))
    assert (found.memory_bytes, found.cpu_milli) == (100, 7)


def test_mapped_files_show_what_a_backend_does_not_tell() -> None:
    assert shown(pod(usage=usage("ns/a"))).state is S.LOADED
    assert shown(pod(usage=usage("other/a"))).state is S.UNLOADED


def test_a_process_of_two_models_is_nobodys_memory() -> None:
    assert shown(pod(loaded(), usage=usage("ns/a", "ns/b"))).memory_bytes is None


def test_figures_move_at_most_every_30_seconds_and_states_at_once() -> None:
    first = shown(pod(loaded(memory_bytes=5 * MIB)))
    status = ModelStatus(serving=first)
    soon, late = b.NOW + timedelta(seconds=29), b.NOW + timedelta(seconds=30)
    more = pod(loaded(memory_bytes=9 * MIB))
    assert shown(more, status=status, now=soon) == first
    assert shown(more, status=status, now=late).memory_bytes == 9 * MIB
    assert shown(pod(loaded(memory_bytes=5 * MIB)), status=status, now=late) == first
    assert shown(pod(loaded(state=S.BUSY)), status=status, now=soon).state is S.BUSY


NOISE: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "a megabyte": ({"memory_bytes": 50 * MIB}, {"memory_bytes": 51 * MIB}, True),
    "more": ({"memory_bytes": 50 * MIB}, {"memory_bytes": 52 * MIB}, False),
    "a hundredth of much": ({"memory_bytes": 5000 * MIB}, {"memory_bytes": 5050 * MIB}, True),
    "some thousandths of a core": ({"cpu_milli": 1}, {"cpu_milli": 15}, True),
    "real work": ({"cpu_milli": 1}, {"cpu_milli": 500}, False),
    "known by now": ({}, {"memory_bytes": MIB}, False),
}


@pytest.mark.parametrize("case", NOISE)
def test_noise_is_no_news(case: str) -> None:
    before, after, same = NOISE[case]
    status = ModelStatus(serving=shown(pod(loaded(), **before)))
    late = b.NOW + timedelta(minutes=5)
    assert (shown(pod(loaded(), **after), status=status, now=late) == status.serving) is same


AGO = {seconds: b.NOW - timedelta(seconds=seconds) for seconds in (5, 20, 100, 1000)}


def wishes(view: PodView, *, going: str = "", **wish: Any) -> list[Unload]:
    return serving.to_unload(b.spec(serving=wish), NAMES, [view], b.NOW, going=going)


UNLOADS: dict[str, tuple[PodView, dict[str, Any], list[tuple[str, bool]]]] = {
    "nothing is wished": (pod(loaded()), {}, []),
    "it shall not be loaded": (pod(loaded()), {"desiredState": "Unloaded"}, [("Desired", False)]),
    "never while it works": (pod(loaded(state=S.BUSY)), {"desiredState": "Unloaded"}, []),
    "unless forced": (
        pod(loaded(state=S.BUSY)),
        {"desiredState": "Unloaded", "force": True},
        [("Desired", True)],
    ),
    "another model is left alone": (pod(loaded("other")), {"desiredState": "Unloaded"}, []),
    "idle for too long": (
        pod(loaded(), used={"a": AGO[100]}),
        {"idleTimeoutSeconds": 60},
        [("Idle", False)],
    ),
    "not idle for long enough": (
        pod(loaded(), used={"a": AGO[20]}),
        {"idleTimeoutSeconds": 60},
        [],
    ),
    "never used since it was seen": (
        pod(loaded(), since={"a": AGO[100]}),
        {"idleTimeoutSeconds": 60},
        [("Idle", False)],
    ),
    "the backend's own word on its last use counts": (
        pod(loaded(last_used=AGO[20]), used={"a": AGO[1000]}),
        {"idleTimeoutSeconds": 60},
        [],
    ),
    "busy for too long": (
        pod(loaded(state=S.BUSY), busy_since={"a": AGO[100]}),
        {"busyTimeoutSeconds": 60},
        [("BusyTooLong", True)],
    ),
    "its users want it again": (
        pod(loaded(), unloaded={"a": AGO[100]}, used={"a": AGO[20]}),
        {"desiredState": "Unloaded"},
        [],
    ),
    "its users have done with it": (
        pod(loaded(), unloaded={"a": AGO[1000]}, used={"a": AGO[100]}),
        {"desiredState": "Unloaded"},
        [("Desired", False)],
    ),
    "it was unloaded a moment ago": (
        pod(loaded(), unloaded={"a": AGO[5]}),
        {"desiredState": "Unloaded"},
        [],
    ),
    "a silent pod is not asked": (pod(loaded(), live=False), {"desiredState": "Unloaded"}, []),
}


@pytest.mark.parametrize("case", UNLOADS)
def test_unload(case: str) -> None:
    view, wish, expected = UNLOADS[case]
    assert [(found.reason, found.force) for found in wishes(view, **wish)] == expected


def test_a_deleted_model_is_unloaded_first() -> None:
    assert wishes(pod(loaded()), going="Deleted") == [Unload("p", "a", "Deleted")]


def test_what_is_replaced_goes_when_it_is_idle_and_nobody_is_fought_with() -> None:
    assert wishes(pod(loaded()), going="Replaced") == [Unload("p", "a", "Replaced")]
    assert wishes(pod(loaded(state=S.BUSY)), going="Replaced", force=True) == []
    assert wishes(pod(loaded(state=S.LOADING)), going="Replaced") == []
    again = pod(loaded(), unloaded={"a": AGO[20]}, used={"a": AGO[5]})
    assert wishes(again, going="Replaced") == []


def room(view: PodView, most: int = 0, memory: int | None = None) -> list[str]:
    ours = frozenset("xyz")
    found = serving.to_make_room(view, ours, max_loaded=most, max_memory=memory, now=b.NOW)
    return [wish.model for wish in found]


def test_the_longest_unused_goes_first() -> None:
    view = pod(
        loaded("x"), loaded("y"), loaded("z"), used={"x": AGO[20], "y": AGO[1000], "z": AGO[100]}
    )
    assert room(view, 3) == []
    assert room(view, 1) == ["y", "z"]


def test_of_equal_ones_the_first_that_came_goes() -> None:
    same = {"x": AGO[20], "y": AGO[20]}
    assert room(
        pod(loaded("x"), loaded("y"), used=same, since={"x": AGO[100], "y": AGO[1000]}), 1
    ) == ["y"]


def test_what_nobody_declared_counts_and_stays() -> None:
    view = pod(loaded("x"), loaded("foreign"), used={"x": AGO[20], "foreign": AGO[1000]})
    assert room(view, 1) == ["x"]


def test_what_works_stays() -> None:
    assert room(pod(loaded("x", S.BUSY), loaded("y", S.LOADING)), 1) == []


def test_memory_above_the_limit_is_given_back_until_it_is_below() -> None:
    view = pod(
        loaded("x", memory_bytes=10),
        loaded("y", memory_bytes=10),
        memory_bytes=100,
        used={"x": AGO[20], "y": AGO[100]},
    )
    assert room(view, memory=95) == ["y"]
    assert room(view, memory=85) == ["y", "x"]
    assert room(view, memory=100) == []


def in_use(view: PodView) -> tuple[str, str]:
    seen = b.observed(status=b.published(), pods=(view,), known_as=NAMES)
    status = model.status_after(seen, model.decide(seen, b.NOW, 0.0), b.NOW)
    (found,) = [item for item in status.conditions if item.type == "InUse"]
    return found.status, found.message


def test_the_condition_names_the_pods() -> None:
    assert in_use(pod(loaded())) == ("True", "in memory of p")
    assert in_use(pod()) == ("False", "")


def test_a_deletion_waits_for_its_users_and_not_for_ever() -> None:
    deleting = replace(b.meta(), deleting=b.NOW)
    seen = b.observed(meta=deleting, status=b.published(), pods=(pod(loaded()),), known_as=NAMES)
    waiting = removal.decide(seen, b.NOW + timedelta(seconds=1))
    assert isinstance(waiting, Wait)
    assert waiting.message == "waiting for p to give the model back"
    later = b.NOW + timedelta(seconds=removal.USE_SECONDS)
    assert isinstance(removal.decide(seen, later), Act)
    free = replace(seen, pods=(pod(),))
    assert isinstance(removal.decide(free, b.NOW + timedelta(seconds=1)), Act)
