"""W1 to W14: the worker is killed, or its volume fails, at each named point; the next one goes on.

Points are those of the project's fault table. Each run proves that its point was reached: a worker that
was not killed fails the test. After each kill the invariants hold (nothing wrong under a published path,
foreign files untouched); after the next run all is there and owned by the receipt, and little came twice.
"""

from __future__ import annotations

import hashlib
import json
import random
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.faultserver import FaultServer, answer, serve
from support.worker import MIB, Worker

CONTENT = {
    "big.dat": random.Random(1).randbytes(20 * MIB),  # noqa: S311 - content
    "dir/middle.dat": random.Random(2).randbytes(9 * MIB),  # noqa: S311
    "small.json": b"{}" * 1000,
}
DOCUMENT = "name: m\n"
CANARY = "a foreign file"
IN_FLIGHT = 16 * 8 * MIB
"""Sixteen connections may each lose the stretch that is not yet in the journal."""

CLIENT = "model_gallery.transport.client"
STAGED = "model_gallery.storage.staging:StagedFile"
VOLUME = "model_gallery.storage.volume:Volume"
RECEIPTS = "model_gallery.storage.receipts"
INSTALL = "model_gallery.worker.install:Install"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


WHOLE = {name: sha256(data) for name, data in CONTENT.items()} | {
    "m.yaml": sha256(DOCUMENT.encode())
}


@dataclass
class Stage:
    worker: Worker
    server: FaultServer
    wish: dict[str, Any]

    def kill_at(self, point: tuple[str, str, int], wish: dict[str, Any] | None = None) -> None:
        """Runs an operation that is killed at the point."""
        name, when, count = point
        self.worker.failpoint = (name, when, str(count), "kill")
        process = self.worker.start(wish or self.wish)
        _, errors = process.communicate(timeout=60)
        self.worker.failpoint = ()
        assert process.returncode == -signal.SIGKILL, f"{point} was not reached\n{errors.decode()}"
        self.check_invariants()

    def check_invariants(self) -> None:
        """Nothing wrong is published, and what is not ours is untouched."""
        found = self.worker.published()
        assert found.pop("dir/foreign") == sha256(CANARY.encode())
        assert found.items() <= WHOLE.items()

    def finish(self) -> None:
        """Runs the install to its end; all of it is there, and the receipt owns it."""
        code, line = self.worker.run(self.wish)
        assert (code, line.reason, line.message) == (0, "Succeeded", "")
        found = self.worker.published()
        assert found.pop("dir/foreign") == sha256(CANARY.encode())
        assert found == WHOLE
        receipt = json.loads((self.worker.root / ".modelgallery/receipts/uid-1.json").read_text())
        assert {file["path"]: file["sha256"] for file in receipt["files"]} == WHOLE

    def leave(self) -> None:
        """Removes the Model; what is left is what was there before."""
        assert self.worker.remove()[0] == 0
        left = [path for path in self.worker.root.rglob("*") if path.is_file()]
        assert [str(path.relative_to(self.worker.root)) for path in left] == ["dir/foreign"]


@pytest.fixture
def stage(tmp_path: Path):
    worker = Worker(tmp_path / "volume")
    (worker.root / "dir").mkdir()
    (worker.root / "dir" / "foreign").write_text(CANARY)

    def behave(request):
        head, body = answer(CONTENT[request.path[1:]], request, etag=f'"{request.path}"')
        yield head
        for start in range(0, len(body), MIB):
            yield body[start : start + MIB]

    with serve() as server:
        server.behave = behave
        files = [
            {"path": name, "url": f"{server.url}/{name}", "sha256": sha256(data)}
            for name, data in CONTENT.items()
        ]
        wish = worker.install(*files, documents=[{"path": "m.yaml", "content": DOCUMENT}])
        yield Stage(worker, server, wish)


POINTS = {
    "W1 before the first request": (f"{CLIENT}:HttpClient._request", "before", 1),
    "W2 after headers": (f"{CLIENT}:HttpClient._request", "after", 4),
    "W3 in the body, no byte": (f"{CLIENT}:Response.readinto", "before", 1),
    "W3 in the body, the first bytes": (f"{CLIENT}:Response.readinto", "after", 1),
    "W3 in the body, half way": (f"{STAGED}.write_at", "before", 15),
    "W3 in the body, before the last file is whole": (f"{STAGED}.finish", "before", 3),
    "W4 after a write, before the journal": (f"{STAGED}.write_at", "after", 1),
    "W4 before the journal claims anything": (f"{STAGED}.mark", "before", 1),
    "W5 after the journal": (f"{STAGED}.mark", "after", 1),
    "W6 before the content is looked into": (
        "model_gallery.worker.contents:Contents.look",
        "before",
        1,
    ),
    "W6 after one content is in its place": (f"{STAGED}.finish", "after", 1),
    "W7 before the receipt": (f"{RECEIPTS}:write", "before", 1),
    "W8 after the receipt": (f"{RECEIPTS}:write", "after", 1),
    "W9 after the first published name": (f"{VOLUME}.link", "after", 1),
    "W9 after the second": (f"{VOLUME}.link", "after", 2),
    "W10 before the folder is synced": (f"{INSTALL}._clean", "before", 1),
    "W11 before the result is told": (f"{INSTALL}._result", "before", 1),
    "W11 after the work": (f"{INSTALL}.run", "after", 1),
}


@pytest.mark.parametrize("name", POINTS)
def test_killed_in_an_install(stage: Stage, name: str) -> None:
    stage.kill_at(POINTS[name])
    stage.finish()
    assert stage.server.sent <= sum(map(len, CONTENT.values())) + IN_FLIGHT
    stage.leave()


def test_w12_killed_with_half_of_the_files_gone(stage: Stage) -> None:
    stage.finish()
    owner = {"namespace": "ns", "name": "uid-1", "uid": "uid-1"}
    stage.kill_at((f"{VOLUME}.remove", "after", 2), {"kind": "remove", "owner": owner})
    found = stage.worker.published()
    assert 1 < len(found) < len(WHOLE) + 1
    stage.leave()


def test_w13_killed_where_an_old_partial_is_taken_up(stage: Stage) -> None:
    """Killed once on the way, then again as the second worker has just opened what the first one left."""
    stage.kill_at((f"{STAGED}.mark", "after", 1))
    stage.kill_at((f"{STAGED}.begin", "after", 1))
    stage.finish()
    stage.leave()


def test_w14_killed_in_a_verification(stage: Stage) -> None:
    """It changes nothing, so a kill of it leaves nothing."""
    stage.finish()
    before = stage.worker.everything()
    owner = {"namespace": "ns", "name": "uid-1", "uid": "uid-1"}
    verify = {"kind": "verify", "owner": owner}
    stage.kill_at(("model_gallery.worker.compare:Comparer.judge", "after", 2), verify)
    assert stage.worker.everything() == before
    assert stage.worker.run(verify)[1].reason == "Succeeded"


@pytest.mark.parametrize(
    "point",
    [
        ("model_gallery.worker.compare:Comparer.judge", "after", 1),
        (f"{STAGED}.seed", "after", 1),
        (f"{STAGED}.finish", "before", 1),
    ],
)
def test_w14_killed_in_a_repair(stage: Stage, point: tuple[str, str, int]) -> None:
    stage.finish()
    place = stage.worker.root / "big.dat"
    with place.open("r+b") as file:
        file.seek(17 * MIB)
        file.write(b"X" if CONTENT["big.dat"][17 * MIB] != ord("X") else b"Y")
    name, when, count = point
    stage.worker.failpoint = (name, when, str(count), "kill")
    mend = {**stage.wish, "recheck": True}
    process = stage.worker.start(mend)
    process.communicate(timeout=60)
    stage.worker.failpoint = ()
    assert process.returncode == -signal.SIGKILL

    code, line = stage.worker.run(mend)

    assert (code, line.reason) == (0, "Succeeded")
    assert sha256(place.read_bytes()) == WHOLE["big.dat"]
    stage.leave()


ERRORS = {
    "write": ("os:pwrite", "EIO", "VolumeIOError"),
    "full": ("os:pwrite", "ENOSPC", "NoSpace"),
    "sync": ("os:fsync", "EIO", "VolumeIOError"),
    "late room": ("os:fsync", "ENOSPC", "NoSpace"),
    "rename": ("os:rename", "EIO", "VolumeIOError"),
    "read-only": ("os:rename", "EROFS", "ReadOnlyVolume"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_volume_that_fails_once(stage: Stage, name: str) -> None:
    """A reason of the list, nothing half; the next worker finishes."""
    call, number, reason = ERRORS[name]
    stage.worker.failpoint = (call, "before", "1", number)
    code, line = stage.worker.run(stage.wish)
    stage.worker.failpoint = ()
    assert code != 0
    assert line.reason == reason
    stage.check_invariants()
    stage.finish()
    stage.leave()
