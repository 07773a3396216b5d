"""What the sidecar of a serving pod answers to `GET /usage`: its processes, and the models they use.

The sidecar and who reads it may be of different versions, so unknown fields are ignored.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from model_gallery.protocol.message import MalformedError, Message, decoded

__all__ = [
    "MAX_MODELS",
    "MAX_PROCESSES",
    "ModelUsage",
    "ProcessUsage",
    "StateHint",
    "UsageReport",
    "parse",
]

MAX_PROCESSES = 256
"""Processes in one report: those that use models come first, then the largest."""
MAX_MODELS = 512
"""Models in one report, by namespace and name."""

StateHint = Literal["mapped", "open"]
"""`mapped`: a process has a file of the model in its address space; `open`: at most as a descriptor."""


class ProcessUsage(Message, frozen=True, kw_only=True):
    """One process of the pod; the sidecar itself and the pause process are left out.

    Attributes:
        pid: in the pod's process namespace.
        name: of the program, as the kernel knows it.
        resident_bytes: memory of the process, pages of mapped files among it.
        shared_bytes: how much of it belongs to files or to shared memory.
        cpu_milli: thousandths of a core over the last sample interval; None in the first.
        models: `namespace/name` of the models that it has mapped or open, sorted.
        visible: whether its files may be read; False says nothing about its models.
    """

    pid: int
    name: str
    resident_bytes: int
    shared_bytes: int
    cpu_milli: int | None = None
    threads: int
    models: tuple[str, ...] = ()
    visible: bool = True


class ModelUsage(Message, frozen=True, kw_only=True):
    """One model that a process uses now.

    Attributes:
        uid: of the Model.
        state_hint: the strongest use that any process makes of it.
        resident_bytes: pages of its files that are mapped and in memory; a file that several
            processes map counts once, with the largest share. None where it is not mapped, or
            not told.
        cpu_seconds: CPU time of its processes since the sidecar first saw them use it.
        processes: pids, sorted.
    """

    namespace: str
    name: str
    uid: str
    state_hint: StateHint
    resident_bytes: int | None = None
    cpu_seconds: float = 0.0
    processes: tuple[int, ...] = ()


class UsageReport(Message, frozen=True, kw_only=True):
    """One look at all processes of the pod.

    Attributes:
        sampled_time: when it was taken, in UTC.
        models: those in use; a model that is not listed may still be in a process's own memory.
        hidden: processes whose files may not be read.
        truncated: whether a bound left out processes or models.
    """

    sampled_time: datetime
    processes: Annotated[tuple[ProcessUsage, ...], msgspec.Meta(max_length=MAX_PROCESSES)] = ()
    models: Annotated[tuple[ModelUsage, ...], msgspec.Meta(max_length=MAX_MODELS)] = ()
    hidden: int = 0
    truncated: bool = False


_DECODER = msgspec.json.Decoder(UsageReport)


def parse(text: bytes) -> UsageReport | None:
    """Returns the report that the JSON text holds; None where it holds none."""
    try:
        return decoded(_DECODER, text)
    except MalformedError:
        return None
