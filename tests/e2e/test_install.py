"""The files of Models of many shapes lie verified on the volume, and never before that."""

import json

from support.kube import condition, is_current, wait_until
from support.origin import URL, body, flipped

ONE = "/small/one.gguf"


def one_file(path=ONE, **more):
    return {"files": [{"path": "one.gguf", "uri": URL + path, **more}]}


PROBE_BYTES = 1
"""What the worker asks for to learn size and validator before it plans."""


def test_model_from_files_is_published_with_its_configuration(stage):
    """One file and a configuration: bytes, digest, mode, status and configuration agree."""
    stage.set_up()
    wanted = body(ONE)
    stage.create(
        "one", servedName="One Model", source=one_file(sha256=wanted.sha256()), config={"x": 1}
    )
    status = stage.ready("one")["status"]
    assert stage.sha256("one.gguf") == wanted.sha256()
    assert stage.published() == ["./One Model.yaml", "./one.gguf"]
    assert stage.shell("stat -c %a one.gguf").strip() == "644"
    assert status["servedName"] == "One Model"
    assert status["sizeBytes"] >= wanted.size
    assert {"path": "one.gguf", "sizeBytes": wanted.size, "sha256": wanted.sha256()} in status[
        "files"
    ]


def test_model_without_promised_digest_is_ready_and_says_so(stage):
    """Without sha256 the Model becomes Ready with Verified=Unknown, and the digest is recorded."""
    stage.set_up()
    stage.create("plain", source={"uri": URL + ONE})
    found = stage.ready("plain")
    assert condition(found, "Verified")["status"] == "Unknown"
    assert found["status"]["files"][0]["sha256"] == body(ONE).sha256()


def test_change_of_the_wish_replaces_the_files(stage):
    """Another path in the spec: the new file is published and the old one goes."""
    stage.set_up()
    stage.create("change", source=one_file())
    stage.ready("change")
    other = "/small/two.gguf"
    stage.create("change", source={"files": [{"path": "two.gguf", "uri": URL + other}]})
    stage.ready("change")
    assert stage.published() == ["./two.gguf"]
    assert stage.sha256("two.gguf") == body(other).sha256()


def test_wrong_bytes_of_the_right_size_are_never_published(stage):
    """P29, T70: a flipped byte: Stalled with both digests, two transfers at most, never a file."""
    path = "/gen/8Mi/wrong/wrong.dat"
    stage.set_up()
    stage.origin.set_faults(path, corrupt=True)
    stage.shell(
        "(python3 -c 'import os,time\n"
        'while 1: os.path.exists("wrong.dat") and print("seen", flush=True); time.sleep(.002)\''
        " >/tmp/seen 2>&1 &)"
    )
    promised = body(path).sha256()
    source = {"files": [{"path": "wrong.dat", "uri": URL + path, "sha256": promised}]}
    stage.create("wrong", source=source)
    stalled = wait_until(
        "Stalled=True",
        lambda: condition(stage.kube.get("model", "wrong", stage.namespace), "Stalled"),
        90,
        lambda: stage.kube.run("get", "models,pods", "-o", "yaml", "-n", stage.namespace),
    )
    assert stalled["reason"] == "ChecksumMismatch"
    assert promised[:12] in stalled["message"]
    assert flipped(path).sha256()[:12] in stalled["message"]
    assert stage.shell("cat /tmp/seen") == ""
    assert stage.published() == []
    assert stage.origin.stats(path)["bytes"] <= PROBE_BYTES + 2 * body(path).size


def test_ready_is_never_said_before_the_files_are_there(stage, tmp_path):
    """Every version of a Model that its watchers saw: Current only after the worker's result."""
    path = "/gen/32Mi/kstatus/kstatus.dat"
    stage.set_up()
    stage.origin.set_faults(path, rate=8 << 20)
    with stage.kube.watching("models", stage.namespace, tmp_path / "models") as seen:
        stage.create("slow", source={"files": [{"path": "slow.dat", "uri": URL + path}]})
        stage.kube.run(
            *("wait", "--for=condition=Ready", "model/slow", "-n", stage.namespace),
            "--timeout=90s",
        )
        assert stage.shell("stat -c %s slow.dat").strip() == str(32 << 20)
        versions = wait_until("a Current version", lambda: seen() or None, 10)
    current = [is_current(version) for version in versions]
    assert current[-1]
    assert current.index(True) >= 2, json.dumps(versions, indent=1)
    assert all(current[current.index(True) :]), "once Current, the Model stays so"
    assert any(version["status"].get("progress") for version in versions)


def test_helm_waits_for_a_model(stage, tmp_path):
    """`helm install --wait` of a chart with a Model ends when the Model is Ready, and not before."""
    path = "/gen/16Mi/helm/helm.dat"
    stage.set_up()
    stage.origin.set_faults(path, rate=8 << 20)
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: models\nversion: 0.1.0\n")
    wish = {"galleryName": "demo", "source": {"files": [{"path": "h.dat", "uri": URL + path}]}}
    document = {
        "apiVersion": "modelgallery.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "from-helm"},
        "spec": wish,
    }
    (chart / "templates" / "model.yaml").write_text(json.dumps(document))
    stage.kube.program(
        *("helm", "install", "models", str(chart), "-n", stage.namespace),
        *("--wait", "--timeout", "90s"),
    )
    found = stage.kube.get("model", "from-helm", stage.namespace)
    assert is_current(found)
    assert stage.shell("stat -c %s h.dat").strip() == str(16 << 20)
