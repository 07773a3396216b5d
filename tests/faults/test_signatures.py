"""T45: signatures of models, asked for by a Gallery, by the worker as a process on a real folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from model_gallery.artifact.signature import MAX_BYTES
from model_gallery.protocol import operation
from support.archivemake import tar
from support.faultserver import CLOSE, FaultServer, answer, serve
from support.signmake import IDENTITY, MODEL, authority, bundle, key, recorded, root, statement
from support.worker import MIB, Worker

MISSING, INVALID = (37, "SignatureMissing"), (38, "SignatureInvalid")
SIGNED = {**MODEL, "model.sig": recorded("p256")}
WEIGHTS = "weights/part-1.txt"
OURS = ec.derive_private_key(7, ec.SECP256R1())
OUR_KEY = (
    OURS.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def digests(files: Mapping[str, bytes], folder: str = "") -> dict[str, str]:
    return {folder + name: digest(content) for name, content in files.items()}


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serve() as one:
        one.content = {}
        one.asked = []

        def behave(request):
            path = request.path.partition("?")[0][1:]
            one.asked.append(path)
            content = one.content[path]
            if path in one.unannounced:
                # Until the connection ends: nobody can tell the size before.
                yield b"HTTP/1.1 200 OK\r\n\r\n" + content
                yield CLOSE
            else:
                yield from answer(content, request, etag=f'"{digest(content)}"')

        one.unannounced = set()
        one.behave = behave
        yield one


def listed(
    server: FaultServer, files: Mapping[str, bytes], *, promised: bool = False, folder: str = "m/"
) -> list[dict[str, Any]]:
    """Serves the files; returns them as an entry or a Model lists them."""
    given = []
    for number, (name, content) in enumerate(files.items()):
        server.content[f"{number}"] = content
        file = {"path": folder + name, "url": f"{server.url}/{number}"}
        given.append({**file, "sha256": digest(content)} if promised else file)
    return given


def number(files: Mapping[str, bytes], name: str) -> str:
    """Returns the path at which `listed` serves a file."""
    return str([*files].index(name))


def asking(worker: Worker, files: list[dict[str, Any]], *keys: str, **more: Any) -> dict[str, Any]:
    return worker.install(*files, signatureKeys=keys or [key()], **more)


def by_identity(
    worker: Worker, files: list[dict[str, Any]], trusted: str = "root", **who: str
) -> dict[str, Any]:
    worker.environment[operation.ENV_TRUSTED_ROOT] = str(root(trusted))
    named = [{**IDENTITY, **who}]
    return worker.install(*files, signatureIdentities=named, ownTrustedRoot=True)


def receipts(worker: Worker) -> list[str]:
    return [
        place for place in worker.everything() if place.endswith(".json") and "receipts" in place
    ]


@pytest.mark.parametrize("promised", [False, True])
@pytest.mark.parametrize("curve", ["p256", "p384", "p521"])
def test_what_is_signed_is_published(
    server: FaultServer, worker: Worker, curve: str, promised: bool
) -> None:
    files = {**MODEL, "model.sig": recorded(curve)}
    documents = [{"path": "m.yaml", "content": "name: m\n"}]
    wish = asking(
        worker,
        listed(server, files, promised=promised),
        key("other"),
        key(curve),
        documents=documents,
        safeFormats=True,
    )

    code, result = worker.run(wish)

    assert (code, result.message) == (0, "")
    wanted = digests(files, "m/") | {"m.yaml": digest(b"name: m\n")}
    assert worker.published() == wanted
    assert result.files_total == len(files)
    assert result.fetched_bytes == sum(map(len, files.values()))
    assert worker.remove()[0] == 0
    assert worker.everything() == []


def without(files: Mapping[str, bytes], name: str) -> dict[str, bytes]:
    return {path: content for path, content in files.items() if path != name}


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def beside_the_signature() -> bytes:
    """The recorded bundle, its signature taken from another."""
    content, other = (json.loads(recorded(name)) for name in ("p256", "all"))
    content["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]
    return json.dumps(content).encode()


REFUSED = {
    "no signature": (without(SIGNED, "model.sig"), MISSING, "model.sig"),
    "a signature in a folder": (
        {**MODEL, "weights/model.sig": recorded("p256")},
        MISSING,
        "at its root",
    ),
    "of another key": ({**MODEL, "model.sig": recorded("other")}, INVALID, "no key"),
    "of another model": (
        {**MODEL, "model.sig": beside_the_signature()},
        INVALID,
        "no key",
    ),
    "a changed file": (
        {**SIGNED, WEIGHTS: flipped(MODEL[WEIGHTS], 1500)},
        INVALID,
        f"'m/{WEIGHTS}' has the sha256",
    ),
    "a cut file": ({**SIGNED, WEIGHTS: MODEL[WEIGHTS][:-1]}, INVALID, f"'m/{WEIGHTS}' has"),
    "a file more": ({**SIGNED, "weights/x.py": b"x"}, INVALID, "'m/weights/x.py' is not among"),
    "a file under another name": (
        {**without(SIGNED, WEIGHTS), "weights/part-2.txt": MODEL[WEIGHTS]},
        INVALID,
        "'m/weights/part-2.txt' is not among",
    ),
    "one file in the place of another": (
        {**SIGNED, WEIGHTS: MODEL["config.json"]},
        INVALID,
        f"'m/{WEIGHTS}' has the sha256",
    ),
    "signed in shards": ({**MODEL, "model.sig": recorded("shards")}, INVALID, "method"),
    "signed by BLAKE3": ({**MODEL, "model.sig": recorded("blake3")}, INVALID, "hash_type"),
    "garbage": ({**MODEL, "model.sig": bytes(range(256)) * 50}, INVALID, "no JSON"),
    "nothing": ({**MODEL, "model.sig": b""}, INVALID, "no JSON"),
    "nested": ({**MODEL, "model.sig": b"[" * MIB}, INVALID, "nested too deeply"),
}


@pytest.mark.parametrize("promised", [False, True])
@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_nothing_else_is_published(
    server: FaultServer,
    worker: Worker,
    case: tuple[dict[str, bytes], tuple[int, str], str],
    promised: bool,
) -> None:
    files, refusal, word = case
    wish = asking(worker, listed(server, files, promised=promised))

    code, result = worker.run(wish)

    assert (code, result.reason) == refusal
    assert word in result.message
    assert worker.published() == {}
    assert receipts(worker) == []
    assert worker.run({**wish, "signatureKeys": []})[0] == 0


@pytest.mark.parametrize("announced", [True, False])
def test_a_huge_signature_is_not_read(server: FaultServer, worker: Worker, announced: bool) -> None:
    """Bounded: before it is fetched, where its size is told, and before it is read into memory else."""
    files = {**MODEL, "model.sig": recorded("p256") + b" " * MAX_BYTES}
    given = listed(server, files)
    if not announced:
        server.unannounced.add(number(files, "model.sig"))

    code, result = worker.run(asking(worker, given))

    assert (code, result.reason) == INVALID
    assert f"more than {MAX_BYTES} bytes" in result.message
    assert worker.published() == {}
    assert (server.sent > MAX_BYTES) != announced


def test_a_signature_that_does_not_hold_costs_no_download(
    server: FaultServer, worker: Worker
) -> None:
    """With promised digests all but the bundle can be told before the first byte of it."""
    for name, content in {
        "other": {**MODEL, "model.sig": recorded("other")},
        "changed": {**SIGNED, WEIGHTS: flipped(MODEL[WEIGHTS], 7)},
        "more": {**SIGNED, "x.bin": b"x" * 100_000},
    }.items():
        server.requests.clear()
        weights = f"/{number(content, WEIGHTS)}"

        assert worker.run(asking(worker, listed(server, content, promised=True)))[0] == 38, name
        fetched = [
            request
            for request in server.requests
            if request.path == weights and request.span != (0, 1)
        ]
        assert fetched == [], name
        assert not (worker.root / ".modelgallery/blobs/sha256" / digest(content[WEIGHTS])).exists()


def test_a_plan_without_its_signature_says_so(server: FaultServer, worker: Worker) -> None:
    wish = asking(worker, listed(server, MODEL), planOnly=True)

    assert worker.run(wish)[0] == 37
    assert worker.everything() == []
    assert worker.run(asking(worker, listed(server, SIGNED), planOnly=True))[0] == 0


def test_a_policy_that_comes_later_is_applied_to_what_is_there(
    server: FaultServer, worker: Worker
) -> None:
    given = listed(server, SIGNED, promised=True)
    assert worker.run(worker.install(*given))[0] == 0
    server.asked.clear()

    code, result = worker.run(asking(worker, given))

    assert (code, result.fetched_bytes, server.asked) == (0, 0, [])
    code, result = worker.run(asking(worker, given, key("other")))
    assert (code, result.reason) == INVALID
    assert worker.published() == digests(SIGNED, "m/")


def test_a_loose_file_is_not_trusted_more(server: FaultServer, worker: Worker) -> None:
    """It is taken over where its bytes are the promised ones, and those must be signed."""
    files = {**SIGNED, "x.bin": b"loose"}
    (worker.root / "m").mkdir()
    (worker.root / "m" / "x.bin").write_bytes(b"loose")

    code, result = worker.run(asking(worker, listed(server, files, promised=True)))

    assert (code, result.reason) == INVALID
    assert worker.published() == {"m/x.bin": digest(b"loose")}
    assert receipts(worker) == []


def test_a_repair_is_signed_too(server: FaultServer, worker: Worker) -> None:
    wish = asking(worker, listed(server, SIGNED))
    assert worker.run(wish)[0] == 0
    repair = {**wish, "files": [], "recheck": True, "fromReceipt": True}
    (worker.root / "m" / WEIGHTS).write_bytes(b"damaged")

    assert worker.run(repair)[0] == 0
    assert worker.published() == digests(SIGNED, "m/")
    assert worker.run({**repair, "signatureKeys": [key("other")]})[0] == 38


# By identity and by certificate


def test_by_identity(server: FaultServer, worker: Worker) -> None:
    files = {**MODEL, "model.sig": recorded("keyless/signed")}

    code, result = worker.run(by_identity(worker, listed(server, files)))

    assert (code, result.message) == (0, "")
    assert worker.published() == digests(files, "m/")
    assert all(not place.startswith("tmp") for place in worker.everything())


def test_by_certificate(server: FaultServer, worker: Worker) -> None:
    files = {**MODEL, "model.sig": recorded("certificates/signed")}
    wish = worker.install(*listed(server, files), signatureAuthorities=[authority()])

    assert worker.run(wish)[0] == 0
    assert worker.published() == digests(files, "m/")


@pytest.mark.parametrize("name", ["p256", "certificates/signed", "keyless/signed"])
def test_any_way_to_know_the_signer_is_enough(
    server: FaultServer, worker: Worker, name: str
) -> None:
    files = {**MODEL, "model.sig": recorded(name)}
    wish = by_identity(worker, listed(server, files))

    code, result = worker.run(
        {**wish, "signatureKeys": [key()], "signatureAuthorities": [authority()]}
    )

    assert (code, result.message) == (0, "")


NOBODYS: dict[str, tuple[str, dict[str, str], str]] = {
    "of another subject": ("signed", {"subject": "mallory@example.org"}, "is signed by"),
    "of another issuer": ("signed", {"issuer": "https://evil.example.org"}, "is signed by"),
    "under another root": ("signed", {"trusted": "other"}, "holds no authority"),
    "by an expired certificate": ("expired", {}, "not valid when the log took"),
    "by a key": ("../p256", {}, "nobody's identity"),
}


@pytest.mark.parametrize(("name", "who", "word"), NOBODYS.values(), ids=NOBODYS.keys())
def test_identities_that_nobody_trusts(
    server: FaultServer, worker: Worker, name: str, who: dict[str, str], word: str
) -> None:
    files = {**MODEL, "model.sig": recorded(f"keyless/{name}")}

    code, result = worker.run(by_identity(worker, listed(server, files), **who))

    assert (code, result.reason) == INVALID
    assert word in result.message
    assert worker.published() == {}
    assert receipts(worker) == []


def test_a_log_that_says_nothing(server: FaultServer, worker: Worker) -> None:
    content = json.loads(recorded("keyless/signed"))
    content["verificationMaterial"]["tlogEntries"] = []
    files = {**MODEL, "model.sig": json.dumps(content).encode()}

    code, result = worker.run(by_identity(worker, listed(server, files)))

    assert (code, result.reason) == INVALID
    assert "log entry" in result.message


def test_an_identity_signs_files_and_no_name(server: FaultServer, worker: Worker) -> None:
    files = {
        **MODEL,
        WEIGHTS: flipped(MODEL[WEIGHTS], 9),
        "model.sig": recorded("keyless/signed"),
    }

    code, result = worker.run(by_identity(worker, listed(server, files)))

    assert (code, result.reason) == INVALID
    assert f"'m/{WEIGHTS}' has the sha256" in result.message


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff", recorded("p256")])
def test_a_root_that_is_none_is_told_before_anything_is_asked_for(
    server: FaultServer, worker: Worker, tmp_path: Path, content: bytes
) -> None:
    files = {**MODEL, "model.sig": recorded("keyless/signed")}
    wish = by_identity(worker, listed(server, files))
    (tmp_path / "root.json").write_bytes(content)
    worker.environment[operation.ENV_TRUSTED_ROOT] = str(tmp_path / "root.json")

    code, result = worker.run(wish)

    assert (code, result.reason) == (50, "InvalidSpec")
    assert "trusted_root.json" in result.message
    assert server.asked == []


def test_a_root_that_did_not_come_is_not_the_public_one(
    server: FaultServer, worker: Worker
) -> None:
    wish = by_identity(worker, listed(server, SIGNED))
    del worker.environment[operation.ENV_TRUSTED_ROOT]

    assert worker.run(wish)[1].reason == "InvalidSpec"


def test_the_public_root_comes_with_the_worker(server: FaultServer, worker: Worker) -> None:
    """Nothing of it is fetched, and no home is needed: the test's instance is not the public one."""
    files = {**MODEL, "model.sig": recorded("keyless/signed")}
    wish = by_identity(worker, listed(server, files))
    worker.environment["HOME"] = "/proc/nobody"

    code, result = worker.run({**wish, "ownTrustedRoot": False})

    assert (code, result.reason) == INVALID
    assert "the trusted root holds no authority of its certificate" in result.message


# Repositories


@pytest.fixture
def claim(tmp_path: Path, worker: Worker) -> Path:
    """A folder in the place of a mounted claim, with the signed model in it."""
    folder = tmp_path / "claim"
    for name, content in SIGNED.items():
        (folder / "llm" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "llm" / name).write_bytes(content)
    worker.environment[operation.ENV_SOURCE] = str(folder)
    return folder / "llm"


def repository(worker: Worker, **more: Any) -> dict[str, Any]:
    found = {"kind": "Claim", "url": "pvc://c/llm/", "folder": "m", **more}
    return asking(worker, [], repository=found)


def test_a_repository_is_signed_at_its_root(worker: Worker, claim: Path) -> None:
    assert worker.run(repository(worker))[0] == 0
    assert worker.published() == digests(SIGNED, "m/")


def test_the_root_is_the_repository_and_not_where_its_files_happen_to_lie(
    worker: Worker, claim: Path
) -> None:
    """A signed model that was moved into a folder of another repository is not that repository."""
    inner = claim / "inner"
    inner.mkdir()
    for path in [path for path in claim.iterdir() if path != inner]:
        path.rename(inner / path.name)

    assert worker.run(repository(worker))[1].reason == "SignatureMissing"


def test_patterns_need_not_name_the_signature(worker: Worker, claim: Path) -> None:
    assert worker.run(repository(worker, include=["weights/*"]))[0] == 0
    assert worker.published() == {
        path: found
        for path, found in digests(SIGNED, "m/").items()
        if path.startswith("m/weights/") or path == "m/model.sig"
    }


def test_patterns_can_leave_the_signature_out(worker: Worker, claim: Path) -> None:
    assert worker.run(repository(worker, exclude=["*.sig"]))[1].reason == "SignatureMissing"
    assert worker.published() == {}


def test_a_changed_file_of_a_repository(worker: Worker, claim: Path) -> None:
    (claim / WEIGHTS).write_bytes(flipped(MODEL[WEIGHTS], 0))

    code, result = worker.run(repository(worker))

    assert (code, result.reason) == INVALID
    assert f"'m/{WEIGHTS}'" in result.message
    assert worker.published() == {}


# Archives

PACKED = {"voice/model.onnx": b"m" * 1000, "voice/model.onnx.json": b"{}"}
INSIDE = {name.removeprefix("voice/"): content for name, content in PACKED.items()}


def packed(
    server: FaultServer, worker: Worker, files: Mapping[str, bytes], *keys: str
) -> dict[str, Any]:
    given = listed(server, {"a.tar": tar(files.items())}, promised=True, folder="tts/")
    return asking(worker, [{**given[0], "unpack": True}], *keys or [OUR_KEY])


def test_an_archive_brings_its_signature(server: FaultServer, worker: Worker) -> None:
    files = {**PACKED, "voice/model.sig": bundle(OURS, statement(INSIDE))}
    wish = packed(server, worker, files)

    assert worker.run(wish)[0] == 0
    assert worker.published() == digests(files, "tts/")
    server.asked.clear()
    assert worker.run(wish)[0] == 0
    assert server.asked == []


def test_a_signature_beside_an_archive_is_of_its_members(
    server: FaultServer, worker: Worker
) -> None:
    """Of what is published, not of what is fetched: the archive is not kept."""
    beside = {"a.tar": tar(PACKED.items()), "model.sig": bundle(OURS, statement(PACKED))}
    archive, made = listed(server, beside, promised=True)

    assert worker.run(asking(worker, [{**archive, "unpack": True}, made], OUR_KEY))[0] == 0
    assert worker.published() == digests({**PACKED, "model.sig": beside["model.sig"]}, "m/")


SPOILT = {
    "none": (PACKED, MISSING),
    "of another key": ({**PACKED, "voice/model.sig": recorded("p256")}, INVALID),
    "of other files": (
        {**PACKED, "voice/model.sig": bundle(OURS, statement({**INSIDE, "model.onnx": b"n"}))},
        INVALID,
    ),
    "of fewer files": (
        {**PACKED, "voice/model.sig": bundle(OURS, statement({"model.onnx": b"m" * 1000}))},
        INVALID,
    ),
}


@pytest.mark.parametrize(("files", "refusal"), SPOILT.values(), ids=SPOILT.keys())
def test_an_archive_whose_signature_does_not_hold(
    server: FaultServer, worker: Worker, files: dict[str, bytes], refusal: tuple[int, str]
) -> None:
    code, result = worker.run(packed(server, worker, files))

    assert (code, result.reason) == refusal
    assert worker.published() == {}
    assert not [*worker.root.glob(".modelgallery/staging/**/*.member")]
    assert worker.remove()[0] == 0
    assert worker.everything() == []


def test_a_key_that_is_none_is_told_before_anything_is_asked_for(
    server: FaultServer, worker: Worker
) -> None:
    code, result = worker.run(asking(worker, listed(server, SIGNED), "no key"))

    assert (code, result.reason) == (50, "InvalidSpec")
    assert "publicKeys[0]" in result.message
    assert server.asked == []
