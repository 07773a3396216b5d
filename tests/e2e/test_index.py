"""An index that is gone, or large, or partly bad: what is good of it carries on, over a restart too."""

from __future__ import annotations

import json

from support.kube import condition, wait_until
from support.origin import URL, body
from support.stage import GALLERY

INDEX = "/lost/index.yaml"
MIRROR = "/lost/mirror.yaml"
ENTRY = """- name: "Only: one"
  overrides: {backend: llama-cpp, parameters: {model: only.gguf}}
  files:
    - {filename: only.gguf, uri: "http://origin.origin.svc/small/only.gguf"}
"""


def gallery(stage):
    return stage.kube.get("gallery", GALLERY, stage.namespace)


def served_from(stage):
    return ((gallery(stage) or {}).get("status", {}).get("index") or {}).get("servedFrom")


def test_a_dead_upstream_and_a_restart_lose_nothing(stage):
    """P58: the mirror first; then nobody answers; then the operator starts anew and knows the entry."""
    http = {"url": URL + INDEX, "mirrors": [URL + MIRROR]}
    stage.origin.upload(MIRROR, ENTRY)
    stage.origin.set_faults(MIRROR)
    stage.set_up(index={"http": http, "refreshPeriodSeconds": 10})
    wait_until("the mirror serves", lambda: served_from(stage) == "Mirror", 60)

    stage.origin.set_faults(MIRROR, status=503)
    found = wait_until(
        "it says that nobody answers",
        lambda: (
            got
            if (got := condition(gallery(stage), "IndexReady"))["reason"] == "LastGoodCopy"
            else None
        ),
        90,
        lambda: str(gallery(stage)),
    )
    assert found["status"] == "True"
    stage.kube.run(
        "delete",
        "pod",
        "-n",
        "model-gallery-system",
        "-l",
        "app.kubernetes.io/component=operator",
        "--wait",
    )
    stage.create("only", source={"entry": {"name": "Only: one"}})
    stage.ready("only")
    assert gallery(stage)["status"]["index"]["entries"] == 1
    assert stage.published() == ["./._gallery_Only: one.yaml", "./Only: one.yaml", "./only.gguf"]


MANY = "/many/index.yaml"
COUNT = 20_000
BAD = 12_345


def many(number):
    """Returns one entry of the large index; the bad one names a file outside of the volume."""
    name = "../bad.gguf" if number == BAD else f"{number}.gguf"
    return {
        "name": f"model-{number}",
        "license": "mit",
        "overrides": {"backend": "llama-cpp", "parameters": {"model": name}},
        "files": [{"filename": name, "uri": f"{URL}/small/{number}.gguf"}],
    }


def operator(stage):
    """Returns the operator's pods, each with the number of its restarts."""
    pods = stage.kube.list(
        "pods", "model-gallery-system", "app.kubernetes.io/name=model-gallery-operator"
    )
    return {
        pod["metadata"]["uid"]: sum(
            one["restartCount"] for one in pod["status"]["containerStatuses"]
        )
        for pod in pods
    }


def copies(stage):
    """Returns the versions of the ConfigMaps in which the index is kept."""
    found = [one["metadata"] for one in stage.kube.list("configmaps", stage.namespace)]
    return {one["name"]: one["resourceVersion"] for one in found if one["name"].startswith(GALLERY)}


def test_twenty_thousand_entries_of_which_one_is_bad(stage):
    """P59, P60: the bad one is named, the others are of use; unchanged, the index costs one 304."""
    text = json.dumps([many(number) for number in range(COUNT)])
    stage.origin.upload(MANY, text)
    before = operator(stage)
    stage.set_up(index={"http": {"url": URL + MANY}, "refreshPeriodSeconds": 10})
    index = wait_until(
        "the index is loaded",
        lambda: (gallery(stage) or {}).get("status", {}).get("index"),
        90,
        lambda: str(gallery(stage)),
    )
    assert (index["entries"], index["problemsTotal"]) == (COUNT, 1)
    assert index["problems"][0]["entry"] == f"model-{BAD}"
    stage.create("last", source={"entry": {"name": f"model-{COUNT - 1}"}})
    stage.create("bad", source={"entry": {"name": f"model-{BAD}"}})
    stage.ready("last")
    assert stage.sha256(f"{COUNT - 1}.gguf") == body(f"/small/{COUNT - 1}.gguf").sha256()
    bad = wait_until(
        "the bad one is Stalled",
        lambda: condition(stage.kube.get("model", "bad", stage.namespace), "Stalled"),
        30,
    )
    assert bad["reason"] == "UnsafePath"

    kept, asked = copies(stage), stage.origin.stats(MANY)
    assert kept
    wait_until(
        "the index was asked for again",
        lambda: stage.origin.stats(MANY)["notModified"] > asked["notModified"],
        60,
    )
    assert stage.origin.stats(MANY)["bytes"] == asked["bytes"]
    assert copies(stage) == kept
    assert operator(stage) == before, "no restart, so its memory limit held"
