"""How a Model is served: from what its backends tell to its status, and to what shall be unloaded.

Numbers move all the time and states seldom: a state is shown at once, a number at most every 30 s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from model_gallery.api.v1alpha1.model import ModelSpec, ModelStatus
from model_gallery.api.v1alpha1.serving import (
    MAX_SERVING_PODS,
    DesiredState,
    ServingPod,
    ServingState,
    ServingStatus,
    UnloadStatus,
)
from model_gallery.protocol.backend import BackendFacts, LoadedModel
from model_gallery.protocol.usage import ProcessUsage, UsageReport
from model_gallery.reconcile import times

__all__ = [
    "FIGURES_PERIOD",
    "IN_MEMORY",
    "PodView",
    "Unload",
    "UnloadReason",
    "holds",
    "in_memory",
    "in_pods",
    "names_of",
    "serving_of",
    "spoken_of",
    "to_make_room",
    "to_unload",
]

FIGURES_PERIOD = timedelta(seconds=30)
_ORDER = (
    ServingState.BUSY,
    ServingState.LOADED,
    ServingState.LOADING,
    ServingState.ERROR,
    ServingState.UNKNOWN,
    ServingState.UNLOADED,
)
IN_MEMORY = frozenset({ServingState.BUSY, ServingState.LOADED, ServingState.LOADING})
"""The states in which a model takes memory."""
_NOISE_BYTES, _NOISE_MILLI, _NOISE_SHARE = 1 << 20, 20, 0.02
_REST = timedelta(seconds=60)
"""After an unload, a model that is asked for again may stay so long at least: no fight with its users."""


class UnloadReason:
    """Why a model is unloaded, one word each, for status, events and metrics."""

    DESIRED = "Desired"
    IDLE = "Idle"
    BUSY_TOO_LONG = "BusyTooLong"
    DELETED = "Deleted"
    REPLACED = "Replaced"
    MAX_LOADED = "MaxLoaded"
    MEMORY = "Memory"


@dataclass(frozen=True, slots=True)
class PodView:
    """What is known of one pod that may serve a Gallery's models.

    Attributes:
        backend: name of the backend in the Gallery's spec; `mounted` for others.
        facts: None before the first answer.
        usage: what its sidecar told; None without one, or while it is silent.
        memory_bytes: of the whole pod, as the metrics API tells it.
        cpu_milli: the same, in thousandths of a core.
        used: by a model's name in this pod, when it was last seen to work.
        since: by a model's name, when it was first seen in memory without a pause since.
        busy_since: by a model's name, since when it has been seen to work without a pause.
        unloaded: by a model's name, when we last had it unloaded.
        spoken: every name that its facts speak of.
    """

    name: str
    uid: str
    backend: str
    facts: BackendFacts | None = None
    usage: UsageReport | None = None
    memory_bytes: int | None = None
    cpu_milli: int | None = None
    used: dict[str, datetime] | None = None
    since: dict[str, datetime] | None = None
    busy_since: dict[str, datetime] | None = None
    unloaded: dict[str, datetime] | None = None
    spoken: frozenset[str] = frozenset()

    def last_used(self, model: LoadedModel) -> datetime | None:
        """Returns when a model last worked, by its backend or as far as was seen."""
        seen = (self.used or {}).get(model.name)
        known = [moment for moment in (seen, model.last_used) if moment is not None]
        return max(known, default=None)


@dataclass(frozen=True, slots=True)
class Unload:
    """A wish to unload one model in one pod."""

    pod: str
    model: str
    reason: str
    force: bool = False


def names_of(
    served_name: str, paths: Iterable[str], weights: str = "", folder: str = ""
) -> frozenset[str]:
    """Returns the names by which backends may know a Model: its own and those of its files.

    Args:
        folder: of a model that is published as one; empty: none.
    """
    names = {served_name, weights, folder}
    for path in paths:
        names |= {path, path.rpartition("/")[2]}
    return frozenset(name for name in names if name)


def spoken_of(models: Iterable[LoadedModel]) -> frozenset[str]:
    """Returns every name by which a Model could be meant."""
    names = {name for model in models for name in (model.name, *model.aliases)}
    return frozenset(names | {_tail(name) for name in names})


def holds(names: frozenset[str], model: LoadedModel) -> bool:
    """Whether a model that a backend speaks of is the one of these names."""
    spoken = (model.name, *model.aliases)
    return any(name in names or _tail(name) in names for name in spoken)


def _tail(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]


def serving_of(
    identity: str,
    names: frozenset[str],
    pods: Sequence[PodView] | None,
    status: ModelStatus,
    *,
    unload: UnloadStatus | None,
    now: datetime,
) -> ServingStatus | None:
    """Returns how a Model is served; as it stands while a pod was not asked yet.

    Args:
        identity: namespace and name of the Model, as sidecars speak of it.
        pods: those of the Gallery that may matter to this Model; empty where the Gallery has none at
            all; None while that is not known.
        unload: the last wish to unload it; None: none since the operator started.
    """
    previous = status.serving
    if pods is None:
        return previous
    if not pods:
        return None
    if previous is not None and any(pod.facts is None for pod in pods):
        return previous
    found = [item for pod in pods for item in _in_pod(identity, names, pod, previous)]
    states = [item.state for item in found]
    state = next((state for state in _ORDER if state in states), ServingState.UNLOADED)
    fresh = ServingStatus(
        state=state,
        pods=tuple(sorted(found, key=lambda item: item.name)[:MAX_SERVING_PODS]),
        pods_total=len(found),
        memory_bytes=_sum(item.memory_bytes for item in found),
        vram_bytes=_sum(item.vram_bytes for item in found),
        cpu_milli=_sum(item.cpu_milli for item in found),
        last_used_time=max(
            (item.last_used_time for item in found if item.last_used_time), default=None
        )
        or (previous.last_used_time if previous else None),
        unload=unload or (previous.unload if previous else None),
        updated_time=times.to_text(now),
    )
    return _unless_only_figures(previous, fresh, now)


def in_memory(status: ServingStatus | None) -> bool:
    """Whether a pod holds the model, as the status tells."""
    return status is not None and any(pod.state in IN_MEMORY for pod in status.pods)


def in_pods(identity: str, names: frozenset[str], pods: Sequence[PodView]) -> list[str]:
    """Returns the pods that have the model in memory now, as far as they or their sidecars tell.

    A server of the volume that nobody knows how to ask counts, too: it may have any of the models.

    Args:
        identity: namespace and name of the Model, as sidecars speak of it.
    """
    return [
        pod.name
        for pod in pods
        if any(holds(names, model) for model in _loaded(pod))
        or _mapped(identity, pod)
        or _is_unknown(pod)
    ]


def _is_unknown(pod: PodView) -> bool:
    """Whether it serves something, and neither its answers nor a sidecar tell what."""
    facts = pod.facts
    return facts is not None and facts.live and facts.type is None and pod.usage is None


def _in_pod(
    identity: str, names: frozenset[str], pod: PodView, previous: ServingStatus | None
) -> list[ServingPod]:
    facts = pod.facts
    if facts is None:
        return []
    kind = facts.type.value if facts.type else ""
    mapped = _mapped(identity, pod)
    told = [
        model
        for model in facts.models
        if model.state is not ServingState.UNLOADED and holds(names, model)
    ]
    if told:
        return [_told(kind, told[0], pod, mapped, alone=len(facts.models) == 1)]
    if mapped:
        # The backend does not say so; its processes have the files in memory all the same.
        return [
            ServingPod(
                name=pod.name,
                backend=kind,
                state=ServingState.LOADED,
                memory_bytes=_resident(mapped),
                cpu_milli=_sum(process.cpu_milli for process in mapped),
            )
        ]
    known = previous is not None and any(item.name == pod.name for item in previous.pods)
    if facts.live or not known:
        return []
    message = facts.message[:256]
    return [ServingPod(name=pod.name, backend=kind, state=ServingState.UNKNOWN, message=message)]


def _told(
    kind: str, model: LoadedModel, pod: PodView, mapped: list[ProcessUsage], *, alone: bool
) -> ServingPod:
    cpu = _sum(process.cpu_milli for process in mapped)
    return ServingPod(
        name=pod.name,
        backend=kind,
        state=model.state,
        memory_bytes=_memory(model, pod, mapped, alone=alone),
        vram_bytes=model.vram_bytes,
        cpu_milli=pod.cpu_milli if cpu is None else cpu,
        running=model.running,
        waiting=model.waiting,
        context_length=model.context_length,
        last_used_time=_text(pod.last_used(model)),
        expires_time=_text(model.expires),
        message=model.message[:256],
    )


def _mapped(identity: str, pod: PodView) -> list[ProcessUsage]:
    """Returns the processes that have the model's files in memory or open, as the sidecar sees them."""
    if pod.usage is None:
        return []
    return [process for process in pod.usage.processes if identity in process.models]


def _resident(processes: list[ProcessUsage]) -> int | None:
    """Returns their memory, where they use no other model."""
    if any(len(process.models) > 1 for process in processes):
        return None
    return _sum(process.resident_bytes for process in processes)


def _memory(
    model: LoadedModel, pod: PodView, mapped: list[ProcessUsage], *, alone: bool
) -> int | None:
    """The kernel's word on the processes first, then the backend's, then the pod's where it is alone."""
    resident = _resident(mapped) if mapped else None
    if resident is not None:
        return resident
    if model.memory_bytes is not None:
        return model.memory_bytes
    return pod.memory_bytes if alone else None


def _unless_only_figures(
    previous: ServingStatus | None, fresh: ServingStatus, now: datetime
) -> ServingStatus:
    moved = previous is None or previous.unload != fresh.unload
    if previous is None or moved or _states(previous) != _states(fresh):
        return fresh
    if _is_about(previous, fresh):
        return previous
    since = previous.updated_time
    if since and now - times.from_text(since) < FIGURES_PERIOD:
        return previous
    return fresh


def _states(status: ServingStatus) -> object:
    return (
        status.state,
        status.pods_total,
        [(pod.name, pod.state, pod.message) for pod in status.pods],
    )


def _is_about(previous: ServingStatus, fresh: ServingStatus) -> bool:
    """Whether no figure has moved by more than noise: an idle process is never quite still."""
    if _rest(previous) != _rest(fresh):
        return False
    standing: list[ServingStatus | ServingPod] = [previous, *previous.pods]
    coming: list[ServingStatus | ServingPod] = [fresh, *fresh.pods]
    return all(
        _is_near(before.memory_bytes, after.memory_bytes, _NOISE_BYTES)
        and _is_near(before.cpu_milli, after.cpu_milli, _NOISE_MILLI)
        for before, after in zip(standing, coming, strict=True)
    )


def _is_near(before: int | None, after: int | None, noise: int) -> bool:
    if before is None or after is None:
        return before == after
    return abs(after - before) <= max(noise, before * _NOISE_SHARE)


def _rest(status: ServingStatus) -> ServingStatus:
    """Returns the status without what moves by itself."""
    still = {"memory_bytes": None, "cpu_milli": None}
    pods = tuple(pod.model_copy(update=still) for pod in status.pods)
    return status.model_copy(update={**still, "updated_time": None, "pods": pods})


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _text(moment: datetime | None) -> str | None:
    return times.to_text(moment) if moment else None


# Unloading


def to_unload(
    spec: ModelSpec,
    names: frozenset[str],
    pods: Sequence[PodView],
    now: datetime,
    *,
    going: str = "",
) -> list[Unload]:
    """Returns the wishes for one Model: where it shall go from memory now, and why.

    Args:
        going: DELETED or REPLACED where its files are about to go; empty: they stay.
    """
    return [
        Unload(pod.name, model.name, reason, force=force)
        for pod in pods
        for model in _loaded(pod)
        if holds(names, model)
        for reason, force in _reasons(spec, pod, model, now, going)
    ]


def _loaded(pod: PodView) -> tuple[LoadedModel, ...]:
    if pod.facts is None or not pod.facts.live:
        return ()
    return tuple(model for model in pod.facts.models if model.state in IN_MEMORY)


def _reasons(
    spec: ModelSpec, pod: PodView, model: LoadedModel, now: datetime, going: str
) -> list[tuple[str, bool]]:
    wish = spec.serving
    if _is_resting(pod, model, now):
        return []
    if going == UnloadReason.DELETED:
        return [(going, wish.force)]
    busy = model.state is ServingState.BUSY
    since = (pod.busy_since or {}).get(model.name)
    limit = wish.busy_timeout_seconds
    if busy and limit and since is not None and now - since >= timedelta(seconds=limit):
        return [(UnloadReason.BUSY_TOO_LONG, True)]
    if going and not busy and not _was_asked_for(pod, model, now):
        return [(going, False)] if model.state is ServingState.LOADED else []
    if model.state is ServingState.LOADED or (busy and wish.force):
        return _wished(spec, pod, model, now)
    return []


def _wished(
    spec: ModelSpec, pod: PodView, model: LoadedModel, now: datetime
) -> list[tuple[str, bool]]:
    wish, busy = spec.serving, model.state is ServingState.BUSY
    if wish.desired_state is DesiredState.UNLOADED and not _was_asked_for(pod, model, now):
        return [(UnloadReason.DESIRED, wish.force)]
    idle = _idle(pod, model, now)
    if not busy and wish.idle_timeout_seconds and idle >= wish.idle_timeout_seconds:
        return [(UnloadReason.IDLE, False)]
    return []


def _is_resting(pod: PodView, model: LoadedModel, now: datetime) -> bool:
    """Whether it was unloaded a moment ago: a backend needs its time, and so do its users."""
    unloaded = (pod.unloaded or {}).get(model.name)
    return unloaded is not None and now - unloaded < _REST / 6


def _was_asked_for(pod: PodView, model: LoadedModel, now: datetime) -> bool:
    """Whether somebody loaded it again after we unloaded it, and used it a moment ago."""
    unloaded = (pod.unloaded or {}).get(model.name)
    if unloaded is None:
        return False
    used = pod.last_used(model) or (pod.since or {}).get(model.name)
    return used is not None and used > unloaded and now - used < _REST


def _idle(pod: PodView, model: LoadedModel, now: datetime) -> float:
    """Returns the seconds without use; since it was first seen, where no use was."""
    used = pod.last_used(model) or (pod.since or {}).get(model.name)
    return (now - used).total_seconds() if used else 0.0


def _age(pod: PodView, model: LoadedModel, now: datetime) -> tuple[float, float, int]:
    """Sorts the longest unused first, then what was loaded first, then the largest."""
    since = (pod.since or {}).get(model.name, now)
    return (
        -_idle(pod, model, now),
        -(now - since).total_seconds(),
        -(model.memory_bytes or 0),
    )


def to_make_room(
    pod: PodView, ours: frozenset[str], *, max_loaded: int, max_memory: int | None, now: datetime
) -> list[Unload]:
    """Returns the wishes that a pod's limits make, the longest unused first.

    Args:
        ours: names of all Models that it may hold; what nobody declared counts, and is left alone.
        max_loaded: 0: no limit.
        max_memory: bytes of the whole pod; None: no limit.
    """
    loaded = _loaded(pod)
    idle = [
        model
        for model in loaded
        if model.state is ServingState.LOADED
        and holds(ours, model)
        and not _is_resting(pod, model, now)
    ]
    idle.sort(key=lambda model: _age(pod, model, now))
    wishes = []
    surplus = len(loaded) - max_loaded if max_loaded else 0
    excess = 0
    if max_memory is not None and pod.memory_bytes is not None:
        excess = pod.memory_bytes - max_memory
    for model in idle:
        if surplus > 0:
            wishes.append(Unload(pod.name, model.name, UnloadReason.MAX_LOADED))
        elif excess > 0:
            wishes.append(Unload(pod.name, model.name, UnloadReason.MEMORY))
        else:
            break
        surplus -= 1
        # Of unknown size: one at a time, and the next look tells what it brought.
        excess -= model.memory_bytes if model.memory_bytes is not None else excess
    return wishes
