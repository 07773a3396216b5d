"""From files in use to models, and from CPU times to thousandths of a core."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from model_gallery.monitor.attribution import (
    NOTHING_YET,
    FileUse,
    OwnedFiles,
    Owner,
    ProcessSample,
    Snapshot,
    report,
)
from model_gallery.protocol.message import to_json
from model_gallery.protocol.usage import MAX_MODELS, MAX_PROCESSES, UsageReport, parse

NOW = datetime(2026, 1, 2, tzinfo=UTC)
A, B = Owner("team", "a", "uid-a"), Owner("team", "b", "uid-b")
OWNED = OwnedFiles(
    device=1,
    mapped_device="00:01",
    by_inode={10: (A,), 11: (A,), 20: (B,), 30: (A, B)},
    by_path={"a.gguf": (A,), "b.gguf": (B,)},
)


def process(pid: int, *uses: FileUse, **fields: Any) -> ProcessSample:
    values = {
        "started": 100.0,
        "name": "server",
        "resident_bytes": 1000,
        "shared_bytes": 400,
        "cpu_seconds": 5.0,
        "threads": 3,
        **fields,
    }
    return ProcessSample(pid=pid, uses=uses, **values)


def look(*processes: ProcessSample, at: float = 50.0, **fields: Any) -> Snapshot:
    return Snapshot(NOW, at, processes, **fields)


def first(*processes: ProcessSample, owned: OwnedFiles = OWNED) -> UsageReport:
    return report(look(*processes), owned, NOTHING_YET)[0]


def test_a_process_is_told_with_its_models() -> None:
    found = first(process(7, FileUse(20), FileUse(10, mapped=True)))
    (told,) = found.processes

    assert told.models == ("team/a", "team/b")
    assert (told.pid, told.name, told.threads) == (7, "server", 3)
    assert (told.resident_bytes, told.shared_bytes) == (1000, 400)
    assert told.visible
    assert told.cpu_milli is None
    assert found.sampled_time == NOW
    assert not found.truncated


def test_a_model_is_told_with_its_processes() -> None:
    a, b = first(process(9, FileUse(10, mapped=True)), process(7, FileUse(20), FileUse(11))).models

    assert (a.namespace, a.name, a.uid) == ("team", "a", "uid-a")
    assert (a.processes, b.processes) == ((7, 9), (7,))
    assert (a.state_hint, b.state_hint) == ("mapped", "open")


def test_a_shared_content_belongs_to_each_of_its_models() -> None:
    assert [model.name for model in first(process(7, FileUse(30))).models] == ["a", "b"]


def test_a_file_is_known_by_its_path_where_the_inode_says_nothing() -> None:
    assert [model.name for model in first(process(7, FileUse(99, "b.gguf"))).models] == ["b"]


def test_a_foreign_file_belongs_to_nobody() -> None:
    found = first(process(7, FileUse(99, "c.gguf"), FileUse(98)))

    assert found.models == ()
    assert found.processes[0].models == ()


def test_pages_that_processes_share_count_once() -> None:
    """Each file with the process that has most of it; files add up."""
    (model,) = first(
        process(
            7,
            FileUse(10, mapped=True, resident_bytes=300),
            FileUse(11, mapped=True, resident_bytes=50),
        ),
        process(8, FileUse(10, mapped=True, resident_bytes=200)),
    ).models

    assert model.resident_bytes == 350


def test_resident_bytes_are_absent_where_they_are_not_told() -> None:
    (model,) = first(process(7, FileUse(10, mapped=True))).models

    assert model.resident_bytes is None


def test_cpu_is_told_from_the_second_look_on() -> None:
    _, tally = report(look(process(7, FileUse(10), cpu_seconds=5.0)), OWNED, NOTHING_YET)
    found, tally = report(look(process(7, FileUse(10), cpu_seconds=6.0), at=54.0), OWNED, tally)

    assert found.processes[0].cpu_milli == 250
    assert found.models[0].cpu_seconds == 1.0

    found, _ = report(look(process(7, FileUse(10), cpu_seconds=6.5), at=58.0), OWNED, tally)
    assert found.models[0].cpu_seconds == 1.5


def test_a_pid_that_is_used_again_is_another_process() -> None:
    _, tally = report(look(process(7, cpu_seconds=1.0)), OWNED, NOTHING_YET)
    found, _ = report(look(process(7, cpu_seconds=9.0, started=101.0), at=54.0), OWNED, tally)

    assert found.processes[0].cpu_milli is None


def test_cpu_counts_only_while_the_model_is_used_and_is_kept_meanwhile() -> None:
    _, tally = report(look(process(7, FileUse(10), cpu_seconds=0.0)), OWNED, NOTHING_YET)
    _, tally = report(look(process(7, FileUse(10), cpu_seconds=2.0), at=54.0), OWNED, tally)
    gone, tally = report(look(process(7, cpu_seconds=4.0), at=58.0), OWNED, tally)
    again, _ = report(look(process(7, FileUse(10), cpu_seconds=5.0), at=62.0), OWNED, tally)

    assert gone.models == ()
    assert again.models[0].cpu_seconds == 3.0


def test_cpu_of_a_model_that_left_the_volume_is_forgotten() -> None:
    _, tally = report(look(process(7, FileUse(10))), OWNED, NOTHING_YET)
    _, tally = report(look(process(7), at=54.0), replace(OWNED, by_inode={}, by_path={}), tally)

    assert tally.models == {}


def test_hidden_processes_are_counted_and_told() -> None:
    found = first(process(7), process(8, visible=False, resident_bytes=5))

    assert found.hidden == 1
    assert [told.visible for told in found.processes] == [True, False]
    assert found.processes[1].resident_bytes == 5


def test_those_that_use_models_are_told_before_the_largest() -> None:
    many = [process(pid, resident_bytes=pid) for pid in range(2, MAX_PROCESSES + 10)]
    found = first(*many, process(1, FileUse(10), resident_bytes=1))

    assert len(found.processes) == MAX_PROCESSES
    assert found.processes[0].pid == 1
    assert found.processes[1].pid == MAX_PROCESSES + 9
    assert found.truncated


def test_models_are_bounded() -> None:
    by_inode = {i: (Owner("team", f"m{i:04}", str(i)),) for i in range(1, MAX_MODELS + 5)}
    found = first(process(7, *map(FileUse, by_inode)), owned=replace(OWNED, by_inode=by_inode))

    assert len(found.models) == MAX_MODELS
    assert found.truncated


def test_a_bound_of_the_look_is_passed_on() -> None:
    assert report(look(truncated=True), OWNED, NOTHING_YET)[0].truncated


def test_the_form_of_an_answer() -> None:
    """Others read it; a field that is renamed here breaks them."""
    _, tally = report(
        look(process(7, FileUse(10, mapped=True, resident_bytes=64))), OWNED, NOTHING_YET
    )
    found, _ = report(
        look(process(7, FileUse(10, mapped=True, resident_bytes=64), cpu_seconds=6.0), at=52.0),
        OWNED,
        tally,
    )

    assert json.loads(to_json(found)) == {
        "sampledTime": "2026-01-02T00:00:00Z",
        "processes": [
            {
                "pid": 7,
                "name": "server",
                "residentBytes": 1000,
                "sharedBytes": 400,
                "cpuMilli": 500,
                "threads": 3,
                "models": ["team/a"],
                "visible": True,
            }
        ],
        "models": [
            {
                "namespace": "team",
                "name": "a",
                "uid": "uid-a",
                "stateHint": "mapped",
                "residentBytes": 64,
                "cpuSeconds": 1.0,
                "processes": [7],
            }
        ],
        "hidden": 0,
        "truncated": False,
    }
    assert parse(to_json(found).encode()) == found
