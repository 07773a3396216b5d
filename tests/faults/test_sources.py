"""Servers that misbehave on the wire: what it costs, and that nothing wrong is ever published.

The numbers are those of the fault table, docs/faults.md.
"""

from __future__ import annotations

import email.utils
import gzip
import hashlib
import json
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from model_gallery.protocol.report import ResultLine
from support.archivemake import tar
from support.faultserver import CLOSE, RESET, Act, FaultServer, Request, answer, serve, status
from support.tls import context
from support.worker import MIB, Worker

DATA = random.Random(7).randbytes(24 * MIB)  # noqa: S311 - content
SMALL = DATA[: 64 * 1024]


def install(
    worker: Worker, server: FaultServer, data: bytes | None, **more: Any
) -> tuple[int, str, str]:
    """Returns exit code, reason and message; `data` is what is promised, None for no promise."""
    file = {"path": "m.gguf", "url": f"{server.url}/m.gguf"}
    if data is not None:
        file["sha256"] = hashlib.sha256(data).hexdigest()
    code, line = worker.run(worker.install(file, **more))
    return code, line.reason.value, line.message


def is_published(worker: Worker, data: bytes) -> bool:
    return worker.published() == {"m.gguf": hashlib.sha256(data).hexdigest()}


def in_bodies(fault: Callable[[int, bytes], Iterator[Act]], data: bytes = DATA) -> Any:
    """Behaves, but lets a fault do the bodies; the probe for the first byte is answered well."""
    count = 0

    def behave(request: Request) -> Iterator[Act]:
        nonlocal count
        head, body = answer(data, request)
        yield head
        if request.span == (0, 1):
            yield body
            return
        count += 1
        yield from fault(count, body)

    return behave


def test_p11_a_body_cut_short_is_taken_up_again(worker: Worker, server: FaultServer) -> None:
    def cut(count: int, body: bytes) -> Iterator[Act]:
        yield body[: len(body) // 2] if count % 2 else body
        if count % 2:
            yield CLOSE

    server.behave = in_bodies(cut)

    assert install(worker, server, DATA)[0] == 0
    assert is_published(worker, DATA)
    assert server.sent < 2 * len(DATA)


def test_p12_more_bytes_than_announced_are_not_taken(worker: Worker, server: FaultServer) -> None:
    def behave(request: Request) -> Iterator[Act]:
        yield from answer(SMALL, request, total=len(SMALL) - 10, ranges=False)
        yield CLOSE

    server.behave = behave

    code, reason, _ = install(worker, server, SMALL)

    assert (code, reason) == (30, "ChecksumMismatch")
    assert worker.published() == {}


def test_p13_a_body_in_chunks_needs_no_length(worker: Worker, server: FaultServer) -> None:
    def behave(_: Request) -> Iterator[Act]:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for start in range(0, len(SMALL), 1000):
            piece = SMALL[start : start + 1000]
            yield f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
        yield b"0\r\n\r\n"

    server.behave = behave

    assert install(worker, server, SMALL)[0] == 0
    assert is_published(worker, SMALL)


def test_p13_chunks_that_end_early_are_not_the_file(worker: Worker, server: FaultServer) -> None:
    def behave(request: Request) -> Iterator[Act]:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        yield f"{len(SMALL) // 2:x}\r\n".encode() + SMALL[: len(SMALL) // 2] + b"\r\n"
        if request.number < 4:
            yield CLOSE
        rest = SMALL[len(SMALL) // 2 :]
        yield f"{len(rest):x}\r\n".encode() + rest + b"\r\n0\r\n\r\n"

    server.behave = behave

    assert install(worker, server, None)[0] == 0
    assert is_published(worker, SMALL)


@pytest.mark.parametrize(("code", "form"), [(503, "seconds"), (429, "date")], ids=["p14", "p15"])
def test_a_server_that_asks_to_wait_is_left_alone(
    worker: Worker, server: FaultServer, code: int, form: str
) -> None:
    def behave(request: Request) -> Iterator[Act]:
        if request.number == 2:
            until = email.utils.formatdate(time.time() + 3, usegmt=True)
            yield from status(code, f"Retry-After: {3 if form == 'seconds' else until}\r\n")
        else:
            yield from answer(SMALL, request)

    server.behave = behave

    assert install(worker, server, SMALL)[0] == 0
    refused, after = server.requests[1], server.requests[2]
    assert 1.9 <= after.moment - refused.moment <= 4.5


def test_p14_a_long_wait_is_the_jobs_business(worker: Worker, server: FaultServer) -> None:
    server.behave = lambda request: (
        answer(SMALL, request) if request.number == 1 else status(503, "Retry-After: 1800\r\n")
    )

    code, line = worker.run(worker.install({"path": "m", "url": f"{server.url}/m"}))

    assert (code, line.reason) == (12, "RateLimited")
    assert line.retry_after_seconds == 1800


def test_p16_a_server_that_fails_three_times(worker: Worker, server: FaultServer) -> None:
    server.behave = lambda request: (
        status(500) if request.number in {2, 3, 4} else answer(SMALL, request)
    )

    assert install(worker, server, SMALL)[0] == 0
    assert is_published(worker, SMALL)


def test_a_503_never_costs_bytes(worker: Worker, server: FaultServer) -> None:
    """LocalAI's downloader throws its partial file away; facts of the project, section 9."""

    def behave(request: Request) -> Iterator[Act]:
        if request.number % 3 == 0:
            yield from status(503)
            return
        head, body = answer(DATA, request)
        yield head
        yield body if request.number == 1 else body[: 2 * MIB]
        if request.number > 1 and len(body) > 2 * MIB:
            yield CLOSE

    server.behave = behave

    assert install(worker, server, DATA)[0] == 0
    assert is_published(worker, DATA)
    assert server.sent < len(DATA) + 2 * MIB


def test_p19_too_many_redirects(worker: Worker, server: FaultServer) -> None:
    server.behave = lambda request: status(302, f"Location: /{request.number}\r\n")

    assert install(worker, server, SMALL)[:2] == (24, "TooManyRedirects")
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.2/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/x",
        "//127.0.0.3/x",
        "http://localhost.:1/x",
        "http://2130706434/x",
    ],
)
def test_t26_a_redirect_to_the_inside_is_refused(
    worker: Worker, server: FaultServer, target: str
) -> None:
    server.behave = lambda _: status(302, f"Location: {target}\r\n")
    network = {"allowedNetworks": ["127.0.0.1/32"]}
    if "localhost" in target:
        network = {"allowedNetworks": []}

    assert install(worker, server, SMALL, network=network)[:2] == (22, "TargetNotAllowed")
    assert worker.published() == {}


@pytest.mark.parametrize(
    "target",
    ["http://user:pw@127.0.0.1/x", "ftp://127.0.0.1/x", "file:///etc/passwd", "http://a b/"],
)
def test_t27_t37_a_redirect_that_is_no_url_is_refused(
    worker: Worker, server: FaultServer, target: str
) -> None:
    server.behave = lambda _: status(302, f"Location: {target}\r\n")

    code, reason, _ = install(worker, server, SMALL)

    assert reason in {"InvalidSpec", "TargetNotAllowed"}
    assert code in {22, 50}


def test_p20_p21_a_server_that_falls_silent(worker: Worker, server: FaultServer) -> None:
    """Before the headers, and in the middle of a body."""
    network = {"allowedNetworks": ["127.0.0.0/8"], "stallSeconds": 1}

    def behave(request: Request) -> Iterator[Act]:
        if request.number == 2:
            yield 30.0
        head, body = answer(DATA, request)
        yield head
        yield body[: MIB // 2] if request.number == 3 else body
        if request.number == 3:
            yield 30.0

    server.behave = behave
    began = time.monotonic()

    assert install(worker, server, DATA, network=network)[0] == 0
    assert time.monotonic() - began < 20
    assert is_published(worker, DATA)


@pytest.mark.parametrize("where", ["head", "body"])
def test_p22_a_server_that_drips_is_asked_again(
    worker: Worker, server: FaultServer, where: str
) -> None:
    """Ten bytes in a second: the socket's own limit never runs out."""
    worker.module = "support.hasty"

    def behave(request: Request) -> Iterator[Act]:
        head, body = answer(DATA, request)
        if request.number in {2, 3}:
            if where == "body":
                yield head
            for byte in (head if where == "head" else body)[:120]:
                yield bytes([byte])
                yield 0.1
            yield CLOSE
        yield head
        yield body

    server.behave = behave
    network = {"allowedNetworks": ["127.0.0.0/8"], "stallSeconds": 1}
    began = time.monotonic()

    assert install(worker, server, DATA, network=network)[0] == 0
    assert time.monotonic() - began < 10
    assert is_published(worker, DATA)


def test_p22_a_server_that_only_drips_is_left_to_the_job(
    worker: Worker, server: FaultServer
) -> None:
    def behave(_: Request) -> Iterator[Act]:
        for byte in b"HTTP/1.1 200 OK and much more, for as long as it goes":
            yield bytes([byte])
            yield 0.2

    server.behave = behave
    network = {"allowedNetworks": ["127.0.0.0/8"], "stallSeconds": 1}

    assert install(worker, server, SMALL, network=network)[:2] == (13, "Interrupted")
    assert worker.published() == {}


def test_p23_resets_at_random_places(worker: Worker, server: FaultServer) -> None:
    """INV11: every byte that arrived is kept."""
    dice = random.Random(4)  # noqa: S311 - a seeded fault

    def reset(count: int, body: bytes) -> Iterator[Act]:
        if count <= 60:
            yield body[: dice.randrange(1, 1 + len(body))]
            yield RESET
        yield body

    server.behave = in_bodies(reset)

    assert install(worker, server, DATA)[0] == 0
    assert is_published(worker, DATA)


@pytest.mark.parametrize(
    ("certificate", "trusted", "words"),
    [
        ({}, False, "self-signed"),
        ({"name": "127.0.0.9"}, True, "not valid for"),
        ({"ended": True}, True, "expired"),
    ],
    ids=["unknown", "wrong name", "expired"],
)
def test_p25_a_certificate_that_does_not_hold(
    worker: Worker, tmp_path: Path, certificate: Any, trusted: bool, words: str
) -> None:
    with serve(context(tmp_path, **certificate)) as server:
        server.behave = lambda request: answer(SMALL, request)
        if trusted:
            worker.environment["SSL_CERT_FILE"] = str(tmp_path / "cert.pem")

        code, reason, message = install(worker, server, SMALL)

    assert (code, reason) == (23, "CertificateInvalid")
    assert words in message


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "MODEL_GALLERY_CA"])
def test_p25_a_certificate_of_a_known_authority(
    worker: Worker, tmp_path: Path, variable: str
) -> None:
    """Known to the image, or by the Gallery's own bundle."""
    with serve(context(tmp_path)) as server:
        server.behave = lambda request: answer(DATA, request)
        worker.environment[variable] = str(tmp_path / "cert.pem")

        assert install(worker, server, DATA)[0] == 0


def test_p26_no_ranges_on_resuming(worker: Worker, server: FaultServer) -> None:
    """It restarts, and mixes nothing."""

    def behave(request: Request) -> Iterator[Act]:
        if request.number == 1:
            yield from answer(DATA, request)
            return
        head, body = answer(DATA, request, ranges=False)
        yield head
        yield body

    server.behave = behave

    assert install(worker, server, DATA)[0] == 0
    assert is_published(worker, DATA)


def test_p27_t71_a_file_that_changes_on_the_way(worker: Worker, server: FaultServer) -> None:
    """What came of the old file is thrown away; nothing of both is ever one file."""
    new = bytes(reversed(DATA))

    def behave(request: Request) -> Iterator[Act]:
        if request.number <= 2:
            head, body = answer(DATA, request)
            yield head
            yield body[: 2 * MIB]
            if request.number == 2:
                yield CLOSE
        elif request.span and request.span != (0, 1) and b'"one"' in request.raw:
            yield from answer(new, request, etag='"two"', ranges=False)
        else:
            yield from answer(new, request, etag='"two"')

    server.behave = behave

    assert install(worker, server, None)[0] == 0
    assert is_published(worker, new)


@pytest.mark.parametrize("place", ["bytes 5-{last}/{total}", "bytes 0-{last}/999", "nonsense", ""])
def test_p28_t72_a_range_that_was_not_asked_for(
    worker: Worker, server: FaultServer, place: str
) -> None:
    def behave(request: Request) -> Iterator[Act]:
        if request.number == 1 or request.number > 12:
            yield from answer(DATA, request)
            return
        start, end = request.span or (0, None)
        body = DATA[start : end or len(DATA)]
        shown = place.format(last=start + len(body) - 1, total=len(DATA))
        head = f"HTTP/1.1 206 X\r\nContent-Length: {len(body)}\r\nContent-Range: {shown}\r\n\r\n"
        yield head.encode()
        yield body

    server.behave = behave

    code, reason, _ = install(worker, server, DATA)

    assert worker.published() == {} if code else is_published(worker, DATA)
    assert reason in {"SourceChanged", "Succeeded"}


def test_p30_wrong_bytes_once(worker: Worker, server: FaultServer) -> None:
    server.behave = in_bodies(lambda count, body: iter([flipped(body) if count == 1 else body]))

    code, reason, _ = install(worker, server, DATA)

    assert (code, reason) == (0, "Succeeded")
    assert is_published(worker, DATA)


def flipped(body: bytes) -> bytes:
    return bytes([body[0] ^ 1]) + body[1:]


def test_p31_a_partial_that_was_changed_on_the_volume(worker: Worker, server: FaultServer) -> None:
    def cut(count: int, body: bytes) -> Iterator[Act]:
        yield body[: 9 * MIB]
        if len(body) > 9 * MIB or count > 1:
            yield 60.0

    big = DATA * 3
    server.behave = in_bodies(cut, big)
    file = {
        "path": "m.gguf",
        "url": f"{server.url}/m.gguf",
        "sha256": hashlib.sha256(big).hexdigest(),
    }
    process = worker.start(worker.install(file))
    while server.sent < 30 * MIB:
        time.sleep(0.05)
    time.sleep(0.5)
    process.kill()
    process.communicate()
    part = next((worker.root / ".modelgallery" / "staging").rglob("*.part"))
    with part.open("r+b") as opened:
        opened.seek(1000)
        opened.write(b"\xff" * 100)
    server.behave = lambda request: answer(big, request)

    assert install(worker, server, big)[0] == 0
    assert is_published(worker, big)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<!DOCTYPE html><html>login</html>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n", "LFS pointer"),
    ],
    ids=["p32", "p33"],
)
def test_t73_something_else_instead_of_the_model(
    worker: Worker, server: FaultServer, body: bytes, words: str
) -> None:
    server.behave = lambda request: answer(body, request)

    code, reason, message = install(worker, server, None)

    assert (code, reason) == (33, "InvalidFormat")
    assert words in message
    assert worker.published() == {}


def test_t22_nothing_is_decoded_on_the_way(worker: Worker, server: FaultServer) -> None:
    packed = gzip.compress(bytes(10 * MIB))
    server.behave = lambda request: answer(packed, request, headers="Content-Encoding: gzip\r\n")

    assert install(worker, server, packed)[0] == 0
    assert is_published(worker, packed)


def test_p34_a_thousand_small_files(worker: Worker, server: FaultServer) -> None:
    def behave(request: Request) -> Iterator[Act]:
        yield from answer(request.path.encode() * 50, request, etag="")

    server.behave = behave
    files = [{"path": f"d/{n}.txt", "url": f"{server.url}/{n}"} for n in range(1000)]
    wish = worker.install(*files)
    path = worker.root.parent / "operation.json"
    path.write_text(json.dumps(wish))
    worker.environment["MODEL_GALLERY_OPERATION_FILE"] = str(path)

    code, line = worker.run({})

    assert code == 0
    assert line.files_total == 1000
    assert len(worker.published()) == 1000


def test_p35_sizes_beyond_32_bits(worker: Worker, server: FaultServer) -> None:
    """60 GiB: refused before the first byte, with the right number."""
    server.behave = lambda request: answer(SMALL, request, total=1 << 62)

    code, reason, message = install(worker, server, SMALL)

    assert (code, reason) == (40, "NoSpace")
    assert str(1 << 62) in message
    assert len(server.requests) == 1


def volume_of(tmp_path: Path, options: str) -> Path:
    """A file system of its own, of a fixed size."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    root = tmp_path / "volume"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", root], check=True)
    return root


@pytest.fixture
def small_volume(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Worker]:
    root = volume_of(tmp_path, request.param)
    yield Worker(root)
    subprocess.run(["umount", "-l", root], check=True)


@pytest.mark.parametrize("small_volume", ["size=16m"], indirect=True)
def test_p08_a_full_volume_is_known_before_the_first_byte(
    small_volume: Worker, server: FaultServer
) -> None:
    server.behave = lambda request: answer(DATA, request)

    code, reason, message = install(small_volume, server, DATA)

    assert (code, reason) == (40, "NoSpace")
    assert str(len(DATA)) in message
    assert len(server.requests) == 1


@pytest.mark.parametrize("small_volume", ["size=16m"], indirect=True)
def test_p07_a_volume_that_fills_up_on_the_way(small_volume: Worker, server: FaultServer) -> None:
    """The source does not tell the length, so only the write can find out; later there is room."""

    def behave(request: Request) -> Iterator[Act]:
        yield b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
        yield DATA
        yield CLOSE

    server.behave = behave

    assert install(small_volume, server, DATA)[:2] == (40, "NoSpace")
    assert small_volume.published() == {}
    subprocess.run(["mount", "-o", "remount,size=64m", small_volume.root], check=True)
    assert install(small_volume, server, DATA)[0] == 0
    assert is_published(small_volume, DATA)


def blob(worker: Worker, data: bytes) -> Path:
    return worker.root / ".modelgallery/blobs/sha256" / hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("small_volume", ["size=24m"], indirect=True)
def test_what_is_kept_for_a_way_back_goes_where_an_install_lacks_room(
    small_volume: Worker, server: FaultServer
) -> None:
    """Only then, and only where that makes the room; what is published stays as it is."""
    first, second, third = (bytes([number]) * 8 * MIB for number in (1, 2, 3))
    contents = {"/model.gguf": second, "/other.gguf": third, "/huge.gguf": bytes(40 * MIB)}
    server.behave = lambda request: answer(contents[request.path], request)

    def run(path: str, uid: str = "") -> tuple[int, str]:
        wish = small_volume.install({"path": path, "url": f"{server.url}/{path}"}, keepSeconds=3600)
        owner = {"namespace": "ns", "name": uid, "uid": uid} if uid else wish["owner"]
        digest = hashlib.sha256(contents[f"/{path}"]).hexdigest()
        code, line = small_volume.run({**wish, "owner": owner, "planDigest": digest})
        return code, line.reason

    contents["/model.gguf"] = first
    assert run("model.gguf") == (0, "Succeeded")
    contents["/model.gguf"] = second
    assert run("model.gguf") == (0, "Succeeded")
    assert blob(small_volume, first).exists()

    assert run("huge.gguf", "huge") == (40, "NoSpace")
    assert blob(small_volume, first).exists()
    assert run("other.gguf", "other") == (0, "Succeeded")
    assert not blob(small_volume, first).exists()
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    published = small_volume.published()
    assert published["model.gguf"] == digests["/model.gguf"]
    assert published["other.gguf"] == digests["/other.gguf"]
    owner = {"namespace": "ns", "name": "g", "uid": "g"}
    _, line = small_volume.run({"kind": "scan", "owner": owner, "models": ["huge"]})
    assert line.volume is not None
    assert line.volume.managed_bytes == len(second) + len(third)


@pytest.mark.parametrize("small_volume", ["size=24m"], indirect=True)
def test_what_is_kept_for_a_way_back_goes_where_an_archive_lacks_room(
    small_volume: Worker, server: FaultServer
) -> None:
    """What comes out of it is known only when it is there; others hear how much is missing."""
    # Packed it is small, but not suspiciously so.
    piece = DATA[:20_000] + bytes(MIB - 20_000)
    first, second = bytes([1]) * 8 * MIB, bytes([2]) * 8 * MIB
    large, huge = piece * 11, piece * 40
    contents = {
        "/model.gguf": first,
        "/large.tar.gz": gzip.compress(tar([("large.gguf", large)])),
        "/huge.tar.gz": gzip.compress(tar([("huge.gguf", huge)])),
    }
    server.behave = lambda request: answer(contents[request.path], request)

    def run(path: str, uid: str, *, unpack: bool) -> tuple[int, ResultLine]:
        file = {"path": path, "url": f"{server.url}/{path}", "unpack": unpack}
        owner = {"namespace": "ns", "name": uid, "uid": uid}
        digest = hashlib.sha256(contents[f"/{path}"]).hexdigest()
        wish = small_volume.install(file, keepSeconds=3600, owner=owner, planDigest=digest)
        return small_volume.run(wish)

    assert run("model.gguf", "m", unpack=False)[0] == 0
    contents["/model.gguf"] = second
    assert run("model.gguf", "m", unpack=False)[0] == 0

    code, line = run("huge.tar.gz", "huge", unpack=True)
    assert (code, line.reason) == (40, "NoSpace")
    assert line.missing_bytes is not None
    assert len(huge) - 8 * MIB < line.missing_bytes < len(huge) * 1.05
    assert blob(small_volume, first).exists()
    assert run("large.tar.gz", "large", unpack=True)[0] == 0
    assert not blob(small_volume, first).exists()
    assert small_volume.published() == {
        "model.gguf": hashlib.sha256(second).hexdigest(),
        "large.gguf": hashlib.sha256(large).hexdigest(),
    }


@pytest.mark.parametrize("small_volume", ["size=64m,nr_inodes=3"], indirect=True)
def test_p09_inodes_are_counted(small_volume: Worker, server: FaultServer) -> None:
    server.behave = lambda request: answer(SMALL, request)

    code, reason, message = install(small_volume, server, SMALL)

    assert (code, reason) == (40, "NoSpace")
    assert "inodes" in message


@pytest.mark.parametrize("small_volume", ["size=64m"], indirect=True)
def test_p10_a_volume_that_is_read_only(small_volume: Worker, server: FaultServer) -> None:
    server.behave = lambda request: answer(DATA, request)
    subprocess.run(["mount", "-o", "remount,ro", small_volume.root], check=True)

    assert install(small_volume, server, DATA)[:2] == (41, "ReadOnlyVolume")
    subprocess.run(["mount", "-o", "remount,rw", small_volume.root], check=True)
    assert install(small_volume, server, DATA)[0] == 0


def test_a_bandwidth_limit_is_kept(worker: Worker, server: FaultServer) -> None:
    server.behave = lambda request: answer(DATA, request)
    began = time.monotonic()

    assert install(worker, server, DATA, bandwidthBytes=12 * MIB)[0] == 0

    assert time.monotonic() - began >= 1.2
