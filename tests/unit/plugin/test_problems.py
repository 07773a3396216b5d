"""What goes wrong is one line on stderr that names what to change, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from model_gallery.plugin import main as program
from model_gallery.plugin import problem
from model_gallery.plugin.problem import Absent, Forbidden, Refusal
from support.asread import READY, model

OPERATOR = Path(__file__).parents[3] / "operator"
FORBIDDEN = json.dumps({"message": 'models is forbidden: User "me" cannot\nlist', "code": 403})


def refusal(status: int, body: object, *, custom: bool = True) -> Refusal:
    text = body if isinstance(body, str) else json.dumps(body)
    return Refusal(status, text, "Model", "ns", "x", custom)


CASES = {
    "credentials": (refusal(401, {"message": "Unauthorized"}), "log in again"),
    "a right": (refusal(403, FORBIDDEN), "cannot list; ask an administrator"),
    "the CRDs": (refusal(404, "404 page not found\n"), "install the operator's chart"),
    "the object": (refusal(404, {"details": {"name": "x"}}), "Model ns/x is not there"),
    "a free name": (refusal(409, {"reason": "AlreadyExists"}), "exists already"),
    "no conflict": (refusal(409, {"reason": "Conflict", "message": "m"}), "refused with 409: m"),
    "a legal spec": (refusal(422, {"message": "spec.x: Invalid value"}), "spec.x: Invalid value"),
    "sense": (refusal(500, "[1]"), "refused with 500: [1]"),
    "something": (refusal(404, "", custom=False), "Model ns/x is not there"),
}


@pytest.mark.parametrize(("refused", "told"), CASES.values(), ids=CASES)
def test_refusals(refused: Refusal, told: str) -> None:
    message = problem.explained(refused).message

    assert told in message
    assert "\n" not in message


def test_kinds_that_commands_tell_apart() -> None:
    assert isinstance(problem.explained(refusal(403, FORBIDDEN)), Forbidden)
    assert isinstance(problem.explained(refusal(404, {"details": {"name": "x"}})), Absent)


def one_line(ran) -> str:
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.count("\n") == 1
    return ran.err


def test_a_cluster_without_our_kinds(stub, run) -> None:
    stub.installed = False

    assert "install the operator's chart" in one_line(run("list"))
    assert "install the operator's chart" in one_line(run("describe", "x"))


def test_a_right_that_is_missing(stub, run) -> None:
    stub.refusals["GET", "models"] = (403, FORBIDDEN)

    assert "ask an administrator" in one_line(run("list"))
    assert "ask an administrator" in one_line(run("wait", "x"))


def test_a_wait_without_time_says_so(stub, run) -> None:
    assert "raise --timeout" in one_line(run("wait", "x", "--timeout", "0"))


def test_a_cluster_that_does_not_answer(stub, run, tmp_path, monkeypatch) -> None:
    stub.address = "http://127.0.0.1:1"
    monkeypatch.setenv("KUBECONFIG", stub.kubeconfig(tmp_path / "dead"))

    for command in (("list",), ("wait", "x"), ("logs", "x")):
        told = one_line(run(*command))
        assert "cannot reach the cluster at http://127.0.0.1:1" in told
        assert "refused" in told


def test_no_cluster_at_all(run, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))

    assert "set KUBECONFIG, or use --kubeconfig" in one_line(run("list"))


def test_a_context_that_is_not_there(stub, run) -> None:
    assert "--context" in one_line(run("list", "--context", "nope"))


def test_a_kubeconfig_of_the_command_line_wins(stub, run, tmp_path, monkeypatch) -> None:
    stub.add("models", model("a", READY, namespace="there"))
    given = stub.kubeconfig(tmp_path / "given", namespace="there")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))

    assert run("list", "--kubeconfig", given, "-o", "name").out == "model.modelgallery.dev/a\n"


def test_ctrl_c_ends_quietly(stub, run, monkeypatch) -> None:
    def interrupted(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(program.listing, "run", interrupted)

    assert run("list").code == 130


def test_a_reader_that_has_seen_enough(stub) -> None:
    for number in range(3000):
        stub.add("models", model(f"model-{number}", READY))
    code = "import sys; from model_gallery.plugin.main import main; sys.exit(main(['list']))"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(OPERATOR)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        *("list", "available", "describe", "install", "remove", "verify"),
        *("suspend", "resume", "logs", "wait", "adopt", "gc"),
    ],
)
def test_help_has_examples(run, command: str) -> None:
    ran = run(command, "--help")

    assert ran.code == 0
    assert f"examples:\n  kubectl model {command}" in ran.out


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90), ("90s", 90), ("30m", 1800), ("1h30m", 5400)]
)
def test_durations(text: str, value: float) -> None:
    assert program.seconds(text) == value
