"""Archives, unpacked by the worker as a process on a real folder: T17 to T24, kills, sharing, removal."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.archivemake import COMPRESSED, tar, tar_block, tar_raw, zipped
from support.faultserver import CLOSE, FaultServer, answer, serve
from support.worker import MIB, Worker

MEMBERS = [
    ("voice/", b""),
    ("voice/model.onnx", random.Random(3).randbytes(300_000)),  # noqa: S311 - content
    ("voice/model.onnx.json", b'{"audio": {}}'),
    ("voice/espeak-ng-data/lang/gmw/en", b"name English"),
    ("voice/inner.tar.gz", COMPRESSED["tar.gz"](tar([("../x", b"x")]))),
    ("voice/empty", b""),
]
FILES = {name: content for name, content in MEMBERS if not name.endswith("/")}


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serve() as one:
        one.content = {}
        one.asked = []

        def behave(request):
            one.asked.append(request.path)
            head, body = answer(one.content[request.path[1:]], request, etag=f'"{request.path}"')
            yield head
            yield body
            yield CLOSE

        one.behave = behave
        yield one


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    (tmp_path / "canary").write_text("untouched")
    return Worker(tmp_path / "volume")


def offer(
    server: FaultServer, name: str, content: bytes, path: str = "", **more: Any
) -> dict[str, Any]:
    server.content[name] = content
    file = {"path": path or name, "url": f"{server.url}/{name}", "sha256": digest(content)}
    return {**file, "unpack": True, **more}


def inside(worker: Worker) -> list[str]:
    """The files in our own folder but for receipts."""
    return [
        place
        for place in worker.everything()
        if place.startswith(".modelgallery/")
        and "receipts" not in place
        and (worker.root / place).is_file()
    ]


def blobs(worker: Worker) -> set[str]:
    folder = worker.root / ".modelgallery" / "blobs" / "sha256"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


@pytest.mark.parametrize("kind", [*COMPRESSED, "zip"])
def test_members_are_published_in_the_place_of_the_archive(
    server: FaultServer, worker: Worker, kind: str
) -> None:
    packed = zipped(MEMBERS) if kind == "zip" else COMPRESSED[kind](tar(MEMBERS))
    file = offer(server, f"voice.{kind}", packed, f"tts/voice.{kind}")
    wish = worker.install(file, documents=[{"path": "m.yaml", "content": "name: m\n"}])

    code, result = worker.run(wish)

    assert (code, result.message) == (0, "")
    published = worker.published()
    assert published.pop("m.yaml") == digest(b"name: m\n")
    assert published == {f"tts/{name}": digest(content) for name, content in FILES.items()}
    assert (result.verified, result.files_total) == (True, len(FILES))
    assert result.size_bytes == sum(map(len, FILES.values()))
    assert result.fetched_bytes == len(packed)
    assert blobs(worker) == {digest(content) for content in FILES.values()}
    assert not (worker.root / ".modelgallery" / "staging").exists()
    for path in worker.root.rglob("*"):
        if ".modelgallery" not in path.parts:
            assert path.stat().st_mode & 0o7777 == (0o755 if path.is_dir() else 0o644)

    server.asked.clear()
    code, again = worker.run(wish)

    assert (code, again.fetched_bytes, again.digest) == (0, 0, result.digest)
    assert server.asked == []
    assert worker.remove()[0] == 0
    assert worker.everything() == []


def test_safe_formats_refuse_archives_before_anything_is_asked_for(
    server: FaultServer, worker: Worker
) -> None:
    """T17."""
    file = offer(server, "voice.tar.gz", COMPRESSED["tar.gz"](tar(MEMBERS)))

    code, result = worker.run(worker.install(file, safeFormats=True))

    assert (code, result.reason) == (32, "UnsafeFormat")
    assert "voice.tar.gz" in result.message
    assert "policy.formats is Safe" in result.message
    assert server.asked == []
    assert worker.everything() == []


def test_a_file_that_is_not_to_be_unpacked_is_stored_as_it_is(
    server: FaultServer, worker: Worker
) -> None:
    """T17, T22: no nested archive and no plain file is opened."""
    file = offer(server, "a.tar.gz", COMPRESSED["tar.gz"](tar(MEMBERS)), unpack=False)

    assert worker.run(worker.install(file))[0] == 0
    assert worker.published() == {"a.tar.gz": file["sha256"]}


HOSTILE = {
    "T17 a link, then a file through it": (
        tar_raw(tar_block(b"d", kind=b"2", link=b"../evil"), tar_block(b"d/x", b"x")),
        "UnsafePath",
        "'d' is a symbolic link",
    ),
    "T18 a hard link": (
        tar_raw(tar_block(b"x", kind=b"1", link=b"../canary")),
        "UnsafePath",
        "'x' is a hard link",
    ),
    "T20 out of the folder": (tar([("../canary", b"x")]), "UnsafePath", "../canary"),
    "T20 a zip out of the folder": (zipped([("../canary", b"x")]), "UnsafePath", "../canary"),
    "T22 a bomb": (
        COMPRESSED["tar.gz"](tar([("x", bytes(64 * MIB))])),
        "InvalidFormat",
        "200 times",
    ),
    "T24 twice": (tar([("x", b"1"), ("x", b"2")]), "UnsafePath", "'x' is there twice"),
    "our own folder": (tar([(".modelgallery/receipts/x", b"x")]), "UnsafePath", ".modelgallery"),
    "no archive": (b"<!doctype html><p>" + b"not found" * 100, "InvalidFormat", "no tar archive"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_writes_nothing(
    server: FaultServer, worker: Worker, tmp_path: Path, case: str
) -> None:
    packed, reason, told = HOSTILE[case]
    sound = tar_block(b"sound", b"sound")
    if packed.endswith(bytes(1024)) and case.startswith("T1"):
        packed = sound + packed

    code, result = worker.run(worker.install(offer(server, "a.tar", packed)))

    assert (code, result.reason) == ({"UnsafePath": 34, "InvalidFormat": 33}[reason], reason)
    assert "archive a.tar: " in result.message
    assert told in result.message
    assert worker.published() == {}
    assert (tmp_path / "canary").read_text() == "untouched"
    assert inside(worker) == [f".modelgallery/blobs/sha256/{digest(packed)}"]

    assert worker.remove()[0] == 0
    assert worker.everything() == []


def test_wrong_bytes_are_never_unpacked(server: FaultServer, worker: Worker) -> None:
    file = offer(server, "a.tar", tar(MEMBERS))
    server.content["a.tar"] = tar([("other", b"x")])

    code, result = worker.run(worker.install(file))

    assert (code, result.reason) in {
        (30, "ChecksumMismatch"),
        (30, "SizeMismatch"),
        (31, "SizeMismatch"),
    }
    assert worker.published() == {}


def test_two_archives_with_a_file_for_people_under_one_name(
    server: FaultServer, worker: Worker
) -> None:
    """Voices bring a MODEL_CARD each, at the root; it is no reason to refuse the second voice."""
    first = offer(server, "a.tar", tar([("a.onnx", b"a"), ("MODEL_CARD", b"of a")]))
    second = offer(server, "b.tar", tar([("b.onnx", b"b"), ("MODEL_CARD", b"of b")]))
    other = Worker(worker.root, "uid-2")
    worker.run(worker.install(first))

    code, result = other.run(other.install(second))

    assert (code, result.files_total) == (0, 1)
    assert worker.published() == {
        "MODEL_CARD": digest(b"of a"),
        "a.onnx": digest(b"a"),
        "b.onnx": digest(b"b"),
    }
    assert worker.remove()[0] == 0
    assert worker.published() == {"b.onnx": digest(b"b")}
    assert other.remove()[0] == 0
    assert worker.everything() == []


def test_any_other_clash_is_a_conflict(server: FaultServer, worker: Worker) -> None:
    first = offer(server, "a.tar", tar([("x.onnx", b"a")]))
    second = offer(server, "b.tar", tar([("x.onnx", b"b")]))
    other = Worker(worker.root, "uid-2")
    worker.run(worker.install(first))
    (worker.root / "loose.onnx").write_text("mine")

    code, result = other.run(other.install(second))

    assert (code, result.reason) == (43, "PathConflict")
    assert "x.onnx" in result.message
    third = offer(server, "c.tar", tar([("loose.onnx", b"c")]))
    assert other.run(other.install(third))[1].reason == "PathConflict"
    twice = offer(server, "d.tar", tar([("e.onnx", b"d")]))
    beside = offer(server, "e.onnx", b"e", unpack=False)
    assert other.run(other.install(twice, beside))[1].reason == "PathConflict"
    assert worker.published() == {"x.onnx": digest(b"a"), "loose.onnx": digest(b"mine")}
    assert other.remove()[0] == 0
    assert blobs(worker) == {digest(b"a")}


def test_what_localai_has_unpacked_is_taken_over(server: FaultServer, worker: Worker) -> None:
    packed = COMPRESSED["tar.gz"](tar(MEMBERS))
    (worker.root / "voice.tar.gz").write_bytes(packed)
    (worker.root / "voice").mkdir()
    model = worker.root / "voice" / "model.onnx"
    model.write_bytes(FILES["voice/model.onnx"])

    code, result = worker.run(worker.install(offer(server, "voice.tar.gz", packed)))

    assert (code, result.files_total, server.asked.count("/voice.tar.gz") <= 1) == (
        0,
        len(FILES),
        True,
    )
    assert result.fetched_bytes == 0
    assert model.stat().st_nlink == 2
    assert worker.remove()[0] == 0
    assert [*worker.published()] == ["voice.tar.gz"]


def test_a_new_archive_takes_the_place_of_the_old(server: FaultServer, worker: Worker) -> None:
    old = offer(server, "v1.tar", tar([("m.onnx", b"old"), ("gone", b"x")]))
    new = offer(server, "v2.tar", tar([("m.onnx", b"new")]))
    worker.run(worker.install(old))

    assert worker.run(worker.install(new))[0] == 0
    assert worker.published() == {"m.onnx": digest(b"new")}
    assert blobs(worker) == {digest(b"new")}


def test_an_archive_without_a_digest_is_fetched_and_not_called_verified(
    server: FaultServer, worker: Worker
) -> None:
    file = offer(server, "a.tar", tar([("m.onnx", b"m")]), sha256=None)

    code, result = worker.run(worker.install(file))

    assert (code, result.verified) == (0, False)
    assert blobs(worker) == {digest(b"m")}
    assert worker.run(worker.install(file))[0] == 0
    assert worker.remove()[0] == 0
    assert worker.everything() == []


def test_a_lost_content_is_unpacked_again(server: FaultServer, worker: Worker) -> None:
    """P65: the receipt alone proves nothing."""
    file = offer(server, "a.tar", tar(MEMBERS))
    worker.run(worker.install(file))
    lost = digest(FILES["voice/model.onnx"])
    (worker.root / ".modelgallery" / "blobs" / "sha256" / lost).unlink()
    (worker.root / "voice" / "model.onnx").unlink()

    assert worker.run(worker.install(file))[0] == 0
    assert worker.published() == {name: digest(content) for name, content in FILES.items()}


def test_a_damaged_member_is_mended(server: FaultServer, worker: Worker) -> None:
    """T78: the content under its digest is damaged too, being the same file."""
    file = offer(server, "a.tar", tar(MEMBERS))
    wish = worker.install(file)
    worker.run(wish)
    with (worker.root / "voice" / "model.onnx").open("r+b") as published:
        published.write(b"damaged")

    assert worker.run({**wish, "recheck": True})[0] == 0
    assert worker.published() == {name: digest(content) for name, content in FILES.items()}
    assert blobs(worker) == {digest(content) for content in FILES.values()}


@pytest.mark.parametrize("seed", range(4))
def test_killed_while_unpacking_the_next_worker_finishes(
    server: FaultServer, worker: Worker, seed: int
) -> None:
    """Kill -9: nothing is published by halves, nothing is fetched twice, nothing is left over."""
    dice = random.Random(seed)  # noqa: S311 - a seeded fault
    members = [(f"m/{n}.bin", dice.randbytes(MIB // 8)) for n in range(120)]
    file = offer(server, "big.tar.gz", COMPRESSED["tar.gz"](tar(members)))
    wish = worker.install(file)
    staging = worker.root / ".modelgallery" / "staging" / "uid-1"
    wanted = dice.randrange(1, 100)
    process = worker.start(wish)
    deadline = time.monotonic() + 60
    while len([*staging.glob("*.unpacked/*.member")]) < wanted and process.poll() is None:
        assert time.monotonic() < deadline
    time.sleep(dice.random() * 0.1)
    process.kill()
    process.communicate()
    before = set(worker.published().items())
    assert before <= {(name, digest(content)) for name, content in members}
    server.asked.clear()

    code, result = worker.run(wish)

    assert (code, result.files_total) == (0, 120)
    assert server.asked == []
    assert worker.published() == {name: digest(content) for name, content in members}
    assert blobs(worker) == {digest(content) for _, content in members}
    assert not (worker.root / ".modelgallery" / "staging").exists()


def kill_while_unpacking(server: FaultServer, worker: Worker) -> None:
    """Leaves an install that was killed after its first members."""
    members = [(f"m/{n}.bin", random.Random(n).randbytes(MIB // 8)) for n in range(80)]  # noqa: S311
    process = worker.start(worker.install(offer(server, "big.tar", tar(members))))
    staging = worker.root / ".modelgallery" / "staging" / "uid-1"
    while not [*staging.glob("*.unpacked/5.member")]:
        assert process.poll() is None
    process.kill()
    process.communicate()


def test_killed_while_unpacking_and_removed_nothing_is_left(
    server: FaultServer, worker: Worker
) -> None:
    kill_while_unpacking(server, worker)

    assert worker.remove()[0] == 0
    assert worker.everything() == []


def test_killed_while_unpacking_and_changed_nothing_is_left(
    server: FaultServer, worker: Worker
) -> None:
    """The next plan has no archive; what the killed one fetched goes all the same."""
    kill_while_unpacking(server, worker)

    assert worker.run(worker.install(offer(server, "m", b"m", unpack=False)))[0] == 0
    assert blobs(worker) == {digest(b"m")}
    assert worker.remove()[0] == 0
    assert worker.everything() == []


def test_one_archive_in_two_folders(server: FaultServer, worker: Worker) -> None:
    packed = tar([("m.onnx", b"m"), ("README", b"r")])
    (worker.root / "a").mkdir()
    (worker.root / "a" / "README").write_text("another")
    files = [offer(server, "v.tar", packed, path) for path in ("a/v.tar", "b/v.tar")]

    assert worker.run(worker.install(*files))[0] == 0
    assert worker.run(worker.install(*files))[0] == 0
    assert worker.published() == {
        "a/README": digest(b"another"),
        "a/m.onnx": digest(b"m"),
        "b/m.onnx": digest(b"m"),
        "b/README": digest(b"r"),
    }


def test_a_member_with_the_name_of_its_archive_is_itself(
    server: FaultServer, worker: Worker
) -> None:
    archive = offer(server, "voice.tar.gz", COMPRESSED["tar.gz"](tar([("voice.tar.gz", b"mine")])))

    assert worker.run(worker.install(archive))[0] == 0
    assert worker.published() == {"voice.tar.gz": digest(b"mine")}
    assert blobs(worker) == {digest(b"mine")}
