"""Packed layers of OCI artifacts and images, by the worker as a process: T17 to T24, T39, kills."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.archivemake import tar, tar_block, tar_raw
from support.ocimake import (
    MANIFEST,
    Layer,
    digest_of,
    image,
    manifest,
    model_pack,
    oras_file,
    oras_folder,
)
from support.scripted import Answer, Scripted, serve
from support.signmake import MODEL, key, recorded
from support.worker import MIB, Worker

RECORDED = Path(__file__).parents[1] / "data" / "oci"
WEIGHTS = random.Random(4).randbytes(300_000)  # noqa: S311 - content


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digests(files: Mapping[str, bytes], folder: str = "m/") -> dict[str, str]:
    return {folder + name: digest(content) for name, content in files.items()}


@pytest.fixture
def server() -> Iterator[Scripted]:
    with serve() as one:
        yield one


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    (tmp_path / "canary").write_text("untouched")
    return Worker(tmp_path / "volume")


def put(server: Scripted, *layers: Layer, tag: str = "v1") -> str:
    """Serves the layers under a tag; returns the manifest's digest."""
    body = manifest(*layers)
    for reference in (tag, digest_of(body)):
        answer = Answer(body, headers={"Content-Type": MANIFEST})
        server.routes[f"/v2/me/model/manifests/{reference}"] = answer
    for layer in layers:
        server.routes[f"/v2/me/model/blobs/{layer.digest}"] = Answer(layer.data)
    return digest_of(body)


def wanted(server: Scripted, **more: Any) -> dict[str, Any]:
    start = {"kind": "OCI", "url": f"{server.url}/me/model", "revision": "v1", "folder": "m"}
    return {"repository": {**start, **more}}


def fetched(server: Scripted) -> set[str]:
    """The blobs that were asked for; forgets them."""
    blobs = {one.path.rpartition("sha256:")[2] for one in server.asked if "/blobs/" in one.path}
    server.asked.clear()
    return blobs


def blobs(worker: Worker) -> set[str]:
    folder = worker.root / ".modelgallery" / "blobs" / "sha256"
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


FILES = {"m.safetensors.bin": WEIGHTS, "config/config.json": b'{"a": 1}', "README.md": b"# m"}
SHIPPED: dict[str, tuple[Layer, ...]] = {
    "ModelPack, raw": tuple(model_pack(*one, "raw") for one in FILES.items()),
    "ModelPack, tar": tuple(model_pack(*one, "tar") for one in FILES.items()),
    "ModelPack, compressed": tuple(model_pack(*one, "tar+gzip") for one in FILES.items()),
    "ModelPack, mixed": (
        model_pack("m.safetensors.bin", WEIGHTS, "raw"),
        model_pack("config/config.json", b'{"a": 1}', "tar", kind="weight.config"),
        model_pack("README.md", b"# m", "tar+gzip", kind="doc"),
    ),
    "ORAS": (
        oras_file("m.safetensors.bin", WEIGHTS),
        oras_folder("config", [("config.json", b'{"a": 1}')]),
        oras_file("README.md", b"# m"),
    ),
    "an image": (
        image([("etc/", b""), ("etc/passwd", b"root"), ("README.md", b"not of the model")]),
        image([("models/", b""), ("models/m.safetensors.bin", WEIGHTS)]),
        image([("models/config/config.json", b'{"a": 1}'), ("models/README.md", b"# m")]),
    ),
    "an image of docker": (image([(f"models/{n}", d) for n, d in FILES.items()], docker=True),),
}


@pytest.mark.parametrize("case", SHIPPED)
def test_what_the_field_ships_is_published(server: Scripted, worker: Worker, case: str) -> None:
    """And once: a second run asks for the manifest alone, a removal leaves nothing."""
    layers = SHIPPED[case]
    revision = put(server, *layers)
    wish = worker.install(**wanted(server))

    code, result = worker.run(wish)

    assert (code, result.message) == (0, "")
    assert worker.published() == digests(FILES)
    assert (result.verified, result.revision, result.files_total) == (True, revision, 3)
    assert result.fetched_bytes == sum(len(layer.data) for layer in layers)
    assert blobs(worker) == {digest(content) for content in FILES.values()}
    assert fetched(server) == {digest(layer.data) for layer in layers}
    for path in worker.root.rglob("*"):
        if ".modelgallery" not in path.parts:
            assert path.stat().st_mode & 0o7777 == (0o755 if path.is_dir() else 0o644)

    code, again = worker.run(wish)

    assert (code, again.fetched_bytes, again.digest) == (0, 0, result.digest)
    assert again.source_digest == result.source_digest
    assert fetched(server) == set()
    assert worker.remove()[0] == 0
    assert worker.everything() == []


@pytest.mark.parametrize("case", [case for case in SHIPPED if case != "ModelPack, raw"])
@pytest.mark.parametrize("plan_only", [False, True])
def test_safe_formats_refuse_packed_layers_before_any_blob(
    server: Scripted, worker: Worker, case: str, plan_only: bool
) -> None:
    """T17."""
    put(server, *SHIPPED[case])

    code, result = worker.run(
        worker.install(**wanted(server), safeFormats=True, planOnly=plan_only)
    )

    assert (code, result.reason) == (32, "UnsafeFormat")
    assert result.message.startswith("layer ")
    assert "policy.formats is Safe" in result.message
    assert "layers of their own" in result.message
    assert fetched(server) == set()
    assert worker.everything() == []


def test_a_plan_tells_the_layers_and_changes_nothing(server: Scripted, worker: Worker) -> None:
    layers = SHIPPED["ORAS"]
    put(server, *layers)

    code, result = worker.run(worker.install(**wanted(server), planOnly=True))

    assert (code, result.files_total) == (0, 3)
    assert result.fetched_bytes == sum(len(layer.data) for layer in layers)
    assert fetched(server) == set()
    assert worker.everything() == []
    source = worker.run(worker.install(**wanted(server)))[1].source_digest
    assert result.source_digest == source


def test_layers_fetched_beforehand_are_not_fetched_again(server: Scripted, worker: Worker) -> None:
    put(server, *SHIPPED["an image"])
    wish = worker.install(**wanted(server))
    assert worker.run({**wish, "fetchOnly": True})[0] == 0
    assert worker.published() == {}
    fetched(server)

    assert worker.run(wish)[1].fetched_bytes == 0
    assert fetched(server) == set()
    assert worker.published() == digests(FILES)


IMAGES: dict[str, tuple[list[list[tuple[str, bytes]]], dict[str, bytes]]] = {
    "later layers win": (
        [[("models/a", b"old"), ("models/b", b"b")], [("models/a", b"new")]],
        {"a": b"new", "b": b"b"},
    ),
    "a whiteout": (
        [[("models/a", b"a"), ("models/d/b", b"b")], [("models/.wh.a", b""), ("models/c", b"c")]],
        {"d/b": b"b", "c": b"c"},
    ),
    "a whiteout of a folder": (
        [[("models/d/a", b"a"), ("models/b", b"b")], [("models/.wh.d", b"")]],
        {"b": b"b"},
    ),
    "an opaque folder": (
        [[("models/d/a", b"a"), ("models/b", b"b")],
         [("models/d/.wh..wh..opq", b""), ("models/d/c", b"c")]],
        {"b": b"b", "d/c": b"c"},
    ),
    "a whiteout before its own layer's file": (
        [[("models/a", b"old")], [("models/.wh.a", b""), ("models/a", b"new")]],
        {"a": b"new"},
    ),
    "all of the models": (
        [[("models/a", b"a")], [(".wh.models", b""), ("models/b", b"b")]],
        {"b": b"b"},
    ),
    "the whole root": ([[("models/a", b"a")], [(".wh..wh..opq", b""), ("models/b", b"b")]], {"b": b"b"}),
    "whiteouts elsewhere": ([[("models/a", b"a")], [("usr/.wh.a", b""), (".wh.a", b"")]], {"a": b"a"}),
    "a folder in the place of a file": (
        [[("models/d", b"d")], [("models/d/", b""), ("models/d/a", b"a")]],
        {"d/a": b"a"},
    ),
    "one layer twice": (
        [[("models/a", b"1")], [("models/a", b"2")], [("models/a", b"1")]],
        {"a": b"1"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", IMAGES)
def test_layers_of_an_image_are_applied_in_order(
    server: Scripted, worker: Worker, case: str
) -> None:
    """Now, and from what the receipt remembers of them."""
    layers, files = IMAGES[case]
    put(server, *map(image, layers))
    wish = worker.install(**wanted(server))

    for _ in range(2):
        assert worker.run(wish)[0] == 0
        assert worker.published() == digests(files)
        assert blobs(worker) == {digest(content) for content in files.values()}


def test_an_image_that_buildah_made(server: Scripted, worker: Worker) -> None:
    """Recorded (tests/data/oci/make.sh); beside its model are links, hard ones too, and a FIFO."""
    layers = [
        image(gzip.decompress((RECORDED / name).read_bytes()))
        for name in ("base.tar.gz", "top.tar.gz")
    ]
    put(server, *layers)

    assert worker.run(worker.install(**wanted(server)))[0] == 0
    files = {"f": b"top", "keep/k": b"base", "old/b": b"top", "turns/t": b"top"}
    assert worker.published() == digests(files)


SYSTEM = (
    tar_block(b"bin", kind=b"2", link=b"usr/bin")
    + tar_block(b"x" * 99, b"y" * 150, kind=b"K")
    + tar_block(b"usr/lib/x", kind=b"2", link=b"y" * 100)
    + tar_block(b"usr/lib/y", kind=b"1", link=b"usr/lib/x")
    + tar_block(b"dev/null", kind=b"3")
    + tar_block(b"run/pipe", kind=b"6")
)


def test_a_whole_system_beside_the_model_is_passed_over(server: Scripted, worker: Worker) -> None:
    """T17 to T19: links and devices matter where the model lies."""
    packed = tar_raw(SYSTEM, tar_block(b"models/a", b"a"), SYSTEM)
    put(server, image(packed))

    assert worker.run(worker.install(**wanted(server)))[0] == 0
    assert worker.published() == digests({"a": b"a"})


SOUND = tar_block(b"models/sound", b"sound")
HOSTILE: dict[str, tuple[Layer, str, str]] = {
    "T17 a symbolic link": (
        image(tar_raw(SOUND, tar_block(b"models/d", kind=b"2", link=b"../evil"))),
        "UnsafePath",
        "'models/d' is a symbolic link",
    ),
    "T18 a hard link": (
        image(tar_raw(SOUND, tar_block(b"models/x", kind=b"1", link=b"../canary"))),
        "UnsafePath",
        "'models/x' is a hard link",
    ),
    "T17 the folder itself is a link": (
        image(tar_raw(tar_block(b"models", kind=b"2", link=b"/etc"), SOUND)),
        "UnsafePath",
        "'models' is a symbolic link",
    ),
    "the folder itself is a file": (
        image(tar_raw(tar_block(b"models", b"x"))),
        "UnsafePath",
        "must be relative and not empty",
    ),
    "T20 a way around": (
        image([("usr/../models/x", b"x")]),
        "UnsafePath",
        "does not say plainly",
    ),
    "T20 out of the folder": (image([("models/../../canary", b"x")]), "UnsafePath", "plainly"),
    "T20 another's folder": (
        image([("models/.modelgallery/receipts/x", b"x")]),
        "UnsafePath",
        ".modelgallery",
    ),
    "a whiteout of the folder above": (
        image([("models/d/.wh...", b"")]),
        "UnsafePath",
        "a whiteout of nothing",
    ),
    "a whiteout that is a link": (
        image(tar_raw(SOUND, tar_block(b"models/.wh.x", kind=b"2", link=b"../canary"))),
        "UnsafePath",
        "'models/.wh.x' is a symbolic link",
    ),
    "a whiteout that is a folder": (
        image([("models/.wh.x/", b""), ("models/a", b"a")]),
        "UnsafePath",
        "a whiteout and a folder",
    ),
    "files below a whiteout": (image([("models/.wh.x/y", b"y")]), "UnsafePath", "below a whiteout"),
    "T22 a bomb": (image([("models/x", bytes(64 * MIB))]), "InvalidFormat", "200 times"),
    "T22 a bomb beside the model": (
        image([("usr/x", bytes(64 * MIB)), ("models/a", b"a")]),
        "InvalidFormat",
        "200 times",
    ),
    "a link with content beside the model": (
        image(tar_raw(tar_block(b"usr/x", b"x" * 512, kind=b"1", link=b"y"), SOUND)),
        "UnsafePath",
        "'usr/x' is a hard link",
    ),
    "a sparse file beside the model": (
        image(tar_raw(tar_block(b"usr/x", kind=b"S"), SOUND)),
        "UnsafePath",
        "'usr/x' is a sparse file",
    ),
    "T24 twice": (image([("models/x", b"1"), ("./models/x", b"2")]), "UnsafePath", "there twice"),
    "cut": (
        Layer(image([("models/x", WEIGHTS)]).data[:9000], image([]).media_type),
        "InvalidFormat",
        "cut",
    ),
    "zstd under another name": (
        Layer(b"\x28\xb5\x2f\xfd" + bytes(600), image([]).media_type),
        "InvalidFormat",
        "a zstd archive",
    ),
    "T20 a folder of ORAS that leads elsewhere": (
        replace(oras_folder("d", []), data=gzip.compress(tar([("other/x", b"x")]))),
        "UnsafePath",
        "lies outside of 'd'",
    ),
    "T20 a folder of ORAS with a like name": (
        replace(oras_folder("d", []), data=gzip.compress(tar([("d-evil/x", b"x")]))),
        "UnsafePath",
        "lies outside of 'd'",
    ),
    "T20 a folder of ORAS that leads up": (
        oras_folder("d", [("../../canary", b"x")]),
        "UnsafePath",
        "'d/../../canary'",
    ),
    "T20 a ModelPack that leads up": (model_pack("../canary", b"x"), "UnsafePath", "'../canary'"),
    "T17 a ModelPack with a link": (
        replace(model_pack("w", b""), data=tar_raw(tar_block(b"w", kind=b"2", link=b"/etc"))),
        "UnsafePath",
        "'w' is a symbolic link",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_layer_publishes_nothing(
    server: Scripted, worker: Worker, tmp_path: Path, case: str
) -> None:
    layer, reason, told = HOSTILE[case]
    put(server, layer)

    code, result = worker.run(worker.install(**wanted(server)))

    assert (code, result.reason) == ({"UnsafePath": 34, "InvalidFormat": 33}[reason], reason)
    assert result.message.startswith("layer ")
    assert told in result.message
    assert worker.published() == {}
    assert (tmp_path / "canary").read_text() == "untouched"
    assert blobs(worker) == {digest(layer.data)}

    assert worker.remove()[0] == 0
    assert worker.everything() == []


def test_wrong_bytes_are_never_unpacked(server: Scripted, worker: Worker) -> None:
    """T39: the right size, a sound archive, another digest."""
    good, bad = image([("models/a", b"1")]), image([("models/a", b"2")])
    assert len(good.data) == len(bad.data)
    put(server, good)
    server.routes[f"/v2/me/model/blobs/{good.digest}"] = Answer(bad.data)

    code, result = worker.run(worker.install(**wanted(server)))

    assert (code, result.reason) == (30, "ChecksumMismatch")
    assert worker.published() == {}
    assert blobs(worker) == set()


def test_an_image_without_models_says_so(server: Scripted, worker: Worker) -> None:
    put(server, image([("model/a", b"a")]))

    code, result = worker.run(worker.install(**wanted(server)))

    assert (code, result.reason) == (20, "NotFound")
    assert "no files below /models" in result.message


def test_two_layers_with_one_path_are_a_conflict(server: Scripted, worker: Worker) -> None:
    """Of an artifact: only those of an image have an order."""
    one, other = model_pack("w", b"1"), model_pack("w", b"2")
    put(server, one, other)

    code, result = worker.run(worker.install(**wanted(server)))

    assert (code, result.reason) == (43, "PathConflict")
    assert worker.published() == {}


def test_names_that_would_be_one_file_are_refused(server: Scripted, worker: Worker) -> None:
    put(server, image([("models/A", b"1"), ("models/a", b"2")]))

    assert worker.run(worker.install(**wanted(server)))[1].reason == "UnsafePath"
    assert worker.published() == {}


def test_patterns_choose_among_members(server: Scripted, worker: Worker) -> None:
    """And what they left out is there when they change."""
    put(server, *SHIPPED["an image"])

    wish = worker.install(**wanted(server, include=["*.json", "*.md"], exclude=["README.md"]))
    assert worker.run(wish)[0] == 0
    assert worker.published() == digests({"config/config.json": b'{"a": 1}'})
    fetched(server)
    assert worker.run(wish)[0] == 0
    assert fetched(server) == set()

    assert worker.run(worker.install(**wanted(server)))[0] == 0
    assert worker.published() == digests(FILES)
    code, result = worker.run(worker.install(**wanted(server, include=["none"])))
    assert (code, result.reason) == (20, "NotFound")
    assert worker.remove()[0] == 0
    assert worker.everything() == []


def test_a_moved_tag_fetches_only_new_layers(server: Scripted, worker: Worker) -> None:
    """Track: what came out of the layers that stay is known."""
    base, first = image([("models/w", WEIGHTS)]), image([("models/c", b"1")])
    second = image([("models/c", b"2"), ("models/d", b"d")])
    put(server, base, first)
    wish = worker.install(**wanted(server))
    before = worker.run(wish)[1]
    fetched(server)
    put(server, base, second)

    code, after = worker.run(wish)

    assert code == 0
    assert fetched(server) == {digest(second.data)}
    assert worker.published() == digests({"w": WEIGHTS, "c": b"2", "d": b"d"})
    assert before.source_digest != after.source_digest
    assert blobs(worker) == {digest(one) for one in (WEIGHTS, b"2", b"d")}


def test_what_a_later_layer_hid_comes_back_without_it(server: Scripted, worker: Worker) -> None:
    """The content of a hidden file is not kept, so its layer is fetched again."""
    base, upper = image([("models/a", b"old"), ("models/b", b"b")]), image([("models/.wh.a", b"")])
    put(server, base, upper)
    wish = worker.install(**wanted(server))
    worker.run(wish)
    assert worker.published() == digests({"b": b"b"})
    put(server, base)

    assert worker.run(wish)[0] == 0
    assert worker.published() == digests({"a": b"old", "b": b"b"})


def test_a_damaged_member_is_mended(server: Scripted, worker: Worker) -> None:
    """T78."""
    put(server, *SHIPPED["an image"])
    wish = worker.install(**wanted(server))
    worker.run(wish)
    with (worker.root / "m" / "README.md").open("r+b") as published:
        published.write(b"damaged")

    assert worker.run({**wish, "recheck": True})[0] == 0
    assert worker.published() == digests(FILES)


def test_a_quota_counts_what_comes_out(server: Scripted, worker: Worker) -> None:
    put(server, image([("models/a", bytes(100_000))]))

    code, result = worker.run(worker.install(**wanted(server), quotaBytes=50_000))

    assert (code, result.reason) == (44, "QuotaExceeded")
    assert worker.published() == {}


@pytest.mark.parametrize("changed", [False, True])
@pytest.mark.parametrize("packed", ["image", "ORAS", "ModelPack"])
def test_members_are_signed_like_files(
    server: Scripted, worker: Worker, packed: str, changed: bool
) -> None:
    """T45: the root of the signature is that of the artifact; patterns need not name it."""
    files = {**MODEL, "model.sig": recorded("p256")}
    if changed:
        files["weights/part-1.txt"] += b"x"
    layers = {
        "image": [image([(f"models/{name}", data) for name, data in files.items()])],
        "ORAS": [oras_folder(".", files.items())],
        "ModelPack": [model_pack(name, data) for name, data in files.items()],
    }[packed]
    put(server, *layers)

    code, _ = worker.run(worker.install(**wanted(server, include=[*MODEL]), signatureKeys=[key()]))

    assert code == (38 if changed else 0)
    assert worker.published() == ({} if changed else digests(files))


def unpacking(server: Scripted, seed: int) -> tuple[Layer, dict[str, bytes]]:
    dice = random.Random(seed)  # noqa: S311 - a seeded fault
    files = {f"d/{n}.bin": dice.randbytes(MIB // 8) for n in range(120)}
    low = image([("models/d/0.bin", b"old"), ("models/gone", b"gone")])
    upper = image([*((f"models/{n}", data) for n, data in files.items()), ("models/.wh.gone", b"")])
    put(server, low, upper)
    return upper, files


@pytest.mark.parametrize("seed", range(3))
def test_killed_while_unpacking_the_next_worker_finishes(
    server: Scripted, worker: Worker, seed: int
) -> None:
    """Kill -9: nothing by halves, nothing fetched twice, nothing left over."""
    dice = random.Random(seed)  # noqa: S311 - a seeded fault
    _, files = unpacking(server, seed)
    wish = worker.install(**wanted(server))
    kill(worker, wish, dice.randrange(1, 100), dice.random() * 0.1)
    assert worker.published().items() <= digests(files).items()
    fetched(server)

    code, result = worker.run(wish)

    assert (code, result.files_total) == (0, 120)
    assert fetched(server) == set()
    assert worker.published() == digests(files)
    assert blobs(worker) == {digest(content) for content in files.values()}
    assert not (worker.root / ".modelgallery" / "staging").exists()


def kill(worker: Worker, wish: dict[str, Any], members: int, seconds: float = 0.0) -> None:
    staging = worker.root / ".modelgallery" / "staging" / "uid-1"
    process = worker.start(wish)
    deadline = time.monotonic() + 60
    while len([*staging.glob("*.unpacked/*.member")]) < members and process.poll() is None:
        assert time.monotonic() < deadline
    time.sleep(seconds)
    process.kill()
    process.communicate()


def test_killed_while_unpacking_and_removed_nothing_is_left(
    server: Scripted, worker: Worker
) -> None:
    unpacking(server, 1)
    kill(worker, worker.install(**wanted(server)), 5)

    assert worker.remove()[0] == 0
    assert worker.everything() == []


def test_killed_while_unpacking_and_moved_on_nothing_is_left(
    server: Scripted, worker: Worker
) -> None:
    """The tag names plain files meanwhile."""
    unpacking(server, 2)
    wish = worker.install(**wanted(server))
    kill(worker, wish, 5)
    put(server, oras_file("a", b"a"))

    assert worker.run(wish)[0] == 0
    assert worker.published() == digests({"a": b"a"})
    assert blobs(worker) == {digest(b"a")}
    assert worker.remove()[0] == 0
    assert worker.everything() == []


def test_one_image_for_two_models(server: Scripted, worker: Worker) -> None:
    """Contents are shared; the one that goes last takes them along."""
    put(server, *SHIPPED["an image"])
    other = Worker(worker.root, "uid-2")
    assert worker.run(worker.install(**wanted(server)))[0] == 0
    assert other.run(other.install(**wanted(server, folder="n")))[0] == 0

    assert worker.published() == {**digests(FILES), **digests(FILES, "n/")}
    assert blobs(worker) == {digest(content) for content in FILES.values()}
    assert worker.remove()[0] == 0
    assert worker.published() == digests(FILES, "n/")
    assert other.remove()[0] == 0
    assert worker.everything() == []


def test_a_receipt_that_hides_by_tricks_changes_nothing_outside(
    server: Scripted, worker: Worker, tmp_path: Path
) -> None:
    """Any backend can write to the volume: what a receipt says to hide is compared, and never a path."""
    put(server, *SHIPPED["an image"])
    wish = worker.install(**wanted(server))
    worker.run(wish)
    place = worker.root / ".modelgallery" / "receipts" / "uid-1.json"
    receipt = json.loads(place.read_text())
    for archive in receipt["archives"]:
        archive["hides"] = ["../../canary", "/etc/", "..", ""]
    place.write_text(json.dumps(receipt))

    assert worker.run(wish)[0] == 0
    assert worker.published() == digests(FILES)
    assert (tmp_path / "canary").read_text() == "untouched"


def test_a_file_with_the_name_of_a_layer_is_itself(server: Scripted, worker: Worker) -> None:
    """What a layer is called until it is unpacked is nobody's name, and anybody can guess it."""
    first = image([("models/a", b"a")])
    name = f"0000-{digest(first.data)[:12]}.layer"
    put(server, first, image([(f"models/{name}", b"mine")]))

    assert worker.run(worker.install(**wanted(server)))[0] == 0
    assert worker.published() == digests({"a": b"a", name: b"mine"})
    assert blobs(worker) == {digest(b"a"), digest(b"mine")}


def test_one_content_as_two_kinds_of_layer_is_refused(server: Scripted, worker: Worker) -> None:
    """The receipt remembers what came out of a content, and that would be two things."""
    layer = image([("models/a", b"a")])
    put(server, layer, replace(layer, media_type="application/vnd.cncf.model.weight.v1.tar+gzip"))

    code, result = worker.run(worker.install(**wanted(server)))

    assert (code, result.reason) == (26, "SourceInvalid")
    assert "in two ways" in result.message
    assert fetched(server) == set()


def test_members_that_are_remembered_count_like_new_ones(server: Scripted, worker: Worker) -> None:
    """T22: or a tag that moves often enough would make a receipt of any length."""
    low = image([(f"models/a/{number}", b"") for number in range(6000)])
    upper = image([(f"models/b/{number}", b"") for number in range(6000)])
    put(server, low)
    wish = worker.install(**wanted(server))
    assert worker.run(wish)[0] == 0
    put(server, low, upper)

    code, result = worker.run(wish)

    assert (code, result.reason) == (33, "InvalidFormat")
    assert "more than 10000 members" in result.message
    assert len(worker.published()) == 6000


def test_the_way_back_to_replaced_layers_fetches_nothing(server: Scripted, worker: Worker) -> None:
    """While what they brought is kept; plain files in between are no reason to forget it."""
    layers = SHIPPED["an image"]
    put(server, *layers)
    wish = worker.install(**wanted(server), keepSeconds=3600)
    assert worker.run(wish)[0] == 0
    put(server, oras_file("a", b"a"))
    assert worker.run(wish)[0] == 0
    assert worker.published() == digests({"a": b"a"})
    mending = {"kind": "install", "files": [], "repository": None, "fromReceipt": True}
    assert worker.run({**wish, **mending})[0] == 0
    put(server, *layers)
    fetched(server)

    assert worker.run(wish)[0] == 0
    assert fetched(server) == set()
    assert worker.published() == digests(FILES)

    put(server, oras_file("a", b"a"))
    assert worker.run({**wish, "keepSeconds": 0})[0] == 0
    receipt = (worker.root / ".modelgallery" / "receipts" / "uid-1.json").read_text()
    assert json.loads(receipt)["archives"] == []
    assert blobs(worker) == {digest(b"a")}
