"""What the worker finds around it and must not go by: its home, variables, a wrong clock."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.faultserver import Act, FaultServer, Request, answer, serve, status
from support.tls import context
from support.worker import Worker

DATA = bytes(range(256)) * 400
CANARY = "canary-2211"
HOUR, DAY = 3600, 86400


def file(server: FaultServer) -> dict[str, str]:
    digest = hashlib.sha256(DATA).hexdigest()
    return {"path": "m.dat", "url": f"{server.url}/m.dat", "sha256": digest}


def test_t36_neither_home_nor_variables_say_whom_to_ask_and_as_whom(
    worker: Worker, server: FaultServer, tmp_path: Path
) -> None:
    server.behave = lambda request: answer(DATA, request)
    home = tmp_path / "home"
    home.mkdir()
    for name in (".netrc", "_netrc"):
        (home / name).write_text(f"default login me password {CANARY}\n")
        (home / name).chmod(0o600)
    worker.environment |= {"HOME": str(home), "NETRC": str(home / ".netrc")}
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
        worker.environment[name] = f"http://me:{CANARY}@127.0.0.1:1"

    assert worker.run(worker.install(file(server)))[0] == 0
    asked = b"\n".join(request.raw for request in server.requests).lower()
    assert b"authorization" not in asked


def test_t35_a_refusal_that_echoes_a_secret_is_not_repeated(
    worker: Worker, server: FaultServer
) -> None:
    """Neither from a query, nor from a Location, nor from a body."""

    def behave(request: Request) -> Iterator[Act]:
        if request.path.startswith("/m.dat"):
            yield from status(302, f"Location: /store?X-Amz-Signature={CANARY}\r\n")
        else:
            body = f"the token {CANARY} is not valid".encode()
            yield f"HTTP/1.1 403 {CANARY}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    server.behave = behave
    wish = worker.install({"path": "m.dat", "url": f"{server.url}/m.dat?token={CANARY}"})
    process = worker.start(wish, keep_output=True)
    output, errors = process.communicate(timeout=60)

    assert process.returncode == 21
    assert CANARY.encode() not in output + errors + worker.log.read_bytes()


@pytest.mark.parametrize("year", [2020, 2098], ids=["is over", "has not begun"])
def test_p37_a_certificate_that_is_not_of_this_time_is_a_hint_at_the_clock(
    worker: Worker, tmp_path: Path, year: int
) -> None:
    made = context(tmp_path, ended=True) if year == 2020 else context(tmp_path, begins=year)
    with serve(made) as secure:
        secure.behave = lambda request: answer(DATA, request)
        worker.environment["MODEL_GALLERY_CA"] = str(tmp_path / "cert.pem")

        code, line = worker.run(worker.install(file(secure)))

    assert (code, line.reason) == (23, "CertificateInvalid")
    assert "the clock of the node" in line.message


@pytest.mark.parametrize("shift", [HOUR, -DAY, 400 * DAY])
def test_p37_a_clock_that_jumps_on_the_way_changes_nothing(
    worker: Worker, server: FaultServer, shift: int
) -> None:
    """Between two looks of every thread; what is waited for is measured by another clock."""

    def behave(request: Request) -> Iterator[Act]:
        if request.number == 2:
            yield from status(503, "Retry-After: 1\r\n")
        else:
            yield from answer(DATA, request)

    server.behave = behave
    worker.module = "support.jumpy"
    worker.environment["JUMP_SECONDS"] = str(shift)

    code, line = worker.run(worker.install(file(server)))
    assert (code, line.fetched_bytes) == (0, len(DATA))
    assert 0.9 < server.requests[2].moment - server.requests[1].moment < 5
    owner = {"namespace": "ns", "name": "g", "uid": "g"}
    code, line = worker.run({"kind": "scan", "owner": owner, "collect": True})
    assert code == 0
    assert line.volume is not None
    assert (line.volume.damaged_models, line.volume.managed_bytes) == (0, len(DATA))
    assert worker.published() == {"m.dat": hashlib.sha256(DATA).hexdigest()}
