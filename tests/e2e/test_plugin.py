"""`kubectl model` as kubectl runs it, against a real API server and a real operator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.kube import condition, wait_until
from support.origin import URL
from support.stage import GALLERY

OPERATOR = Path(__file__).parents[2] / "operator"
REWRITES = [{"prefix": "https://huggingface.co/", "replacement": f"{URL}/hf/"}]
PROGRAM = f"""#!{sys.executable}
import sys
sys.path.insert(0, {str(OPERATOR)!r})
from model_gallery.plugin.main import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Plugin:
    """kubectl with our program on its PATH."""

    environment: dict[str, str]
    namespace: str

    def __call__(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            ["kubectl", "model", *arguments, "-n", self.namespace],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr


@pytest.fixture
def plugin(stage, tmp_path) -> Plugin:
    program = tmp_path / "kubectl-model"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    environment = os.environ | stage.kube.environment
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    return Plugin(environment, stage.namespace)


def test_from_the_index_to_a_model_and_away_again(stage, plugin):
    """Search, install, wait, list, describe, logs, suspend, resume, remove."""
    stage.set_up(
        index={"http": {"url": f"{URL}/gallery/index.yaml"}, "refreshPeriodSeconds": 300},
        rewrites=REWRITES,
    )
    stage.kube.run(
        *("wait", "--for=condition=Ready", f"gallery/{GALLERY}", "-n", stage.namespace),
        "--timeout=60s",
    )
    assert plugin("available", "second", "-o", "name") == "Tiny-Llama:second_seed\n"

    plugin("install", "Tiny-Llama:second_seed", "--wait", "--timeout", "90s")

    found = json.loads(plugin("list", "-o", "json"))["items"]
    assert [item["metadata"]["name"] for item in found] == ["tiny-llama-second-seed"]
    assert plugin("list").splitlines()[1].split()[:5] == [
        *("tiny-llama-second-seed", "Tiny-Llama:second_seed", GALLERY, "True", "Succeeded")
    ]
    assert "tiny-llama-second-seed" in plugin("available", "second")
    described = plugin("describe", "tiny-llama-second-seed")
    assert "second/tiny-llama.gguf" in described
    assert "Installed" in described or "Succeeded" in described
    assert '"msg"' in plugin("logs", "tiny-llama-second-seed") or "{" in plugin(
        "logs", "tiny-llama-second-seed"
    )
    plugin("suspend", "tiny-llama-second-seed")
    plugin("wait", "tiny-llama-second-seed")  # what is published stays Ready
    plugin("resume", "tiny-llama-second-seed", "--wait", "--timeout", "60s")

    plugin("remove", "tiny-llama-second-seed", "--wait", "--timeout", "60s")
    assert stage.kube.list("models", stage.namespace) == []
    assert stage.published() == []


@pytest.mark.parametrize("promised", [True, False], ids=["promised", "as-it-is"])
def test_adopting_what_was_retained(stage, plugin, promised):
    """The file outlives its Model; another one takes it over where it lies, and it goes with that."""
    stage.set_up()
    plugin("install", f"{URL}/small/kept.gguf", "--wait", "--timeout", "90s")
    plugin("remove", "kept", "--retain", "--wait", "--timeout", "60s")

    assert stage.published() == ["./kept.gguf"]
    digest = ["--sha256", stage.sha256("kept.gguf")] if promised else []
    stage.kube.run("apply", "-f", "-", stdin=plugin("adopt", "kept.gguf", *digest))
    found = stage.ready("kept")
    assert condition(found, "Verified")["status"] == ("True" if promised else "Unknown")
    plugin("remove", "kept", "--wait", "--timeout", "60s")
    assert stage.published() == []


def test_a_stalled_model_ends_a_wait(stage, plugin):
    """The exit code and the message are those of the condition."""
    stage.set_up()
    told = plugin("install", f"{URL}/status/404/missing.gguf", "--wait", "--timeout", "90s", code=1)

    found = wait_until(
        "it is Stalled",
        lambda: condition(stage.kube.get("model", "missing", stage.namespace), "Stalled"),
        30,
    )
    assert found["reason"] in told


def test_a_suspended_model_that_has_no_files_ends_a_wait(stage, plugin):
    """It cannot become Ready before a person acts, and the message says how."""
    stage.set_up()
    stage.create("held", source={"uri": f"{URL}/small/held.gguf"}, suspend=True)

    assert "kubectl model resume held" in plugin("wait", "held", "--timeout", "60s", code=1)
    plugin("resume", "held", "--wait", "--timeout", "60s")


def test_what_a_real_server_refuses_is_one_line(stage, plugin):
    """A name that is taken, one that is not there, and a field that the schema refuses."""
    stage.set_up()
    plugin("install", f"{URL}/small/a.gguf")

    assert "exists already" in plugin("install", f"{URL}/small/a.gguf", code=1)
    assert "is not there" in plugin("describe", "nope", code=1)
    refused = plugin("install", f"{URL}/small/b.gguf", "--served-name", "a/b", code=1)
    assert "must not contain slashes" in refused
    assert refused.count("\n") == 1


def test_annotations_that_ask_for_work_arrive(stage, plugin):
    """`verify` on the Model, `gc` on the Gallery."""
    stage.set_up()
    stage.create("one", source={"uri": f"{URL}/small/one.gguf"})
    plugin("verify", "one")
    plugin("gc")

    notes = [
        stage.kube.get(kind, name, stage.namespace)["metadata"]["annotations"]
        for kind, name in (("model", "one"), ("gallery", GALLERY))
    ]
    assert "modelgallery.dev/verify-requested-at" in notes[0]
    assert "modelgallery.dev/collect-requested-at" in notes[1]
