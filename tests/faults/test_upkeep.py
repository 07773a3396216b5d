"""The life after an install, with the real worker: verification, repair, a way back, scans, collection."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from model_gallery.protocol.report import InventoryLine, Problem, ResultLine, parse_line
from support.faultserver import answer, serve
from support.worker import MIB, Worker

BIG = random.Random(5).randbytes(96 * MIB)  # noqa: S311 - content
SMALL = b"tokens" * 1000


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def place(tmp_path: Path):
    """A volume with one installed Model, the server it came from, and the operation."""
    worker = Worker(tmp_path / "volume")
    contents = {"big.dat": BIG, "sub/small.json": SMALL}

    with serve() as server:

        def behave(request):
            head, body = answer(contents[request.path[1:]], request, etag='"1"')
            yield head
            for start in range(0, len(body), MIB):
                yield body[start : start + MIB]

        server.behave = behave
        files = [
            {"path": name, "url": f"{server.url}/{name}", "sha256": sha(data)}
            for name, data in contents.items()
        ]
        wish = worker.install(*files, documents=[{"path": "m.yaml", "content": "name: m\n"}])
        code, line = worker.run(wish)
        assert (code, line.reason) == (0, "Succeeded")
        server.contents = contents
        yield worker, server, wish


def owner(worker: Worker) -> dict[str, str]:
    return {"namespace": "ns", "name": worker.uid, "uid": worker.uid}


def verify(worker: Worker, **more) -> ResultLine:
    code, line = worker.run({"kind": "verify", "owner": owner(worker), **more})
    assert code == 0
    return line


def scan(worker: Worker, **more) -> tuple[ResultLine, list[InventoryLine]]:
    process = worker.start({"kind": "scan", "owner": owner(worker), **more}, keep_output=True)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    lines = [parse_line(text) for text in output.decode().splitlines()]
    return lines[-1], [line for line in lines if isinstance(line, InventoryLine)]


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


def problems(line: ResultLine) -> dict[str, str]:
    return {problem.path: problem.problem for problem in line.problems}


def test_a_whole_model_has_no_problem(place) -> None:
    worker, _, _ = place
    line = verify(worker)
    assert (line.problems_total, line.size_bytes) == (0, len(BIG) + len(SMALL) + 8)


@pytest.mark.parametrize("offset", [0, 40 * MIB, len(BIG) - 1])
def test_one_flipped_byte_is_found_and_mended_by_one_chunk(place, offset: int) -> None:
    worker, server, wish = place
    flip(worker.root / "big.dat", offset)
    assert problems(verify(worker)) == {"big.dat": Problem.DAMAGED}
    before = server.sent
    code, line = worker.run({**wish, "recheck": True})
    assert (code, line.reason) == (0, "Succeeded")
    assert server.sent - before <= 17 * MIB
    assert worker.published()["big.dat"] == sha(BIG)
    assert verify(worker).problems_total == 0


def test_two_damages_fetch_the_file_anew(place) -> None:
    worker, _, wish = place
    flip(worker.root / "big.dat", 0)
    flip(worker.root / "big.dat", 50 * MIB)
    code, line = worker.run({**wish, "recheck": True})
    assert (code, line.reason) == (0, "Succeeded")
    assert worker.published()["big.dat"] == sha(BIG)


def test_damage_without_marks_fetches_the_file_anew(place) -> None:
    worker, _, wish = place
    flip(worker.root / "big.dat", 5)
    shutil.rmtree(worker.root / ".modelgallery" / "marks")
    worker.run({**wish, "recheck": True})
    assert worker.published()["big.dat"] == sha(BIG)


def test_a_missing_file_gets_its_name_back_without_a_download(place) -> None:
    worker, server, wish = place
    (worker.root / "big.dat").unlink()
    (worker.root / "m.yaml").write_text("somebody's own")
    assert problems(verify(worker)) == {"big.dat": Problem.MISSING, "m.yaml": Problem.DAMAGED}
    before = server.sent
    worker.run({**wish, "recheck": True})
    assert server.sent == before
    assert worker.published()["big.dat"] == sha(BIG)
    assert (worker.root / "m.yaml").read_text() == "name: m\n"


def test_a_file_that_somebody_replaced_is_put_back(place) -> None:
    worker, _, wish = place
    (worker.root / "sub" / "small.json").unlink()
    (worker.root / "sub" / "small.json").write_bytes(SMALL[:-1] + b"x")
    assert problems(verify(worker)) == {"sub/small.json": Problem.DAMAGED}
    worker.run({**wish, "recheck": True})
    assert worker.published()["sub/small.json"] == sha(SMALL)


def test_a_content_that_lost_its_own_name_gets_it_back(place) -> None:
    worker, server, wish = place
    (worker.root / ".modelgallery/blobs/sha256" / sha(BIG)).unlink()
    assert verify(worker).problems_total == 0
    before = server.sent
    worker.run({**wish, "recheck": True})
    assert server.sent == before
    assert (worker.root / ".modelgallery/blobs/sha256" / sha(BIG)).samefile(worker.root / "big.dat")


def test_content_without_a_promise_is_mended_to_what_was_fetched(place) -> None:
    worker, server, wish = place
    files = [
        {key: value for key, value in file.items() if key != "sha256"} for file in wish["files"]
    ]
    wish = {**wish, "files": files, "planDigest": "b" * 64}
    assert worker.run(wish)[1].verified is False
    flip(worker.root / "big.dat", 20 * MIB)
    before = server.sent
    code, line = worker.run({**wish, "recheck": True})
    assert (code, line.verified) == (0, False)
    assert server.sent - before <= 17 * MIB
    assert worker.published()["big.dat"] == sha(BIG)


def test_reading_is_limited(place) -> None:
    """96 MiB at 64 MiB/s take more than a second, less what may be taken at once."""
    worker, _, _ = place
    begin = time.monotonic()
    verify(worker, bandwidthBytes=64 * MIB)
    assert time.monotonic() - begin > 0.9


def test_the_receipt_is_gone(place) -> None:
    worker, _, _ = place
    shutil.rmtree(worker.root / ".modelgallery" / "receipts")
    line = verify(worker)
    assert line.problems_total == 1
    assert "no receipt" in line.message


def updated(wish: dict, server, data: bytes, digest: str, **more) -> dict:
    server.contents["big.dat"] = data
    first = {**wish["files"][0], "sha256": sha(data)}
    return {**wish, "files": [first, wish["files"][1]], "planDigest": digest, **more}


def test_a_way_back_costs_no_download(place) -> None:
    worker, server, wish = place
    newer = BIG[: 8 * MIB]
    assert worker.run(updated(wish, server, newer, "c" * 64, keepSeconds=3600))[0] == 0
    assert worker.published()["big.dat"] == sha(newer)
    before = server.sent
    assert worker.run({**wish, "keepSeconds": 3600})[0] == 0
    assert server.sent == before
    assert worker.published()["big.dat"] == sha(BIG)


def test_what_is_fetched_ahead_is_published_later_without_a_download(place) -> None:
    """The switch of a model that pods use: the bytes come before the wait, the names after it."""
    worker, server, wish = place
    standing, newer = worker.published(), BIG[: 8 * MIB]
    wish = updated(wish, server, newer, "c" * 64)
    code, line = worker.run({**wish, "fetchOnly": True})
    assert (code, line.fetched_bytes) == (0, len(newer))
    assert worker.published() == standing
    before = server.sent
    assert worker.run(wish)[0] == 0
    assert server.sent == before
    assert worker.published() == {**standing, "big.dat": sha(newer)}


def test_what_nobody_could_find_again_is_not_fetched_ahead(place) -> None:
    worker, server, wish = place
    wish = updated(wish, server, BIG[: 8 * MIB], "c" * 64)
    for file in wish["files"]:
        file.pop("sha256")
    before = server.sent
    assert worker.run({**wish, "fetchOnly": True})[0] == 0
    assert server.sent - before < 1000, "the heads of two answers"


def test_without_a_time_to_keep_nothing_is_kept(place) -> None:
    worker, server, wish = place
    worker.run(updated(wish, server, BIG[: 8 * MIB], "c" * 64))
    assert not (worker.root / ".modelgallery/blobs/sha256" / sha(BIG)).exists()
    assert not (worker.root / ".modelgallery/marks" / sha(BIG)).exists()


def test_what_was_kept_goes_with_the_model(place) -> None:
    worker, server, wish = place
    worker.run(updated(wish, server, BIG[: 8 * MIB], "c" * 64, keepSeconds=3600))
    assert (worker.root / ".modelgallery/blobs/sha256" / sha(BIG)).exists()
    assert worker.remove()[0] == 0
    assert worker.everything() == []


def test_plan_only_tells_and_changes_nothing(tmp_path: Path, place) -> None:
    _, _, wish = place
    worker = Worker(tmp_path / "other")
    code, line = worker.run({**wish, "planOnly": True})
    assert (code, line.reason) == (0, "Succeeded")
    assert (line.files_total, line.size_bytes) == (2, len(BIG) + len(SMALL))
    assert line.fetched_bytes == line.size_bytes
    assert worker.everything() == []
    assert worker.run(wish)[0] == 0
    assert worker.run({**wish, "planOnly": True})[1].fetched_bytes == 0


def test_required_checksums_refuse_before_the_first_byte(tmp_path: Path, place) -> None:
    _, server, wish = place
    worker = Worker(tmp_path / "other")
    bare = {key: value for key, value in wish["files"][0].items() if key != "sha256"}
    before = server.sent
    code, line = worker.run({**wish, "files": [bare], "checksumsRequired": True})
    assert (code, line.reason) == (36, "ChecksumRequired")
    assert "big.dat" in line.message
    assert server.sent - before < MIB
    assert worker.run({**wish, "checksumsRequired": True})[0] == 0


def test_a_scan_tells_models_loose_files_and_room(place) -> None:
    worker, _, _ = place
    (worker.root / "loose.gguf").write_bytes(b"x" * 1000)
    (worker.root / "sub" / "deep").mkdir()
    (worker.root / "sub" / "deep" / "other.bin").write_bytes(b"y" * 50)
    (worker.root / "planted").symlink_to("/etc/passwd")
    line, lines = scan(worker)
    model = lines[0].models[0]
    assert (model.uid, model.files, model.problems_total) == (worker.uid, 3, 0)
    loose = {file.path: file.size_bytes for part in lines for file in part.loose}
    assert loose == {"loose.gguf": 1000, "sub/deep/other.bin": 50}
    facts = line.volume
    assert (facts.loose_files, facts.loose_bytes, facts.cut) == (2, 1050, False)
    assert facts.managed_bytes == len(BIG) + len(SMALL) + len("name: m\n")
    system = os.statvfs(worker.root)
    assert facts.capacity_bytes == system.f_blocks * system.f_frsize
    assert 0 < facts.available_bytes <= facts.capacity_bytes


def test_a_scan_notices_without_reading(place) -> None:
    worker, _, _ = place
    flip(worker.root / "big.dat", 5)
    (worker.root / "sub" / "small.json").unlink()
    (worker.root / "m.yaml").write_text("longer than it was")
    _, lines = scan(worker)
    found = {problem.path: problem.problem for problem in lines[0].models[0].problems}
    assert found == {
        "big.dat": Problem.TOUCHED,
        "sub/small.json": Problem.MISSING,
        "m.yaml": Problem.DAMAGED,
    }


def test_a_scan_is_bounded(place) -> None:
    worker, _, _ = place
    for number in range(30):
        (worker.root / f"{number}.bin").write_bytes(b"")
    line, lines = scan(worker, maxFiles=10)
    assert line.volume.cut
    assert sum(len(part.loose) for part in lines) <= 10


def test_waste_is_counted_then_collected(place) -> None:
    worker, _, _ = place
    blobs = worker.root / ".modelgallery" / "blobs" / "sha256"
    (blobs / ("a" * 64)).write_bytes(b"z" * 100)
    staged = worker.root / ".modelgallery" / "staging" / "dead" / "plan"
    staged.mkdir(parents=True)
    (staged / "0.part").write_bytes(b"z" * 10)
    line, _ = scan(worker, collectAgeSeconds=0)
    assert line.volume.reclaimable_bytes == 110
    line, _ = scan(worker, collect=True, collectAgeSeconds=3600)
    assert line.volume.collected_bytes == 0
    line, _ = scan(worker, collect=True, collectAgeSeconds=0, models=[worker.uid])
    assert line.volume.collected_bytes == 110
    assert not staged.exists()
    assert verify(worker).problems_total == 0


def test_contents_of_an_install_under_way_are_not_collected(place) -> None:
    worker, _, _ = place
    blob = worker.root / ".modelgallery" / "blobs" / "sha256" / ("a" * 64)
    blob.write_bytes(b"z" * 100)
    (worker.root / ".modelgallery" / "staging" / "busy" / "plan").mkdir(parents=True)
    scan(worker, collect=True, collectAgeSeconds=0, models=["busy"])
    assert blob.exists()


def test_marks_that_lie_do_no_harm(place) -> None:
    worker, _, wish = place
    path = worker.root / ".modelgallery" / "marks" / sha(BIG)
    marks = json.loads(path.read_text())
    marks["prefixes"][0] = "0" * 32
    path.write_text(json.dumps(marks))
    flip(worker.root / "big.dat", 90 * MIB)
    code, _ = worker.run({**wish, "recheck": True})
    assert code == 0
    assert worker.published()["big.dat"] == sha(BIG)
