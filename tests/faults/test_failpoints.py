"""kill -9 and volume errors at the points W1 to W14: what stands, who owns it, what is fetched twice.

Each run must meet its point, or it fails. What a random kill hits by luck (test_kill_runs.py) is hit here
by name. The volume is looked at with the tests' own code (support/volumecheck.py).
"""

from __future__ import annotations

import random
import signal
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_gallery.protocol.report import ResultLine
from support.failpoints import POINTS, at_point
from support.faultserver import FaultServer, Request, answer, serve
from support.volumecheck import Watcher, digest, facts, owned_by, published
from support.worker import MIB, Worker

BIG, MIDDLE, SMALL = "big.gguf", "dir/middle.dat", "dir/small.json"
CONTENT = {
    BIG: random.Random(1).randbytes(24 * MIB),  # noqa: S311 - content
    MIDDLE: random.Random(2).randbytes(5 * MIB),  # noqa: S311
    SMALL: b"{}" * 1000,
}
NEWER = {
    BIG: random.Random(3).randbytes(9 * MIB),  # noqa: S311
    MIDDLE: random.Random(4).randbytes(6 * MIB),  # noqa: S311
}
DOCUMENT = "name: m\n"
EXPECTED = {name: digest(data) for name, data in CONTENT.items()} | {
    "m.yaml": digest(DOCUMENT.encode())
}
AFTER_UPDATE = {name: digest(data) for name, data in NEWER.items()} | {"m.yaml": EXPECTED["m.yaml"]}
BODY, VERIFYING = "W3 in the body", "W14 in the second block of a published file"
IN_BODY = {"at 0": 0, "at 1 byte": 1, "at half": len(CONTENT[BIG]) // 2}
TOTAL = sum(map(len, CONTENT.values()))
MARK_BYTES, MOST_CONNECTIONS = 8 * MIB, 16

INSTALLING = [
    name
    for name in POINTS
    if name.startswith(("W1 ", "W2", "W4", "W5", "W6", "W7", "P02", "W8", "W10", "W11"))
    and not name.endswith("the old goes")
] + ["W9 between two publishes"]
REPLACING = [
    "W9 between the temporary name and the published one",
    "W9 between two replacements",
    "W11 after the publish, before the old goes",
]
REMOVING = [name for name in POINTS if name.startswith("W12")]


class Place:
    """A volume with a foreign file, the server, and somebody who watches."""

    def __init__(self, root: Path, server: FaultServer) -> None:
        self.worker, self.server = Worker(root), server
        self.contents = dict(CONTENT)
        self.foreign = root / "dir" / "foreign"
        self.foreign.parent.mkdir()
        self.foreign.write_text("a foreign file")
        self.canary = facts(self.foreign)
        server.behave = self._behave
        allowed = {
            name: [data, *[data for data in [NEWER.get(name)] if data is not None]]
            for name, data in CONTENT.items()
        }
        self.watcher = Watcher(root, allowed | {"m.yaml": [DOCUMENT.encode()]})
        self.watcher.start()

    def _behave(self, request: Request) -> Iterator[Any]:
        data = self.contents[request.path[1:]]
        head, body = answer(data, request, etag=f'"{len(data)}"')
        yield head
        for start in range(0, len(body), MIB):
            yield body[start : start + MIB]

    def wish(self) -> dict[str, Any]:
        files = [
            {"path": name, "url": f"{self.server.url}/{name}", "sha256": digest(data)}
            for name, data in self.contents.items()
        ]
        return self.worker.install(*files, documents=[{"path": "m.yaml", "content": DOCUMENT}])

    def remove_wish(self) -> dict[str, Any]:
        return {"kind": "remove", "owner": self.wish()["owner"], "retainFiles": False}

    def verify_wish(self) -> dict[str, Any]:
        return {"kind": "verify", "owner": self.wish()["owner"]}

    def stop_at(self, name: str, wish: dict[str, Any], *, wrote: int = 0) -> None:
        """Runs the worker until it kills itself at the point, and looks at what it left."""
        reached = at_point(self.worker, name, wrote=wrote)
        process = self.worker.start(wish)
        _, errors = process.communicate(timeout=60)
        self.be_plain()
        assert reached(), errors.decode()
        assert process.returncode == -signal.SIGKILL
        self.check_owned()

    def fail_at(
        self, name: str, act: str, wish: dict[str, Any], *, wrote: int = 0
    ) -> tuple[int, ResultLine]:
        reached = at_point(self.worker, name, act, wrote=wrote)
        found = self.worker.run(wish)
        self.be_plain()
        assert reached(), found
        self.check_owned()
        return found

    def be_plain(self) -> None:
        self.worker.module, self.worker.environment = "model_gallery", {}

    def check_owned(self) -> None:
        """Whatever stands under a published path is in the receipt, with its content or a newer one."""
        owned = owned_by(self.worker.root, self.worker.uid)
        visible = {name for name in self.published() if ".modelgallery-" not in name}
        assert visible <= owned.keys()
        assert facts(self.foreign) == self.canary

    def everything(self) -> dict[str, tuple[object, ...]]:
        files = (path for path in sorted(self.worker.root.rglob("*")) if path.is_file())
        return {str(path): facts(path) for path in files}

    def published(self) -> dict[str, str]:
        found = published(self.worker.root)
        found.pop("dir/foreign")
        return found

    def check_installed(self, expected: dict[str, str]) -> None:
        assert self.published() == expected
        assert owned_by(self.worker.root, self.worker.uid) == expected
        folder = self.worker.root / ".modelgallery"
        assert sorted(path.name for path in folder.iterdir()) == ["blobs", "marks", "receipts"]
        blobs = {path.name for path in (folder / "blobs" / "sha256").iterdir()}
        assert blobs == {sha for name, sha in expected.items() if name != "m.yaml"}
        self.check_owned()

    def check_gone(self) -> None:
        assert self.worker.everything() == ["dir", "dir/foreign"]
        assert facts(self.foreign) == self.canary

    def kept(self) -> dict[str, list[tuple[int, int]]]:
        """Returns the stretches that need not be fetched again: whole contents, and what journals claim."""
        ours, found = self.worker.root / ".modelgallery", {}
        for number, (name, data) in enumerate(self.contents.items()):
            if (ours / "blobs" / "sha256" / digest(data)).exists():
                found[name] = [(0, len(data))]
            for journal in (ours / "staging").rglob(f"{number}.part.journal"):
                found[name] = claims(journal)
        return found

    def fetched_since(self, number: int) -> Iterator[tuple[str, int, int]]:
        """Returns what was asked for after so many requests, but for the probes of the first byte."""
        for request in self.server.requests[number:]:
            name = request.path[1:]
            start, end = request.span or (0, None)
            if (start, end) != (0, 1):
                yield name, start, end if end is not None else len(self.contents[name])


def claims(journal: Path) -> list[tuple[int, int]]:
    records = journal.read_bytes()[64:]
    whole = len(records) - len(records) % 20
    return [(start, end) for start, end, _ in struct.iter_unpack("<QQI", records[:whole])]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with serve() as server:
        one = Place(tmp_path / "volume", server)
        yield one
        assert one.watcher.end() == ""


def goes_on(place: Place, expected: dict[str, str] = EXPECTED) -> None:
    """The next worker finishes, and asks for no byte that its predecessor made durable."""
    kept, before = place.kept(), len(place.server.requests)

    code, line = place.worker.run(place.wish())

    assert (code, line.reason) == (0, "Succeeded")
    place.check_installed(expected)
    for name, start, end in place.fetched_since(before):
        assert all(end <= begin or start >= stop for begin, stop in kept.get(name, []))


def goes_away(place: Place) -> None:
    """A removal right after the kill, and the collection of what had no owner yet, leave nothing."""
    assert place.worker.remove()[0] == 0
    assert place.published() == {}
    collect = {"kind": "scan", "collect": True, "collectAgeSeconds": 0, "models": []}
    assert place.worker.run({**collect, "owner": place.wish()["owner"]})[0] == 0
    place.check_gone()


@pytest.mark.parametrize("then", [goes_on, goes_away])
@pytest.mark.parametrize("name", INSTALLING)
def test_killed_while_installing(place: Place, name: str, then: Any) -> None:
    place.stop_at(name, place.wish())
    then(place)


@pytest.mark.parametrize("wrote", [*IN_BODY.values(), TOTAL - 1], ids=[*IN_BODY, "at the last"])
def test_killed_in_the_body(place: Place, wrote: int) -> None:
    place.stop_at(BODY, place.wish(), wrote=wrote)

    ranges = len([*place.fetched_since(0)])
    kept = sum(end - start for some in place.kept().values() for start, end in some)
    assert wrote - kept <= MARK_BYTES * min(ranges, MOST_CONNECTIONS)
    assert place.published() == {}
    goes_on(place)


@pytest.mark.parametrize("then", [goes_on, goes_away])
def test_killed_with_an_old_partial_in_hand(place: Place, then: Any) -> None:
    """W13: the second worker dies when it has read what the first one left."""
    place.stop_at("W5 after the journal, before the next sync", place.wish())
    before = place.kept()
    assert any(before.values())

    place.stop_at("W13 an old partial was read", place.wish())

    assert place.kept() == before
    then(place)


def test_killed_with_the_file_of_somebody_else_in_hand(place: Place) -> None:
    """W13: what lay under the wished path stays there, and is not fetched."""
    (place.worker.root / "dir" / "moved").write_bytes(CONTENT[BIG])
    (place.worker.root / "dir" / "moved").rename(place.worker.root / BIG)
    standing = facts(place.worker.root / BIG)
    reached = at_point(place.worker, "W13 a file of somebody else gets its second name")
    process = place.worker.start(place.wish())
    process.communicate(timeout=60)
    place.be_plain()

    assert reached()
    assert process.returncode == -signal.SIGKILL
    assert facts(place.worker.root / BIG) == standing
    goes_on(place)
    assert facts(place.worker.root / BIG) == standing
    assert BIG not in {name for name, _, _ in place.fetched_since(0)}


@pytest.fixture
def installed(place: Place) -> Place:
    assert place.worker.run(place.wish())[0] == 0
    return place


def update(place: Place) -> dict[str, Any]:
    """Both large files change and the small one leaves."""
    place.contents = dict(NEWER)
    return place.wish()


@pytest.mark.parametrize("then", [goes_on, goes_away])
@pytest.mark.parametrize("name", REPLACING)
def test_killed_while_replacing(installed: Place, name: str, then: Any) -> None:
    installed.stop_at(name, update(installed))

    if then is goes_on:
        goes_on(installed, AFTER_UPDATE)
    else:
        goes_away(installed)


def test_killed_while_replacing_and_taken_back(installed: Place) -> None:
    """The way back after a kill between two replacements is the old plan, whole."""
    installed.stop_at("W9 between two replacements", update(installed))
    installed.contents = dict(CONTENT)

    assert installed.worker.run(installed.wish())[0] == 0
    installed.check_installed(EXPECTED)


@pytest.mark.parametrize("then", ["removed", "installed"])
@pytest.mark.parametrize("name", REMOVING)
def test_killed_while_removing(installed: Place, name: str, then: str) -> None:
    installed.stop_at(name, installed.remove_wish())

    if then == "removed":
        assert installed.worker.remove()[0] == 0
        installed.check_gone()
    else:
        goes_on(installed)


def test_killed_while_verifying(installed: Place) -> None:
    """W14: nothing on the volume has changed, and the next look sees all of it."""
    before = installed.everything()

    installed.stop_at(VERIFYING, installed.verify_wish())

    assert installed.everything() == before
    code, line = installed.worker.run(installed.verify_wish())
    assert (code, line.problems_total) == (0, 0)
    assert line.size_bytes == TOTAL + len(DOCUMENT)


REPAIRING = [
    VERIFYING,
    "W4 after the sync, before the journal",
    "W7 after the digest, before the last sync",
    "P02 after the last sync, before the rename",
    "W9 between the temporary name and the published one",
]


@pytest.mark.parametrize("name", REPAIRING)
def test_killed_while_repairing(installed: Place, name: str) -> None:
    """W14: a damaged file is found and mended whatever the first repair was killed at."""
    installed.watcher.end()
    with (installed.worker.root / BIG).open("r+b") as file:
        file.write(b"damage")
    repair = {**installed.wish(), "recheck": True}
    reached = at_point(installed.worker, name)
    process = installed.worker.start(repair)
    process.communicate(timeout=60)
    installed.be_plain()
    assert reached()
    assert process.returncode == -signal.SIGKILL

    assert installed.worker.run(repair)[0] == 0
    installed.check_installed(EXPECTED)


IO_ERROR = (42, "VolumeIOError")
ERRORS = {"ENOSPC": (40, "NoSpace"), "EIO": IO_ERROR, "EROFS": (41, "ReadOnlyVolume")}
WRITING = [
    BODY,
    "W4 after the write, before the sync",
    "W5 after the journal, before the next sync",
    "W7 after the digest, before the last sync",
    "P02 after the last sync, before the rename",
    "W7 after the rename, before the receipt",
    "W8 after the receipt, before the first publish",
    "W9 between two publishes",
    "W10 after the publish, before the folder's sync",
    "W10 before the configuration is in its place",
    "W11 after the last receipt",
]
READING = ["W6 while it is hashed"]


@pytest.mark.parametrize("act", ERRORS)
@pytest.mark.parametrize("name", WRITING)
def test_an_error_of_the_volume_while_installing(place: Place, name: str, act: str) -> None:
    """It is told by its reason at once; what was durable before is used by the next worker."""
    code, line = place.fail_at(name, act, place.wish(), wrote=IN_BODY["at half"])

    assert (code, line.reason) == ERRORS[act], line.message
    goes_on(place)


@pytest.mark.parametrize("name", READING)
def test_an_error_of_reading_while_installing(place: Place, name: str) -> None:
    code, line = place.fail_at(name, "EIO", place.wish())

    assert (code, line.reason) == IO_ERROR, line.message
    goes_on(place)


def test_an_error_of_the_volume_with_an_old_partial_in_hand(place: Place) -> None:
    place.stop_at("W5 after the journal, before the next sync", place.wish())

    code, line = place.fail_at("W13 an old partial was read", "EIO", place.wish())

    assert (code, line.reason) == IO_ERROR, line.message
    goes_on(place)


@pytest.mark.parametrize("act", ERRORS)
@pytest.mark.parametrize("name", REPLACING)
def test_an_error_of_the_volume_while_replacing(installed: Place, name: str, act: str) -> None:
    code, line = installed.fail_at(name, act, update(installed))

    assert (code, line.reason) == ERRORS[act], line.message
    goes_on(installed, AFTER_UPDATE)


@pytest.mark.parametrize("name", REMOVING)
def test_an_error_of_the_volume_while_removing(installed: Place, name: str) -> None:
    code, line = installed.fail_at(name, "EIO", installed.remove_wish())

    assert (code, line.reason) == IO_ERROR, line.message
    assert installed.worker.remove()[0] == 0
    installed.check_gone()


def test_an_error_of_the_volume_while_verifying(installed: Place) -> None:
    """What cannot be read now is not called damaged."""
    before = installed.everything()

    code, line = installed.fail_at(VERIFYING, "EIO", installed.verify_wish())

    assert (code, line.reason) == IO_ERROR, line.message
    assert installed.everything() == before


OPENING = "W9 before what loaders begin with"


def test_a_loader_that_comes_early_finds_no_model_rather_than_half_of_one(tmp_path: Path) -> None:
    """Killed before the first file that leads to others has its name: all of the others have theirs."""
    worker = Worker(tmp_path / "volume")
    contents = {
        name: name.encode()
        for name in ("m/config.json", "m/a.index.json", "m/one.dat", "m/two.dat")
    }
    with serve() as server:

        def behave(request: Request) -> Iterator[bytes]:
            yield from answer(contents[request.path[1:]], request, etag='"1"')

        server.behave = behave
        files = [
            {"path": name, "url": f"{server.url}/{name}", "sha256": digest(data)}
            for name, data in contents.items()
        ]
        wish = worker.install(*files, documents=[{"path": "m.yaml", "content": DOCUMENT}])
        reached = at_point(worker, OPENING)
        process = worker.start(wish)
        process.communicate(timeout=60)

    assert process.returncode == -signal.SIGKILL
    assert reached()
    assert published(worker.root).keys() == {"m/one.dat", "m/two.dat"}


def test_every_point_is_used() -> None:
    """A point that no test names would look like one that is kept."""
    adopting = {name for name in POINTS if name.startswith("W13")}
    used = {*INSTALLING, *REPLACING, *REMOVING, *adopting, BODY, VERIFYING, OPENING}

    assert used == POINTS.keys()
    assert {f"W{number}" for number in range(1, 15)} <= {name.split()[0] for name in POINTS}
