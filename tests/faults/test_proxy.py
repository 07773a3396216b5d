"""P70: the worker behind a proxy that asks for a password, which nobody else ever sees (INV7)."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import proxy as proxies
from support.faultserver import FaultServer, answer, serve
from support.proxy import Proxy
from support.tls import context
from support.worker import MIB, Worker

DATA = random.Random(70).randbytes(6 * MIB)  # noqa: S311 - content
PASSWORD = "pa55-w0rd-of-the-proxy"
KEYS = {"username": "someone", "password": PASSWORD, "allowed-hosts": "127.0.0.1"}


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with proxies.serve("someone", PASSWORD) as one:
        yield one


def give(worker: Worker, **keys: str) -> None:
    """Mounts a Secret for the proxy."""
    folder = worker.root.parent / "proxy"
    folder.mkdir()
    for key, value in keys.items():
        (folder / key).write_text(value)
    worker.environment["MODEL_GALLERY_PROXY_CREDENTIALS"] = str(folder)


def wish(worker: Worker, server: FaultServer, proxy: Proxy, **network: Any) -> dict[str, Any]:
    server.behave = lambda request: answer(DATA, request)
    file = {
        "path": "m.dat",
        "url": f"{server.url}/m.dat",
        "sha256": hashlib.sha256(DATA).hexdigest(),
    }
    allowed = {"allowedNetworks": ["127.0.0.0/8"], "proxy": proxy.url, **network}
    return worker.install(file, network=allowed)


def run(worker: Worker, operation: dict[str, Any]) -> tuple[int, str, str]:
    """Returns exit code, reason, and all that was said anywhere."""
    process = worker.start(operation, keep_output=True)
    arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    surroundings = Path(f"/proc/{process.pid}/environ").read_bytes()
    output, errors = process.communicate(timeout=60)
    last = worker.log.read_text()
    said = b"\n".join((arguments, surroundings, output, errors, last.encode())).decode()
    return process.returncode, last, said


def written(worker: Worker) -> bytes:
    """Returns all that lies on the volume beside the file's own bytes."""
    files = (path for path in worker.root.rglob("*") if path.is_file())
    return b"\n".join(path.read_bytes() for path in files if path.stat().st_size < MIB)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_p70_it_works_and_the_password_is_nowhere(
    worker: Worker, proxy: Proxy, tmp_path: Path, scheme: str
) -> None:
    secure = context(tmp_path) if scheme == "https" else None
    if secure:
        worker.environment["SSL_CERT_FILE"] = str(tmp_path / "cert.pem")
    give(worker, **KEYS)
    with serve(secure) as server:
        code, last, said = run(worker, wish(worker, server, proxy))
        asked = b"\n".join(request.raw for request in server.requests).lower()

    assert (code, worker.published()) == (0, {"m.dat": hashlib.sha256(DATA).hexdigest()}), last
    assert proxy.lines
    assert set(proxy.shown) == {proxy.expected}
    assert b"authorization" not in asked
    token = proxy.expected.removeprefix("Basic ")
    for secret in (PASSWORD, token):
        assert secret not in said
        assert secret.encode() not in written(worker)


def test_p70_a_host_that_is_reached_without_the_proxy_is_told_nothing(
    worker: Worker, proxy: Proxy
) -> None:
    give(worker, **KEYS)
    with serve() as server:
        code, _, _ = run(worker, wish(worker, server, proxy, noProxy=["127.0.0.1"]))
        asked = b"\n".join(request.raw for request in server.requests).lower()

    assert (code, proxy.shown) == (0, [])
    assert b"authorization" not in asked


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_p70_a_wrong_password_names_the_secret(
    worker: Worker, proxy: Proxy, tmp_path: Path, scheme: str
) -> None:
    give(worker, **KEYS | {"password": "another"})
    with serve(context(tmp_path) if scheme == "https" else None) as server:
        code, last, _ = run(worker, wish(worker, server, proxy))
        assert server.requests == []

    assert code == 21
    assert '"Unauthorized"' in last
    assert "the Secret of the Gallery's spec.proxyCredentials" in last
    assert proxy.lines == []


SECRETS: dict[str, tuple[dict[str, str], str]] = {
    "it does not opt in": ({"username": "a", "password": "b"}, "does not opt in"),
    "it is for another host": (KEYS | {"allowed-hosts": "proxy.corp"}, "does not allow host"),
    "it has no password": ({"username": "a", "allowed-hosts": "127.0.0.1"}, "must have the keys"),
    "it is not there": ({}, "does not exist or is empty"),
}


@pytest.mark.parametrize("case", SECRETS)
def test_p70_a_secret_that_is_not_for_this_proxy(worker: Worker, proxy: Proxy, case: str) -> None:
    keys, words = SECRETS[case]
    give(worker, **keys)
    with serve() as server:
        _, last, _ = run(worker, wish(worker, server, proxy))

    assert '"SecretNotAllowed"' in last
    assert words in last
    assert "the Gallery's spec.proxyCredentials" in last
    assert proxy.shown == []
