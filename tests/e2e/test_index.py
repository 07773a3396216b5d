"""An index that is not there any more: the last good copy carries on, over a restart too."""

from __future__ import annotations

from support.kube import condition, wait_until
from support.origin import URL
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
    """The mirror first; then nobody answers; then the operator starts anew and still knows the entry."""
    http = {"url": URL + INDEX, "mirrors": [URL + MIRROR]}
    stage.origin.upload(MIRROR, ENTRY)
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
