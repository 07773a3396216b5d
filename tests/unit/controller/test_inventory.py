"""What scans told: taken whole or not at all, the newest of each Gallery, and who is woken by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from model_gallery.api import labels
from model_gallery.api.conditions import Reason
from model_gallery.controller import inventory, kinds
from model_gallery.controller.inventory import Inventories, Inventory
from model_gallery.controller.observe import loose_of
from model_gallery.errors import TransientError
from model_gallery.protocol.message import to_json
from model_gallery.protocol.report import (
    FileProblem,
    InventoryLine,
    LooseFile,
    ModelInventory,
    Problem,
    ResultLine,
)
from model_gallery.runtime.workqueue import Key

LOST = FileProblem(path="a.gguf", problem=Problem.MISSING)
WHOLE = ModelInventory(uid="u1", namespace="ns", name="whole", files=1, size_bytes=4)
HURT = ModelInventory(
    uid="u2", namespace="ns", name="hurt", files=1, size_bytes=4, problems=(LOST,), problems_total=1
)
END = to_json(ResultLine(reason=Reason.SUCCEEDED)).encode()


def line(**parts: Any) -> bytes:
    return to_json(InventoryLine(**parts)).encode()


class Logs:
    """A client that knows logs: lines, an error in their place, or an event to wait for."""

    def __init__(self, **logs: list[Any]) -> None:
        self.logs = logs
        self.asked: list[str] = []

    async def follow_log(self, namespace: str, pod: str, *, container: str) -> AsyncIterator[bytes]:
        self.asked.append(f"{namespace}/{pod}/{container}")
        for item in self.logs[pod]:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, asyncio.Event):
                await item.wait()
                continue
            yield item


def pod(name: str, begun: int = 0, **changes: Any) -> dict[str, Any]:
    body = {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": f"uid-{name}",
            "creationTimestamp": f"2026-11-01T12:00:{begun:02}Z",
            "labels": {labels.LABEL_OPERATION: "scan"},
            "annotations": {labels.ANNOTATION_GALLERY: "g"},
        },
        "state": {"terminated": {"exitCode": 0}},
    }
    return {**body, **changes}


async def read(inventories: Inventories) -> None:
    """Waits until everything that was begun is read."""
    while tasks := list(inventories._tasks.values()):
        await asyncio.gather(*tasks)
        await asyncio.sleep(0)


async def taken(*lines: Any) -> tuple[Inventory | None, list[Key]]:
    woken: list[Key] = []
    inventories = Inventories(Logs(scan=list(lines)), woken.append)  # type: ignore[arg-type]
    inventories.consider(pod("scan"))
    await read(inventories)
    return inventories.get("ns", "g"), woken


async def test_what_a_scan_told() -> None:
    found, _ = await taken(
        line(models=(WHOLE,)),
        line(models=(HURT,)),
        line(loose=(LooseFile(path="x", size_bytes=3),)),
        END,
    )

    assert found == Inventory(
        datetime(2026, 11, 1, 12, tzinfo=UTC),
        {"u1": WHOLE, "u2": HURT},
        (LooseFile(path="x", size_bytes=3),),
    )


async def test_the_gallery_and_the_hurt_are_woken() -> None:
    _, woken = await taken(line(models=(WHOLE, HURT)), END)

    assert woken == [Key(kinds.GALLERY, "ns", "g"), Key(kinds.MODEL, "ns", "hurt")]


async def test_an_empty_volume_is_known_to_be_empty() -> None:
    found, woken = await taken(END)

    assert found is not None
    assert loose_of(found) == ()
    assert woken == [Key(kinds.GALLERY, "ns", "g")]


GARBAGE = {
    "a log line": b'{"level": "INFO", "msg": "Scanned"}',
    "no JSON": b"Traceback (most recent call last):",
    "half a line": line(models=(HURT,))[:40],
    "no UTF-8": b"\xff\xfe\x00",
    "nothing": b"",
    "another type": b'{"type": "inventory", "loose": "all"}',
    "a deep one": b"[" * 5000,
    "an unknown problem": line(models=(HURT,)).replace(b"Missing", b"Eaten"),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
async def test_lines_that_are_none_are_passed_by(garbage: bytes) -> None:
    found, woken = await taken(garbage, line(models=(WHOLE,)), garbage, END)

    assert found is not None
    assert found.models == {"u1": WHOLE}
    assert woken == [Key(kinds.GALLERY, "ns", "g")]


async def test_no_more_loose_files_are_kept_than_memory_allows() -> None:
    files = tuple(LooseFile(path=str(number), size_bytes=1) for number in range(6000))
    found, _ = await taken(line(loose=files), line(loose=files), line(loose=files), END)

    assert found is not None
    assert len(found.loose) == 10_000


CUT = {
    "a broken stream": [line(models=(HURT,)), TransientError(Reason.UNREACHABLE, "cut")],
    "a stream that only ends": [line(models=(HURT,))],
    "a log that is gone": [TransientError(Reason.NOT_FOUND, "no such pod")],
    "an empty log": [],
}


@pytest.mark.parametrize("lines", CUT.values(), ids=CUT.keys())
async def test_half_an_inventory_is_none(lines: list[Any]) -> None:
    assert await taken(*lines) == (None, [])


async def test_a_lost_inventory_leaves_the_one_before() -> None:
    logs = Logs(
        first=[line(models=(WHOLE,)), END],
        second=[line(models=(HURT,)), TransientError(Reason.UNREACHABLE, "cut")],
    )
    inventories = Inventories(logs, lambda _: None)  # type: ignore[arg-type]
    for name, begun in (("first", 1), ("second", 2)):
        inventories.consider(pod(name, begun))
        await read(inventories)

    known = inventories.get("ns", "g")
    assert known is not None
    assert known.models == {"u1": WHOLE}


PASSED: dict[str, dict[str, Any]] = {
    "a pod that runs": {"state": {"running": {}}},
    "a pod that waits": {"state": {}},
    "a pod that failed": {"state": {"terminated": {"exitCode": 1}}},
    "a pod of another operation": {
        "metadata": {**pod("scan")["metadata"], "labels": {labels.LABEL_OPERATION: "install"}}
    },
    "a pod without our labels": {"metadata": {**pod("scan")["metadata"], "labels": {}}},
}


@pytest.mark.parametrize("changes", PASSED.values(), ids=PASSED.keys())
async def test_pods_that_have_nothing_to_tell(changes: dict[str, Any]) -> None:
    logs = Logs(scan=[END])
    inventories = Inventories(logs, lambda _: None)  # type: ignore[arg-type]

    inventories.consider(pod("scan", **changes))
    await read(inventories)

    assert logs.asked == []


async def test_a_pod_is_read_once_however_often_it_is_seen() -> None:
    logs = Logs(scan=[END])
    inventories = Inventories(logs, lambda _: None)  # type: ignore[arg-type]
    for _ in range(3):
        inventories.consider(pod("scan"))
        await read(inventories)

    assert logs.asked == ["ns/scan/worker"]


@pytest.mark.parametrize("order", [("old", "new"), ("new", "old")], ids=["in order", "not"])
async def test_the_newest_scan_counts(order: tuple[str, str]) -> None:
    logs = Logs(old=[line(models=(HURT,)), END], new=[line(models=(WHOLE,)), END])
    inventories = Inventories(logs, lambda _: None)  # type: ignore[arg-type]
    for name in order:
        inventories.consider(pod(name, {"old": 1, "new": 2}[name]))
        await read(inventories)

    known = inventories.get("ns", "g")
    assert known is not None
    assert known.models == {"u1": WHOLE}


async def test_a_slow_log_does_not_hide_a_newer_one() -> None:
    """Both are being read when the older one's stream hangs for a while."""
    gate, arrived = asyncio.Event(), asyncio.Event()
    logs = Logs(old=[line(models=(HURT,)), gate, END], new=[line(models=(WHOLE,)), END])
    woken: list[Key] = []

    def wake(key: Key) -> None:
        woken.append(key)
        arrived.set()

    inventories = Inventories(logs, wake)  # type: ignore[arg-type]
    inventories.consider(pod("old", 1))
    inventories.consider(pod("new", 2))
    await arrived.wait()
    gate.set()
    await read(inventories)

    known = inventories.get("ns", "g")
    assert known is not None
    assert known.models == {"u1": WHOLE}
    assert woken == [Key(kinds.GALLERY, "ns", "g")]


async def test_a_gallery_that_is_gone_is_forgotten() -> None:
    inventories = Inventories(Logs(scan=[END]), lambda _: None)  # type: ignore[arg-type]
    inventories.consider(pod("scan"))
    await read(inventories)
    inventories.note_change("ns", "g")

    inventories.forget("ns", "g")
    inventories.forget("ns", "never-there")

    assert inventories.get("ns", "g") is None
    assert inventories.changed("ns", "g") is None


async def test_closing_ends_what_hangs() -> None:
    inventories = Inventories(Logs(scan=[asyncio.Event(), END]), lambda _: None)  # type: ignore[arg-type]
    inventories.consider(pod("scan"))
    await asyncio.sleep(0)

    await asyncio.wait_for(inventories.close(), 1)

    assert inventories.get("ns", "g") is None


def test_a_change_is_noted_for_its_gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2026, 11, 1, 13, tzinfo=UTC)
    monkeypatch.setattr(inventory.clock, "now", lambda: moment)
    inventories = Inventories(Logs(), lambda _: None)  # type: ignore[arg-type]

    inventories.note_change("ns", "g")

    assert inventories.changed("ns", "g") == moment
    assert inventories.changed("ns", "other") is None
    assert inventories.changed("other", "g") is None


def test_loose_files_are_unknown_before_the_first_scan() -> None:
    assert loose_of(None) is None
