"""Sources beyond plain URLs, on the cluster: repositories, Secrets that opt in or do not, other volumes."""

from __future__ import annotations

import json

import content
import pytest

from support import ocimake
from support.archivemake import tar
from support.github import blob_id, sha256
from support.kube import condition, wait_until
from support.origin import URL, body
from support.stage import CLAIM, GALLERY

HUB = {"rewrites": [{"prefix": "https://huggingface.co/", "replacement": f"{URL}/hf/"}]}
GITHUB = {"rewrites": [{"prefix": "https://github.com/", "replacement": f"{URL}/gh/"}]}
API = "/gh/api/v3/repos/tiny/notes"
TOKEN = "canary-hub-token"
REVISION = "/hf/api/models/tiny/llama-7/revision/main"


def stalled(stage, name, reason):
    """Returns the Model once it is Stalled for the reason."""

    def found():
        model = stage.kube.get("model", name, stage.namespace)
        got = condition(model, "Stalled")
        return model if got and got["status"] == "True" and got["reason"] == reason else None

    return wait_until(
        f"{name} is Stalled for {reason}",
        found,
        60,
        lambda: str(stage.kube.get("model", name, stage.namespace)),
    )


def secret(stage, **data):
    stage.kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "hub", "namespace": stage.namespace},
            "stringData": data,
        }
    )


def test_a_repository_is_a_folder_pinned_to_its_commit(stage):
    """The commit, what the GGUF's header says, and no Python code unless asked for."""
    stage.set_up(**HUB)
    stage.create("repo", source={"huggingFace": {"repo": "tiny/llama-5"}})
    status = stage.ready("repo")["status"]

    assert status["resolved"]["revision"] == content.commit(5)
    assert status["model"]["format"] == "GGUF"
    assert status["model"]["architecture"] == "llama"
    assert status["model"]["contextLength"] == 2048
    assert status["model"]["parameters"] > 10_000
    assert condition({"status": status}, "Verified")["status"] == "True"
    assert stage.published() == ["./repo/README.md", "./repo/model.gguf"]
    model = body("/hf/tiny/llama-5/resolve/main/x.gguf")
    assert stage.sha256("repo/model.gguf") == model.sha256()


def test_a_secret_opens_the_source_where_it_opts_in_and_nowhere_else(stage):
    """T33: without it, with one that does not opt in, with one for another host, and with the right one.

    P18: those that were refused are Ready within a minute of the correction, and nobody has to ask.
    """
    stage.set_up(**HUB)
    for path in (
        REVISION,
        f"/hf/api/models/tiny/llama-7/tree/{content.commit(7)}",
        f"/hf/tiny/llama-7/resolve/{content.commit(7)}/model.gguf",
        f"/hf/tiny/llama-7/resolve/{content.commit(7)}/README.md",
    ):
        stage.origin.set_faults(path, token=TOKEN)
    wish = {"source": {"huggingFace": {"repo": "tiny/llama-7"}}}
    stage.create("bare", **wish)
    found = stalled(stage, "bare", "Unauthorized")
    assert "licence" in condition(found, "Stalled")["message"]
    assert condition(found, "Resolved")["status"] == "False"

    stage.create("missing", **wish, credentials={"secretName": "hub"})
    stalled(stage, "missing", "SecretNotAllowed")
    secret(stage, token=TOKEN)
    stage.create("silent", **wish, credentials={"secretName": "hub"})
    assert "opt in" in condition(stalled(stage, "silent", "SecretNotAllowed"), "Stalled")["message"]
    secret(stage, **{"token": TOKEN, "allowed-hosts": "huggingface.co"})
    stage.create("other", **wish, credentials={"secretName": "hub"})
    stalled(stage, "other", "SecretNotAllowed")
    secret(stage, **{"token": TOKEN, "allowed-hosts": "huggingface.co, origin.origin.svc"})
    stage.create("right", **wish, credentials={"secretName": "hub"})
    stage.ready("right")
    for name in ("missing", "silent", "other"):
        stage.ready(name)

    everything = stage.kube.run(
        "get", "models,galleries,jobs,pods,configmaps,events", "-n", stage.namespace, "-o", "yaml"
    )
    assert TOKEN not in everything
    logs = stage.kube.run("logs", "-n", stage.namespace, "-l", "app.kubernetes.io/component=worker")
    assert TOKEN not in logs


def test_a_folder_and_a_release_of_github(stage):
    """At a commit, and by the ids of release and asset; with a token, and by everybody's downloads."""
    text, commit = "# a note\n", "c" * 40
    digest, blob = sha256(text.encode()), blob_id(text.encode())
    entry = {"path": "doc/a.md", "mode": "100644", "type": "blob", "sha": blob, "size": len(text)}
    asset = {"id": 4, "name": "b.md", "size": len(text), "state": "uploaded"}
    release = {"id": 7, "tag_name": "v1", "assets": [{**asset, "digest": f"sha256:{digest}"}]}
    for path, body_ in {
        "commits/v1": json.dumps({"sha": commit}),
        f"git/trees/{commit}": json.dumps({"tree": [entry], "truncated": False}),
        f"git/blobs/{blob}": text,
        "releases/latest": json.dumps(release),
    }.items():
        stage.origin.upload(f"{API}/{path}", body_)
        if not path.startswith("releases/"):
            stage.origin.set_faults(f"{API}/{path}", token=TOKEN)
    stage.origin.upload("/gh/tiny/notes/releases/download/v1/b.md", text)
    stage.set_up(**GITHUB)
    secret(stage, **{"token": TOKEN, "allowed-hosts": "origin.origin.svc"})
    stage.create(
        "notes",
        source={"gitHub": {"repo": "tiny/notes", "path": "doc/", "revision": "v1"}},
        credentials={"secretName": "hub"},
    )
    stage.create("asset", source={"uri": "github://tiny/notes/releases/latest/b.md"})

    assert stage.ready("notes")["status"]["resolved"]["revision"] == commit
    found = stage.ready("asset")
    assert found["status"]["resolved"]["revision"].startswith("release:7:")
    assert condition(found, "Verified")["status"] == "True"
    assert stage.published() == ["./b.md", "./notes/a.md"]
    assert stage.sha256("notes/a.md") == stage.sha256("b.md") == digest


def test_files_of_volumes_are_taken_without_a_download(stage):
    """A loose file of the Gallery's own volume, and a folder of another claim."""
    stage.set_up()
    files = [{"path": "loose/copy.gguf", "uri": f"{URL}/small/volumes.gguf"}]
    stage.create("first", source={"files": files}, deletionPolicy="Retain")
    stage.ready("first")
    stage.kube.run("delete", "model", "first", "-n", stage.namespace, "--wait")
    stage.create("own", source={"uri": "file:///loose/copy.gguf"})
    stage.create("folder", source={"uri": f"pvc://{CLAIM}/loose/"})
    stage.ready("own")
    stage.ready("folder")

    digest = body("/small/volumes.gguf").sha256()
    assert stage.sha256("copy.gguf") == digest
    assert stage.sha256("folder/copy.gguf") == digest
    assert (
        stage.origin.stats("/small/volumes.gguf")["bytes"] <= 1 + body("/small/volumes.gguf").size
    )


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("evil.bin", "cos\nsystem\n(S'id'\ntR.", "UnsafeFormat"),
        ("broken.gguf", "GGUF but not really", "InvalidFormat"),
    ],
)
def test_contents_decide_what_is_published(stage, name, text, reason):
    """Under Safe, which is the default, and not under Any."""
    stage.set_up()
    stage.origin.upload(f"/{name}", text)
    stage.create("m", source={"uri": f"{URL}/{name}"})
    found = stalled(stage, "m", reason)
    assert name in condition(found, "Stalled")["message"]
    assert stage.published() == []

    take_any_format(stage)
    stage.ready("m")
    assert stage.published() == [f"./{name}"]


def take_any_format(stage):
    gallery = stage.kube.get("gallery", GALLERY, stage.namespace)
    stage.kube.apply(
        {
            **{key: gallery[key] for key in ("apiVersion", "kind")},
            "metadata": {"name": GALLERY, "namespace": stage.namespace},
            "spec": {**gallery["spec"], "policy": {"formats": "Any"}},
        }
    )


def test_a_model_in_an_image_is_unpacked_where_the_policy_lets_it(stage):
    """T17: under Safe no layer is fetched; under Any what is below /models is there."""
    layers = [
        ocimake.Layer(tar(files), "application/vnd.oci.image.layer.v1.tar")
        for files in (
            [("etc/passwd", b"root"), ("models/old.txt", b"old"), ("models/a/config.json", b"{}")],
            [("models/.wh.old.txt", b""), ("models/README.md", b"# m")],
        )
    ]
    stage.origin.upload("/v2/me/car/manifests/v1", ocimake.manifest(*layers).decode())
    for layer in layers:
        stage.origin.upload(f"/v2/me/car/blobs/{layer.digest}", layer.data.decode())
    stage.set_up(rewrites=[{"prefix": "https://registry.example/", "replacement": f"{URL}/"}])
    stage.create("car", source={"uri": "oci://registry.example/me/car:v1"})
    found = stalled(stage, "car", "UnsafeFormat")
    assert "push its files as layers" in condition(found, "Stalled")["message"]
    assert all(
        stage.origin.stats(f"/v2/me/car/blobs/{layer.digest}")["requests"] == 0 for layer in layers
    )

    take_any_format(stage)
    status = stage.ready("car")["status"]

    assert status["resolved"]["revision"] == ocimake.digest_of(ocimake.manifest(*layers))
    assert condition({"status": status}, "Verified")["status"] == "True"
    assert stage.published() == ["./car/README.md", "./car/a/config.json"]
    stage.kube.run("delete", "model", "car", "-n", stage.namespace, "--wait")
    assert stage.published() == []
