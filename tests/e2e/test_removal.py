"""Whatever is deleted in whatever order: all of it is gone within 60 s, and nothing else."""

import pytest

from support.kube import wait_until
from support.origin import URL, body
from support.stage import CLAIM, GALLERY, VIEWER

SLOW = "/gen/256Mi/removal/slow.dat"
KEPT = "/small/kept.gguf"


@pytest.fixture
def half(stage):
    """A stage with one installed Model, and another in the middle of its download."""
    stage.set_up()
    stage.origin.set_faults(SLOW, rate=4 << 20)
    stage.create("kept", source={"uri": URL + KEPT})
    stage.ready("kept")
    stage.create("slow", source={"files": [{"path": "slow.dat", "uri": URL + SLOW}]})
    stage.running_worker("slow")
    wait_until("the download has begun", lambda: stage.origin.stats(SLOW)["bytes"] > 0, 30)
    return stage


def test_model_deleted_during_its_download(half):
    """P54: the worker ends, the staging goes, the other Model's files stay."""
    half.kube.delete("model", "slow", half.namespace)
    half.kube.wait_gone("model", "slow", half.namespace)
    assert half.published() == ["./kept.gguf"]
    assert half.sha256("kept.gguf") == body(KEPT).sha256()
    staged = half.shell("find .modelgallery/staging -type f 2>/dev/null || true")
    assert staged == ""
    assert half.ready("kept", timeout=5)


def test_model_deleted_removes_only_its_own_files(stage):
    """P57: two Models share content: the blob stays until the last of them goes."""
    stage.set_up()
    for name in ("first", "second"):
        stage.create(name, source={"files": [{"path": f"{name}.gguf", "uri": URL + KEPT}]})
    for name in ("first", "second"):
        stage.ready(name)
    stage.kube.delete("model", "first", stage.namespace)
    stage.kube.wait_gone("model", "first", stage.namespace)
    assert stage.published() == ["./second.gguf"]
    assert stage.sha256("second.gguf") == body(KEPT).sha256()
    stage.kube.delete("model", "second", stage.namespace)
    stage.kube.wait_gone("model", "second", stage.namespace)
    assert stage.shell("find . -type f -not -name '*.lock'") == ""


def test_deletion_policy_retain_leaves_the_files(stage):
    """Retain: the Model goes, its files stay."""
    stage.set_up()
    stage.create("stay", deletionPolicy="Retain", source={"uri": URL + KEPT})
    stage.ready("stay")
    stage.kube.delete("model", "stay", stage.namespace)
    stage.kube.wait_gone("model", "stay", stage.namespace)
    assert stage.published() == ["./kept.gguf"]


def test_claim_deleted_first(half):
    """T65: without its claim nothing can be removed; the Models go nevertheless, and so does the claim.

    The Gallery's template makes a new one under the same name at once: the uid tells them apart.
    """
    uid = half.kube.get("pvc", CLAIM, half.namespace)["metadata"]["uid"]
    half.kube.delete("pod", VIEWER, half.namespace, "--grace-period=0", "--force")
    half.kube.delete("pvc", CLAIM, half.namespace)
    for name in ("kept", "slow"):
        half.kube.delete("model", name, half.namespace)
    for name in ("kept", "slow"):
        half.kube.wait_gone("model", name, half.namespace)
    wait_until(
        "the claim is gone",
        lambda: (
            (half.kube.get("pvc", CLAIM, half.namespace) or {"metadata": {"uid": ""}})["metadata"][
                "uid"
            ]
            != uid
        ),
        60,
    )


def test_gallery_deleted_first(half):
    """The Models remember where their files lie: removal needs no Gallery."""
    half.kube.delete("gallery", GALLERY, half.namespace)
    for name in ("kept", "slow"):
        half.kube.delete("model", name, half.namespace)
    for name in ("kept", "slow"):
        half.kube.wait_gone("model", name, half.namespace)
    half.kube.wait_gone("gallery", GALLERY, half.namespace)
    assert half.published() == []
    assert half.kube.get("pvc", CLAIM, half.namespace), "the claim outlives the Gallery"


def test_namespace_deleted(half):
    """P53, T65: a namespace that ends accepts no new Job: the finalizers go all the same."""
    half.kube.run("delete", "namespace", half.namespace, "--wait=false")
    wait_until(
        "the namespace is gone",
        lambda: half.namespace not in half.kube.run("get", "namespaces", "-o", "name"),
        60,
        lambda: (
            half.kube.run("get", "models,galleries,jobs,pods,pvc", "-n", half.namespace)
            + half.kube.run("get", "namespace", half.namespace, "-o", "yaml")
        ),
    )
