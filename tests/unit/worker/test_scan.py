"""What a scan tells of a volume, and what it takes from it where that is asked for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_gallery.protocol.message import to_json
from model_gallery.protocol.operation import Owner, ScanOperation
from model_gallery.protocol.report import (
    FileProblem,
    InventoryLine,
    Problem,
    VolumeFacts,
    parse_line,
)
from model_gallery.storage import layout, receipts
from model_gallery.storage.receipts import KeptContent, Receipt, ReceiptFile
from model_gallery.storage.volume import Volume
from model_gallery.worker.report import Reporter
from model_gallery.worker.scan import Scan
from support.worker import Out

MIB = 1 << 20
A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    opened = Volume(tmp_path)
    yield opened
    opened.close()


def put(root: Path, path: str | tuple[str, ...], content: bytes = b"1234") -> Path:
    file = root.joinpath(*(path.split("/") if isinstance(path, str) else path))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def scan(volume: Volume, **changes: Any) -> tuple[VolumeFacts, list[InventoryLine]]:
    out = Out()
    owner = Owner(namespace="ns", name="g", uid="uid-g")
    operation = ScanOperation(**{"owner": owner, "collect_age_seconds": 0, **changes})
    result = Scan(operation, volume, Reporter(out, Path("/nonexistent/log"))).run()
    assert result.volume is not None
    lines = [parse_line(text) for text in out.getvalue().splitlines()]
    return result.volume, [line for line in lines if isinstance(line, InventoryLine)]


def loose(lines: list[InventoryLine]) -> dict[str, int]:
    return {file.path: file.size_bytes for line in lines for file in line.loose}


def receipt(volume: Volume, *files: ReceiptFile, **changes: Any) -> None:
    known = {"namespace": "ns", "name": "m", "uid": "uid-m", "plan_digest": "d", "files": files}
    receipts.write(volume, Receipt(**{**known, **changes}))


def test_an_empty_volume(volume: Volume) -> None:
    facts, lines = scan(volume)

    assert lines == []
    assert (facts.managed_bytes, facts.loose_bytes, facts.reclaimable_bytes) == (0, 0, 0)
    assert facts.capacity_bytes >= facts.available_bytes > 0


def test_files_that_no_receipt_names_are_loose(volume: Volume, tmp_path: Path) -> None:
    put(tmp_path, "free.gguf")
    put(tmp_path, "sub/deep/free.gguf", b"12")
    put(tmp_path, "owned.gguf")
    receipt(volume, ReceiptFile(path="owned.gguf", size_bytes=4, sha256=A))

    facts, lines = scan(volume)

    assert loose(lines) == {"free.gguf": 4, "sub/deep/free.gguf": 2}
    assert (facts.loose_files, facts.loose_bytes, facts.managed_bytes) == (2, 6, 4)


def test_a_name_that_is_no_utf_8_does_not_cost_the_report(volume: Volume, tmp_path: Path) -> None:
    put(tmp_path, "whole.gguf")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.gguf")).write_bytes(b"12")

    _, lines = scan(volume)

    assert loose(lines) == {"whole.gguf": 4, "caf�.gguf": 2}


def test_links_are_not_followed(volume: Volume, tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/etc")
    (tmp_path / "passwd").symlink_to("/etc/passwd")

    assert scan(volume)[1] == []


def test_more_files_than_are_looked_at(volume: Volume, tmp_path: Path) -> None:
    for number in range(5):
        put(tmp_path, f"{number}.gguf")

    facts, lines = scan(volume, max_files=3)

    assert facts.cut
    assert len(loose(lines)) == 3
    assert not scan(volume, max_files=5)[0].cut


def test_folders_without_files_have_an_end_too(volume: Volume, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / str(number)).mkdir()

    assert scan(volume, max_files=3)[0].cut
    assert not scan(volume, max_files=4)[0].cut


def test_all_are_counted_and_the_first_are_told(
    volume: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model_gallery.worker.scan.MAX_LOOSE_FILES", 3)
    for number in range(5):
        put(tmp_path, f"{number}.gguf")

    facts, lines = scan(volume)

    assert len(loose(lines)) == 3
    assert (facts.loose_files, facts.loose_bytes, facts.cut) == (5, 20, False)


def test_long_paths_do_not_fill_the_log(volume: Volume, tmp_path: Path) -> None:
    """Each of these takes six bytes in JSON for each of its own."""
    deep = "/".join(["\x01" * 250] * 12)
    for number in range(400):
        put(tmp_path, f"{deep}/{number}.gguf")

    facts, lines = scan(volume)

    assert facts.loose_files == 400
    assert sum(len(to_json(line)) for line in lines) < 5 * MIB
    assert len(loose(lines)) > 200


def test_no_line_holds_more_than_fifty(volume: Volume, tmp_path: Path) -> None:
    for number in range(101):
        put(tmp_path, f"{number}.gguf")

    assert [len(line.loose) for line in scan(volume)[1]] == [50, 50, 1]


def test_what_a_look_without_reading_can_tell(volume: Volume, tmp_path: Path) -> None:
    whole, touched = put(tmp_path, "whole"), put(tmp_path, "touched")
    put(tmp_path, "short", b"1")
    put(tmp_path, "unknown")
    receipt(
        volume,
        ReceiptFile(path="whole", size_bytes=4, sha256=A, modified_ns=whole.stat().st_mtime_ns),
        ReceiptFile(
            path="touched", size_bytes=4, sha256=A, modified_ns=touched.stat().st_mtime_ns - 1
        ),
        ReceiptFile(path="short", size_bytes=4, sha256=A),
        ReceiptFile(path="gone", size_bytes=4, sha256=A),
        ReceiptFile(path="unknown", size_bytes=4, sha256=A, modified_ns=0),
    )

    facts, (line,) = scan(volume)

    (model,) = line.models
    assert (model.uid, model.files, model.problems_total) == ("uid-m", 5, 3)
    assert model.problems == (
        FileProblem(path="touched", problem=Problem.TOUCHED),
        FileProblem(path="short", problem=Problem.DAMAGED),
        FileProblem(path="gone", problem=Problem.MISSING),
    )
    assert facts.damaged_models == 1


def test_what_nobody_needs_is_counted_and_left(volume: Volume, tmp_path: Path) -> None:
    blob = put(tmp_path, layout.blob(B))
    part = put(tmp_path, (*layout.staging("dead", "d"), "0.part"), b"12")

    facts, _ = scan(volume)

    assert (facts.reclaimable_bytes, facts.collected_bytes) == (6, 0)
    assert blob.exists()
    assert part.exists()


def test_what_nobody_needs_goes_where_that_is_asked_for(volume: Volume, tmp_path: Path) -> None:
    needed, kept = put(tmp_path, layout.blob(A)), put(tmp_path, layout.blob(C))
    part = put(tmp_path, (*layout.staging("dead", "d"), "0.part"), b"12")
    waste, along = put(tmp_path, layout.blob(B)), put(tmp_path, layout.marks(B), b"{}")
    until = int(time.time()) + 60
    receipt(
        volume,
        ReceiptFile(path="a", size_bytes=4, sha256=A),
        kept=(KeptContent(sha256=C, size_bytes=4, until=until),),
    )

    facts, _ = scan(volume, collect=True)

    assert (facts.reclaimable_bytes, facts.collected_bytes, facts.managed_bytes) == (0, 6, 8)
    assert (waste.exists(), along.exists(), part.exists()) == (False, False, False)
    assert (needed.exists(), kept.exists()) == (True, True)


def test_a_content_whose_time_is_over_is_waste(volume: Volume, tmp_path: Path) -> None:
    old = put(tmp_path, layout.blob(C))
    receipt(volume, kept=(KeptContent(sha256=C, size_bytes=4, until=1),))

    assert scan(volume)[0].reclaimable_bytes == 4
    assert old.exists()


def test_what_is_young_stays(volume: Volume, tmp_path: Path) -> None:
    blob = put(tmp_path, layout.blob(B))
    part = put(tmp_path, (*layout.staging("dead", "d"), "0.part"))

    facts, _ = scan(volume, collect=True, collect_age_seconds=3600)

    assert (facts.reclaimable_bytes, facts.collected_bytes) == (0, 0)
    assert blob.exists()
    assert part.exists()


def test_an_install_under_way_keeps_all_contents(volume: Volume, tmp_path: Path) -> None:
    """Those that it has fetched already stand in no receipt yet."""
    part = put(tmp_path, (*layout.staging("uid-m", "d"), "0.part"))
    blob = put(tmp_path, layout.blob(B))

    facts, _ = scan(volume, collect=True, models=("uid-m",))

    assert (facts.reclaimable_bytes, facts.collected_bytes) == (0, 0)
    assert part.exists()
    assert blob.exists()


def test_a_content_that_still_has_a_name_frees_nothing(volume: Volume, tmp_path: Path) -> None:
    blob = put(tmp_path, layout.blob(B))
    os.link(blob, tmp_path / "name")

    assert scan(volume)[0].reclaimable_bytes == 0
