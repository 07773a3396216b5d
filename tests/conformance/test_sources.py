"""What every source must do, against a real server of its kind: the table of docs/sources.md."""

from __future__ import annotations

import contextlib
import inspect
import os
import random
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import proxy as proxies
from support import relay
from support.conformance import NOTES, Kind, kind_of, sha256
from support.faultserver import Act, Request, serve, status
from support.relay import Relay
from support.tls import context
from support.worker import MIB, REPOSITORY, Worker

DATA = random.Random(3).randbytes(40 * MIB)  # noqa: S311 - content
KINDS = {
    "http": "http(s)",
    "huggingface": "Hugging Face",
    **dict.fromkeys(["github", "githubrelease"], "GitHub"),
    **dict.fromkeys(["oci", "modelpack", "oras", "image"], "OCI"),
    "ollama": "Ollama",
    "s3": "S3",
    "claim": "claim, volume",
}
"""Each kind with its column in docs/sources.md."""
CANARY = "canary-0815"
TOKEN, USER = {"token": CANARY}, {"username": "me", "password": CANARY}
SECRETS: dict[str, dict[str, str]] = {
    "http": TOKEN,
    "huggingface": TOKEN,
    "github": TOKEN,
    "githubrelease": TOKEN,
    "oci": USER,
    "modelpack": USER,
    "oras": USER,
    "image": USER,
    "ollama": USER,
    "s3": {"accessKeyId": "me", "secretAccessKey": CANARY},
}


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "volume")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kind]:
    with kind_of(request.param, tmp_path, DATA) as running:
        yield running


@pytest.fixture
def remote(kind: Kind) -> Kind:
    """Those kinds that are on the network."""
    if not kind.url:
        pytest.skip(f"{kind.name} has no server")
    return kind


@contextlib.contextmanager
def relays(remote: Kind, tls: ssl.SSLContext | None = None) -> Iterator[list[Relay]]:
    """Yields relays before the server and before the store that it sends to, where it has one."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(relay.before(remote.url, tls))]
        if remote.store:
            found.append(stack.enter_context(relay.before(remote.store.url, tls)))
            remote.store.url = found[1].url
        yield found


def prepared(worker: Worker, kind: Kind, tmp_path: Path) -> Worker:
    if kind.name == "claim":
        worker.environment["MODEL_GALLERY_SOURCE"] = str(tmp_path / "claim")
    if kind.secret:
        folder = tmp_path / "secret"
        folder.mkdir(exist_ok=True)
        for key, value in kind.secret.items():
            (folder / key).write_text(value)
        worker.environment["MODEL_GALLERY_CREDENTIALS"] = str(folder)
    return worker


def test_it_is_fetched_pinned_and_verified(worker: Worker, kind: Kind, tmp_path: Path) -> None:
    code, line = prepared(worker, kind, tmp_path).run(worker.install(**kind.wish))

    assert (code, line.message) == (0, "")
    assert worker.published() == {kind.path: sha256(DATA)}
    assert bool(line.revision) == kind.pinned
    assert line.verified == kind.promised


def test_fetching_again_moves_no_bytes(worker: Worker, kind: Kind, tmp_path: Path) -> None:
    prepared(worker, kind, tmp_path).run(worker.install(**kind.wish))
    if kind.promised:
        kind.stored.write_bytes(b"x" * kind.stored.stat().st_size)

    code, line = worker.run(worker.install(**kind.wish))

    assert code == 0
    assert line.fetched_bytes == (0 if kind.promised else len(DATA))
    assert worker.published() == {kind.path: sha256(DATA)}


def test_wrong_bytes_of_the_right_size(worker: Worker, kind: Kind, tmp_path: Path) -> None:
    if not kind.promised:
        pytest.skip(f"{kind.name} promises no digest")
    good = kind.stored.read_bytes()
    kind.stored.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))

    code, line = prepared(worker, kind, tmp_path).run(worker.install(**kind.wish))

    assert (code, line.reason) == (30, "ChecksumMismatch")
    assert worker.published() == {}


def test_a_kill_is_resumed(worker: Worker, kind: Kind, tmp_path: Path) -> None:
    wish = worker.install(**kind.wish, bandwidthBytes=48 * MIB)
    process = prepared(worker, kind, tmp_path).start(wish)
    time.sleep(0.9)
    process.kill()
    process.communicate()

    code, _ = worker.run(worker.install(**kind.wish))

    assert code == 0
    assert worker.published() == {kind.path: sha256(DATA)}


def test_what_is_not_there(worker: Worker, kind: Kind, tmp_path: Path) -> None:
    code, line = prepared(worker, kind, tmp_path).run(worker.install(**kind.missing))

    assert (code, line.reason) == (20, "NotFound")
    assert line.message


def test_wrong_credentials(worker: Worker, tmp_path: Path) -> None:
    with kind_of("s3", tmp_path, DATA) as kind:
        kind.secret["secretAccessKey"] = "wrong"

        code, line = prepared(worker, kind, tmp_path).run(worker.install(**kind.wish))

    assert (code, line.reason) == (21, "Unauthorized")
    assert "canary" not in line.message


def test_a_plan_fetches_nothing(worker: Worker, kind: Kind, tmp_path: Path) -> None:
    wish = worker.install(**kind.wish, planOnly=True)

    code, line = prepared(worker, kind, tmp_path).run(wish)

    # A packed layer has its own size.
    assert code == 0
    assert len(DATA) <= line.size_bytes < len(DATA) * 1.01
    assert bool(line.revision) == kind.pinned
    assert worker.everything() == []


def test_digests_can_be_required(worker: Worker, kind: Kind, tmp_path: Path) -> None:
    wish = worker.install(**kind.wish, checksumsRequired=True)

    code, line = prepared(worker, kind, tmp_path).run(wish)

    if kind.promised:
        assert worker.published() == {kind.path: sha256(DATA)}
        return
    assert (code, line.reason) == (36, "ChecksumRequired")
    assert worker.published() == {}


@pytest.mark.parametrize(
    ("patterns", "want"),
    [
        ({"include": ["*.dat"]}, "model"),
        ({"exclude": ["*.dat"]}, "notes"),
        ({}, "model and notes"),
        ({"include": ["*.dat"], "exclude": ["*model*"]}, ""),
    ],
    ids=["include", "exclude", "all", "nothing"],
)
def test_patterns_choose_files(
    worker: Worker, kind: Kind, tmp_path: Path, patterns: dict[str, Any], want: str
) -> None:
    if not kind.several:
        pytest.skip(f"{kind.name} is one model")
    files = {"model": (kind.path, sha256(DATA)), "notes": ("m/notes.txt", sha256(NOTES))}
    wish = {"repository": {**kind.several["repository"], **patterns}}

    code, line = prepared(worker, kind, tmp_path).run(worker.install(**wish))

    assert (code, line.reason) == ((0, "Succeeded") if want else (20, "NotFound"))
    assert worker.published() == dict(file for name, file in files.items() if name in want)


def test_through_a_proxy(worker: Worker, remote: Kind, tmp_path: Path) -> None:
    with proxies.serve("someone", CANARY) as proxy:
        network = {"allowedNetworks": ["127.0.0.0/8"], "proxy": proxy.url}
        given = {"username": "someone", "password": CANARY, "allowed-hosts": "127.0.0.1"}
        folder = tmp_path / "proxy"
        folder.mkdir()
        for key, value in given.items():
            (folder / key).write_text(value)
        worker.environment["MODEL_GALLERY_PROXY_CREDENTIALS"] = str(folder)
        with relays(remote) as watched:
            wish = remote.at(watched[0].url, remote.wish)

            code, line = prepared(worker, remote, tmp_path).run(
                worker.install(**wish, network=network)
            )

        asked = [bytes(one.heard).count(b"\r\nHost: ") for one in watched]
        assert (code, line.message) == (0, "")
        assert worker.published() == {remote.path: sha256(DATA)}
        assert all(asked)
        assert sum(asked) <= len(proxy.lines)
        assert not any(CANARY.encode() in one.heard for one in watched)


@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "unknown"])
def test_over_tls_of_an_own_authority(
    worker: Worker, remote: Kind, tmp_path: Path, trusted: bool
) -> None:
    with relays(remote, context(tmp_path)) as [front, *_]:
        if trusted:
            worker.environment["MODEL_GALLERY_CA"] = str(tmp_path / "cert.pem")
        wish = worker.install(**remote.at(front.url, remote.wish))

        code, line = prepared(worker, remote, tmp_path).run(wish)

    assert (code, line.reason) == ((0, "Succeeded") if trusted else (23, "CertificateInvalid"))
    assert worker.published() == ({remote.path: sha256(DATA)} if trusted else {})


@pytest.mark.parametrize("hosts", ["", "elsewhere.example", "*"])
def test_a_secret_that_does_not_opt_in(
    worker: Worker, remote: Kind, tmp_path: Path, hosts: str
) -> None:
    """T33: it is refused before anything is asked."""
    remote.secret = {**SECRETS[remote.name], **({"allowed-hosts": hosts} if hosts else {})}
    with relay.before(remote.url) as front:
        wish = worker.install(**remote.at(front.url, remote.wish))

        _, line = prepared(worker, remote, tmp_path).run(wish)

    assert line.reason == "SecretNotAllowed"
    assert front.heard == b""


def test_a_credential_stays_with_its_origin(worker: Worker, remote: Kind, tmp_path: Path) -> None:
    """T31, T35: the origin is shown it and sends on to another; nothing of it is told anywhere."""
    remote.secret = {**SECRETS[remote.name], "allowed-hosts": "127.0.0.1"}
    with sent_on(remote) as (url, heard, other):
        wish = worker.install(**remote.at(url, remote.wish))
        process = prepared(worker, remote, tmp_path).start(wish, keep_output=True)
        arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        said = b"".join([*process.communicate(timeout=60), arguments, worker.log.read_bytes()])
        shown = heard()

    small = [
        path for path in worker.root.rglob("*") if path.is_file() and path.stat().st_size < MIB
    ]
    assert b"\r\nauthorization: " in shown.lower()
    assert other.heard
    assert b"authorization" not in other.heard.lower()
    assert CANARY.encode() not in other.heard + said + b"".join(map(Path.read_bytes, small))
    assert process.returncode == (21 if remote.name == "s3" else 0)


@contextlib.contextmanager
def sent_on(remote: Kind) -> Iterator[tuple[str, Callable[[], bytes], Relay]]:
    """Yields the URL of an origin, what it hears, and the other one to which it sends.

    A source with a store sends to it by itself; for the others an origin wants a credential first.
    """
    if remote.store:
        with relays(remote) as [front, store]:
            yield front.url, lambda: bytes(front.heard), store
        return
    with serve() as origin, relay.before(remote.url) as other:

        def behave(request: Request) -> Iterator[Act]:
            if b"\r\nauthorization: " not in request.raw.lower():
                yield from status(401, 'WWW-Authenticate: Basic realm="x"\r\n')
            yield from status(302, f"Location: {other.url}{request.path}\r\n")

        origin.behave = behave
        yield origin.url, lambda: b"".join(one.raw for one in origin.requests), other


def test_what_changes_between_the_look_and_the_fetch(
    worker: Worker, remote: Kind, tmp_path: Path
) -> None:
    """The new content as a whole, or a refusal, never both in one file; what was promised stays so."""
    new, once = remote.stored.read_bytes()[::-1], threading.Lock()

    def change(piece: bytes) -> None:
        if b"\r\nRange: bytes=0-0\r\n" in piece or b"\r\nRange: " not in piece:
            return
        if once.acquire(blocking=False):
            later = tmp_path / "later"
            later.write_bytes(new)
            # Servers of files make their ETag of it, in seconds.
            os.utime(later, (later.stat().st_atime, later.stat().st_mtime + 10))
            later.replace(remote.stored)

    wish = remote.wish
    if remote.name == "http":
        wish = {"files": [{"path": "m/model.dat", "url": wish["files"][0]["url"]}]}
    with relays(remote) as fronts:
        fronts[-1].hook = change
        code, line = prepared(worker, remote, tmp_path).run(
            worker.install(**remote.at(fronts[0].url, wish))
        )

    assert once.locked()
    if remote.promised and remote.name != "http":
        assert (code, line.reason) == (30, "ChecksumMismatch")
        assert worker.published() == {}
    elif code:
        assert line.reason in {"SourceChanged", "Unauthorized"}
        assert worker.published() == {}
    else:
        assert worker.published() == {remote.path: sha256(new)}


ROWS: dict[str, Callable[..., None]] = {
    "fetched and published": test_it_is_fetched_pinned_and_verified,
    "pinned before the first byte": test_it_is_fetched_pinned_and_verified,
    "promised digests": test_it_is_fetched_pinned_and_verified,
    "wrong bytes of the right size": test_wrong_bytes_of_the_right_size,
    "a plan (`planOnly`)": test_a_plan_fetches_nothing,
    "`policy.checksums: Required`": test_digests_can_be_required,
    "`include`, `exclude`": test_patterns_choose_files,
    "again: no byte moves": test_fetching_again_moves_no_bytes,
    "kill -9 is resumed": test_a_kill_is_resumed,
    "changed between the look and the fetch": test_what_changes_between_the_look_and_the_fetch,
    "forward proxy with a password": test_through_a_proxy,
    "TLS of an own authority (`caBundle`)": test_over_tls_of_an_own_authority,
    "a Secret that does not opt in": test_a_secret_that_does_not_opt_in,
    "redirected to another origin": test_a_credential_stays_with_its_origin,
    "what is not there": test_what_is_not_there,
}
"""Rows of docs/sources.md with the tests that they tell of; others name a file, or are no properties."""
TABLE = [
    [cell.strip() for cell in line.strip("|\n").split("|")]
    for line in (REPOSITORY / "docs/sources.md").read_text().partition("\n\n## ")[0].splitlines()
    if line.startswith("|")
]


def test_the_documentation_has_these_rows_and_columns() -> None:
    head, _, _, *rows = TABLE
    tests = {
        test
        for name, test in globals().items()
        if name.startswith("test_") and {"kind", "remote"} & set(inspect.signature(test).parameters)
    }

    assert head[1:] == list(dict.fromkeys(KINDS.values()))
    assert {row[0] for row in rows if ".py" not in row[0] and row[0] != "credentials"} == set(ROWS)
    assert set(ROWS.values()) == tests - {
        test_the_documentation_leaves_out_what_a_source_does_not_have
    }


def test_the_documentation_leaves_out_what_a_source_does_not_have(kind: Kind) -> None:
    cells = {row[0]: dict(zip(TABLE[0], row, strict=True))[KINDS[kind.name]] for row in TABLE}

    for label, test in ROWS.items():
        if test is test_patterns_choose_files:
            assert bool(cells[label]) == bool(kind.several), label
        elif "remote" in inspect.signature(test).parameters:
            assert bool(cells[label]) == bool(kind.url), label
        elif kind.promised:
            assert cells[label], label
