"""What a pod that writes to the volume may plant there, and what comes of it (T13, T14, T16, T60)."""

from __future__ import annotations

import json

from support.kube import condition, wait_until
from support.origin import URL, body
from support.stage import model

CANARY = "untouched"
PLANTED = {
    "folder-link": ("ln -s .. folder-link", "folder-link/x.dat", "UnsafePath"),
    "parent-link": ("ln -s /etc parent-link", "parent-link/a/x.dat", "UnsafePath"),
    "final-link": ("ln -s canary final-link.dat", "final-link.dat", "UnsafePath"),
    "lost-link": ("ln -s /nowhere lost-link.dat", "lost-link.dat", "UnsafePath"),
    "fifo": ("mkfifo fifo.dat", "fifo.dat", "UnsafePath"),
    "folder": ("mkdir folder.dat", "folder.dat", "UnsafePath"),
    "second-name": ("ln canary second-name.dat", "second-name.dat", "PathConflict"),
    "file": ("echo somebody > file.dat", "file.dat", "PathConflict"),
}
"""By the Model: what is planted, the path that the Model wants, and the reason for which it stalls."""
SOURCES = {
    "from-link": "file:///final-link.dat",
    "from-beyond": "file:///parent-link/hosts",
    "from-fifo": "file:///fifo.dat",
    "from-nothing": "file:///nothing.dat",
}
"""By the Model: a planted object that it names as its source, and one that is not there."""


def source(path: str, content: str) -> dict[str, object]:
    wanted = body(content)
    return {"files": [{"path": path, "uri": URL + content, "sha256": wanted.sha256()}]}


def stalled(stage, name):
    """Returns the condition once it is True."""
    return wait_until(
        f"{name} is Stalled",
        lambda: condition(stage.kube.get("model", name, stage.namespace) or {}, "Stalled"),
        90,
        lambda: stage.kube.run("get", "models,jobs,pods", "-o", "yaml", "-n", stage.namespace),
    )


def test_what_stands_at_a_models_path_is_left_alone(stage):
    """T13, T14, T15: links, a FIFO, a folder, a second name, a file; once it is gone, the Model comes."""
    stage.set_up(worker={"maxConcurrent": len(PLANTED) + len(SOURCES)})
    stage.write(
        " && ".join([f"echo {CANARY} > canary", *(line for line, _, _ in PLANTED.values())])
    )
    before = listing(stage)
    stage.kube.apply(
        *(
            model(name, stage.namespace, source=source(path, f"/small/{name}.gguf"))
            for name, (_, path, _) in PLANTED.items()
        ),
        *(model(name, stage.namespace, source={"uri": uri}) for name, uri in SOURCES.items()),
    )

    found = {name: stalled(stage, name)["reason"] for name in PLANTED}
    assert found == {name: reason for name, (_, _, reason) in PLANTED.items()}
    told = {name: stalled(stage, name) for name in SOURCES}
    assert {one["reason"] for one in told.values()} == {"NotFound"}
    assert len({one["message"].replace(SOURCES[name], "") for name, one in told.items()}) == 1, told
    assert listing(stage) == before
    assert stage.shell("cat canary second-name.dat").split() == [CANARY, CANARY]

    stage.write("rm fifo.dat")
    stage.annotate("model", "fifo", "modelgallery.dev/reconcile-requested-at")
    stage.ready("fifo")
    assert stage.sha256("fifo.dat") == body("/small/fifo.gguf").sha256()


def listing(stage):
    """Returns what lies outside of the operator's folder: kinds, inodes, modes, sizes, times, aims."""
    return stage.shell(
        "find . -path ./.modelgallery -prune -o ! -path . -printf '%p %y %i %m %n %s %T@ %l\\n' | sort"
    )


def test_what_is_planted_in_the_operators_folder_stops_nobody(stage):
    """T13, T14: no install, scan or removal fails for it, none follows it or writes through it."""
    stage.set_up(listing={"scanPeriodSeconds": 30})
    stage.create("first", source=source("first.dat", "/small/first.gguf"))
    stage.ready("first")
    stage.write(
        f"echo {CANARY} > canary && cd .modelgallery && mkdir -p staging marks"
        " && for place in receipts/x.json receipts/y.json blobs/sha256/x marks/x staging/x other;"
        " do ln -s /models/canary $place; done"
        " && rm receipts/y.json && mkfifo receipts/y.json && mkdir receipts/z.json"
    )
    stage.create("second", source=source("second.dat", "/small/second.gguf"))
    stage.ready("second")
    wish = stage.annotate("gallery", "demo", "modelgallery.dev/collect-requested-at")
    wait_until(
        "the collection has run",
        lambda: stage.gallery()["status"].get("lastHandledCollectAt") == wish,
        90,
        lambda: stage.kube.run("get", "galleries,jobs,pods", "-o", "yaml", "-n", stage.namespace),
    )
    for name in ("first", "second"):
        stage.kube.delete("model", name, stage.namespace)
        stage.kube.wait_gone("model", name, stage.namespace)
    assert stage.published() == ["./canary"]
    assert stage.shell("cat canary").strip() == CANARY


def test_a_forged_receipt_takes_nothing_along(stage):
    """T16: not what another Model owns, and nothing outside of the volume."""
    stage.set_up()
    for name in ("forged", "other"):
        stage.create(name, source=source(f"{name}.dat", f"/small/{name}.gguf"))
    uid = stage.ready("forged")["metadata"]["uid"]
    stage.ready("other")
    receipt = json.loads(stage.shell(f"cat .modelgallery/receipts/{uid}.json"))
    (own,) = receipt["files"]
    digest = body("/small/other.gguf").sha256()
    receipt["files"] = [own, {**own, "path": "other.dat", "sha256": digest}]
    put(stage, f".modelgallery/receipts/{uid}.json", receipt)

    stage.kube.delete("model", "forged", stage.namespace)
    stage.kube.wait_gone("model", "forged", stage.namespace)
    assert stage.published() == ["./other.dat"]
    assert stage.sha256("other.dat") == digest

    other = stage.kube.get("model", "other", stage.namespace)["metadata"]["uid"]
    stage.write(f"mkdir -p deep && echo {CANARY} > canary")
    receipt = json.loads(stage.shell(f"cat .modelgallery/receipts/{other}.json"))
    receipt["files"] += [{**own, "path": "deep/../canary"}, {**own, "path": "/models/canary"}]
    put(stage, f".modelgallery/receipts/{other}.json", receipt)
    stage.kube.delete("model", "other", stage.namespace)
    stage.kube.wait_gone("model", "other", stage.namespace)
    assert stage.shell("cat canary").strip() == CANARY


def put(stage, path, value):
    text = json.dumps(value)
    stage.write(f"cat > {path}.new <<'END' && mv {path}.new {path}\n{text}\nEND")
