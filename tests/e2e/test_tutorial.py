"""A day in the life of a Gallery, as docs/tutorial.md tells it: every command there is run here.

With MODEL_GALLERY_RECORD=1 the page is written anew, with the output of this run.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import backends as serving
from support.kube import condition, is_current, wait_until
from support.origin import URL, body
from support.stage import API_VERSION

pytestmark = pytest.mark.timeout(900)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial.md"
MIB = 1 << 20
SHAPES = (
    "llama-3.2-1b-instruct:q4_k_m",
    "qwen3-coder-next-mxfp4_moe",
    "Meta-Llama-3.1-8B-Instruct-Grammar-Functioncall",
    "aurore-reveil_koto-small-7b-it",
    "gemma-4-12b-it-qat-q4_0",
    "L3.3-MS-Nevoria-70B (imatrix)",
)
"""How names of the public gallery look: with colons, capitals, spaces and brackets."""


@dataclass
class Diary:
    """Runs what the page shows, and keeps it."""

    stage: object
    parts: list[str] = field(default_factory=list)

    def tell(self, text: str) -> None:
        self.parts.append(" ".join(text.split()) + "\n")

    def chapter(self, title: str) -> None:
        self.parts.append(f"## {title}\n")

    def show(self, manifest: str) -> None:
        self.parts.append(f"```yaml\n{manifest.strip()}\n```\n")

    def run(self, command: str, *, lines: int = 14) -> str:
        """Runs a kubectl command in the namespace of the day; the page gets its first lines."""
        program, *arguments = command.split()
        assert program == "kubectl"
        text = self.stage.kube.run(*arguments, "-n", self.stage.namespace)
        shown = text.strip().splitlines()
        more = [f"... {len(shown) - lines} more lines"] if len(shown) > lines else []
        output = "\n".join(line.rstrip() for line in (*shown[:lines], *more))
        self.parts.append(f"```console\n$ {command}\n{output}\n```\n")
        return text

    def write(self) -> None:
        head = (
            "# A day in the life of a Gallery\n\n"
            "Every command of this page is run by `tests/e2e/test_tutorial.py`; the output is that of"
            " a run on a real\ncluster. `MODEL_GALLERY_RECORD=1 hack/test e2e -k tutorial` writes the"
            " page anew.\n"
        )
        text = "\n".join([head, *self.parts])
        text = text.replace(f"{self.stage.namespace}", "team").replace(URL, "https://models.corp")
        PAGE.write_text(re.sub(r"\n{3,}", "\n\n", text))


def entries():
    found = []
    for number in range(30):
        shape = SHAPES[number % len(SHAPES)]
        name = shape if number < len(SHAPES) else f"{shape} {number}"
        path = f"/small/day-{number}.gguf"
        found.append(
            {
                "name": name,
                "license": "apache-2.0",
                "tags": ["llm", "day"],
                "overrides": {
                    "backend": "llama-cpp",
                    "known_usecases": ["chat"],
                    "parameters": {"model": f"day-{number}.gguf"},
                },
                "files": [
                    {
                        "filename": f"day-{number}.gguf",
                        "uri": URL + path,
                        "sha256": body(path).sha256(),
                    }
                ],
            }
        )
    return found


def status(stage, name, kind="model"):
    return (stage.kube.get(kind, name, stage.namespace) or {}).get("status", {})


def describe(stage):
    return lambda: stage.kube.run("get", "models,galleries,jobs,pods", "-n", stage.namespace)


def until(stage, what, probe, timeout=120):
    return wait_until(what, probe, timeout, describe(stage))


def test_a_day(stage, request):
    diary = Diary(stage)
    _morning(stage, diary)
    _a_loose_file(stage, diary)
    _a_plan(stage, diary)
    _a_flipped_byte(stage, diary)
    _an_update(stage, diary)
    _a_full_disk(stage, diary)
    _a_deletion(stage, diary, request)
    if os.environ.get("MODEL_GALLERY_RECORD") == "1":
        diary.write()


def _morning(stage, diary):
    stage.set_up(
        install={"matching": {"tags": ["day"]}},
        listing={"scanPeriodSeconds": 30},
        worker={"maxConcurrent": 4},
    )
    diary.chapter("Thirty models from one manifest")
    diary.tell(
        """The Gallery names its index, its volume, and what shall be on it: every entry with the tag
        `day`. Nobody writes thirty Models; the Gallery makes and owns them."""
    )
    diary.show(
        f"""
apiVersion: {API_VERSION}
kind: Gallery
metadata: {{name: demo}}
spec:
  index: {{configMap: {{name: index}}}}
  storage: {{claimTemplate: {{size: 4Gi}}}}
  install: {{matching: {{tags: [day]}}}}
  listing: {{scanPeriodSeconds: 30}}
  worker: {{maxConcurrent: 4}}
"""
    )
    stage.index(*entries())
    until(
        stage,
        "thirty Models are Ready",
        lambda: status(stage, "demo", "gallery").get("install") == {"wanted": 30, "ready": 30},
        420,
    )
    diary.run("kubectl get models", lines=8)
    until(
        stage,
        "the listing has all of them",
        lambda: status(stage, "demo", "gallery").get("listing", {}).get("configured") == 30,
    )
    diary.run("kubectl get gallery demo -o wide")


def _a_loose_file(stage, diary):
    path = "/small/brought-along.gguf"
    stage.write(
        f"python3 -c \"import urllib.request as u; u.urlretrieve('{URL}{path}', 'brought.gguf')\""
    )
    until(
        stage,
        "the loose file is listed",
        lambda: status(stage, "demo", "gallery").get("listing", {}).get("loose") == 1,
    )
    diary.chapter("A file that somebody brought along")
    diary.tell(
        """Somebody copied a model onto the volume by hand. The listing shows it as loose, with its
        size; nothing of ours touches it."""
    )
    query = "{range .status.listing.models[?(@.kind=='Loose')]}{.name} {.sizeBytes}{'\\n'}{end}"
    text = stage.kube.run(
        "get", "gallery", "demo", "-n", stage.namespace, "-o", f"jsonpath={query}"
    )
    assert text.split() == ["brought.gguf", str(body(path).size)]
    diary.parts.append(
        f"```console\n$ kubectl get gallery demo -o jsonpath=...\n{text.strip()}\n```\n"
    )
    diary.tell(
        """A Model that names its path and its sha256 takes it over: no byte is fetched, since the
        content is there."""
    )
    files = [{"path": "brought.gguf", "uri": URL + path, "sha256": body(path).sha256()}]
    fetched = stage.origin.stats(path)["bytes"]
    stage.create("brought", source={"files": files})
    stage.ready("brought")
    assert stage.origin.stats(path)["bytes"] - fetched <= 1
    diary.run("kubectl get model brought")


def _a_plan(stage, diary):
    path = "/gen/64Mi/plan/planned.dat"
    files = [{"path": "planned.dat", "uri": URL + path, "sha256": body(path).sha256()}]
    stage.create("planned", source={"files": files}, suspend=True)
    plan = until(stage, "a plan", lambda: status(stage, "planned").get("plan"))
    assert (plan["filesTotal"], plan["fetchBytes"]) == (1, 64 * MIB)
    assert stage.origin.stats(path)["bytes"] <= 1
    diary.chapter("A plan before bytes")
    diary.tell(
        """What would a Model bring, and is there room for it? One that is made with `suspend: true`
        (or has `mode: Plan`, to stay so) asks its source and fetches nothing."""
    )
    diary.run("kubectl get model planned -o wide")
    diary.parts.append(
        "```console\n$ kubectl get model planned -o jsonpath='{.status.plan}'\n"
        f"{json.dumps(plan, indent=1)}\n```\n"
    )
    change = '{"spec":{"suspend":false}}'
    stage.kube.run("patch", "model", "planned", "-n", stage.namespace, "--type=merge", "-p", change)
    diary.tell("Agreed to, it comes.")
    diary.parts.append(
        f"```console\n$ kubectl patch model planned --type=merge -p '{change}'\n```\n"
    )
    stage.ready("planned", 120)
    assert stage.sha256("planned.dat") == body(path).sha256()
    diary.run("kubectl get model planned")


def _a_flipped_byte(stage, diary):
    path = "/gen/1Gi/tutorial/big.dat"
    files = [{"path": "big.dat", "uri": URL + path, "sha256": body(path).sha256()}]
    stage.create("big", source={"files": files})
    stage.ready("big", 180)
    before, first = stage.origin.stats(path)["bytes"], status(stage, "big")["checkedTime"]
    stage.write(
        "python3 -c \"f=open('big.dat','r+b'); f.seek(700000000); b=f.read(1)[0]; f.seek(-1,1);"
        ' f.write(bytes([b^1]))"'
    )
    diary.chapter("One byte of a gigabyte turns")
    diary.tell(
        """A disk lies, or somebody wrote where they should not. A verification reads every byte; it
        comes by itself each day, after a scan that saw a file touched, and when asked for:"""
    )
    stage.annotate("model", "big", "modelgallery.dev/verify-requested-at")
    diary.parts.append(
        "```console\n$ kubectl annotate model big --overwrite"
        ' modelgallery.dev/verify-requested-at="$(date -Is)"\n```\n'
    )
    damaged = until(
        stage,
        "the damage is seen",
        lambda: next(
            (
                found
                for found in [
                    condition(stage.kube.get("model", "big", stage.namespace), "Verified")
                ]
                if found["status"] == "False"
            ),
            None,
        ),
    )
    diary.tell("The Model says what is wrong, and is mended at once:")
    diary.parts.append(f"```json\n{json.dumps(damaged, indent=1)}\n```\n")
    until(
        stage,
        "it is mended",
        lambda: (
            status(stage, "big")["checkedTime"] > first and "damage" not in status(stage, "big")
        ),
        180,
    )
    assert stage.sha256("big.dat") == body(path).sha256()
    repaired = stage.origin.stats(path)["bytes"] - before
    assert repaired < 64 * MIB
    diary.tell(f"The source was asked for {repaired:,} bytes, and not for {1 << 30:,}.")
    diary.run("kubectl get model big -o wide")


def _an_update(stage, diary):
    old = entries()[0]
    path = "/small/day-0-newer.gguf"
    (name,) = [
        found["metadata"]["name"]
        for found in stage.kube.list("models", stage.namespace)
        if found["spec"]["source"].get("entry", {}).get("name") == old["name"]
    ]
    diary.chapter("An update, and the way back")
    diary.tell(
        """Upstream replaces the file of an entry. A Model is pinned unless it says otherwise: what is
        installed stays, and it says that there is something newer."""
    )
    newer = {**old["files"][0], "uri": URL + path, "sha256": body(path).sha256()}
    stage.index({**old, "files": [newer]}, *entries()[1:])
    found = until(
        stage,
        "UpdateAvailable",
        lambda: condition(stage.kube.get("model", name, stage.namespace), "UpdateAvailable"),
    )
    assert found["status"] == "True"
    assert is_current(stage.kube.get("model", name, stage.namespace))
    diary.run(f"kubectl get model {name} -o wide")
    diary.tell("Told to track, it fetches the new file beside the old one and switches.")
    patch = '{"spec":{"updatePolicy":{"mode":"Track"}}}'
    stage.kube.run("patch", "model", name, "-n", stage.namespace, "--type=merge", "-p", patch)
    diary.parts.append(f"```console\n$ kubectl patch model {name} --type=merge -p '{patch}'\n```\n")
    until(stage, "the new file", lambda: stage.sha256("day-0.gguf") == body(path).sha256())
    stage.ready(name)
    back = f"/small/{old['files'][0]['filename']}"
    fetched = stage.origin.stats(back)["bytes"]
    stage.index(*entries())
    until(stage, "the old file", lambda: stage.sha256("day-0.gguf") == body(back).sha256())
    assert stage.origin.stats(back)["bytes"] == fetched
    diary.tell(
        """Upstream takes it back the same day. The old file was kept (`updatePolicy.keepSeconds`), so
        the way back is a switch: not one byte was fetched."""
    )


def _a_full_disk(stage, diary):
    classes = stage.kube.run("get", "storageclasses", "-o", "name")
    if "storageclass.storage.k8s.io/limited" not in classes:
        return
    stage.kube.apply(
        {
            "apiVersion": API_VERSION,
            "kind": "Gallery",
            "metadata": {"name": "small", "namespace": stage.namespace},
            "spec": {
                "index": {"configMap": {"name": "index"}},
                "storage": {"claimTemplate": {"size": "96Mi", "storageClassName": "limited"}},
            },
        },
        *(
            {
                "apiVersion": API_VERSION,
                "kind": "Model",
                "metadata": {"name": name, "namespace": stage.namespace},
                "spec": {
                    "galleryName": "small",
                    "source": {"uri": f"{URL}/gen/48Mi/{name}/{name}.dat"},
                },
            }
            for name in ("first",)
        ),
    )
    stage.ready("first")
    stage.kube.apply(
        {
            "apiVersion": API_VERSION,
            "kind": "Model",
            "metadata": {"name": "second", "namespace": stage.namespace},
            "spec": {
                "galleryName": "small",
                "source": {"uri": f"{URL}/gen/48Mi/second/second.dat"},
            },
        }
    )
    stalled = until(
        stage,
        "there is no room",
        lambda: condition(stage.kube.get("model", "second", stage.namespace), "Stalled"),
    )
    assert stalled["reason"] == "NoSpace"
    diary.chapter("A full disk")
    diary.tell(
        """The volume of another Gallery has room for one of two models. The second does not begin:
        it says how much is needed and how much is free, before the first byte."""
    )
    diary.run("kubectl get models first second")
    diary.parts.append(f"```\n{stalled['message']}\n```\n")
    stage.kube.delete("model", "first", stage.namespace)
    stage.kube.wait_gone("model", "first", stage.namespace)
    stage.ready("second")
    diary.tell("When the first is deleted there is room, and the second goes on by itself:")
    diary.parts.append("```console\n$ kubectl delete model first\n```\n")
    diary.run("kubectl get model second")


def _a_deletion(stage, diary, request):
    try:
        backends = request.getfixturevalue("backends")
        image = backends.image("llamacpp")
    except pytest.skip.Exception:
        return
    path = "/real/tiny.gguf"
    files = [{"path": "tiny.gguf", "uri": URL + path, "sha256": body(path).sha256()}]
    stage.create("tiny", source={"files": files})
    stage.ready("tiny")
    server = backends.start(serving.llamacpp(image, stage.namespace, context=1024))
    until(
        stage,
        "the Model is in use",
        lambda: status(stage, "tiny").get("serving", {}).get("state") == "Loaded",
    )
    diary.chapter("A deletion that waits")
    diary.tell("A pod serves the model; it was found by the claim that it mounts.")
    diary.run("kubectl get model tiny")
    stage.kube.delete("model", "tiny", stage.namespace)
    waiting = until(
        stage,
        "the deletion waits",
        lambda: next(
            (
                found
                for found in [
                    condition(stage.kube.get("model", "tiny", stage.namespace) or {}, "Reconciling")
                ]
                if found and found["reason"] == "InUse"
            ),
            None,
        ),
        30,
    )
    assert server.name in waiting["message"]
    diary.tell(
        """Deleting the Model asks the backend to unload it first, and waits for those that cannot, up
        to 25 seconds. Who waits for whom stands in the conditions:"""
    )
    diary.parts.append(f"```json\n{json.dumps(waiting, indent=1)}\n```\n")
    stage.kube.delete("pod", server.name, stage.namespace)
    stage.kube.wait_gone("model", "tiny", stage.namespace)
    assert "./tiny.gguf" not in stage.published()
    diary.tell("When the pod is gone, so are the files.")
