"""What people and the cluster do to an install under way, case by case (P46 to P52, P56)."""

from __future__ import annotations

from support.kube import condition, is_current, wait_until
from support.origin import URL, body
from support.stage import CLAIM, GALLERY, VIEWER, stopped_kubelet

RANGE = 16 << 20
"""No worker asks for more than this with one request; see transport/."""
SLOW = 4 << 20


def source(path: str) -> dict[str, object]:
    return {"files": [{"path": "m.dat", "uri": URL + path}]}


def begin(stage, path):
    """Starts a slow download of the Model `m`; returns its worker pod once bytes flow."""
    stage.origin.set_faults(path, rate=SLOW)
    stage.create("m", source=source(path))
    pod = stage.running_worker("m")
    wait_until("the download has begun", lambda: stage.origin.stats(path)["bytes"] > SLOW, 60)
    return pod


def finish(stage, path):
    """Lifts the limit; the Model becomes Ready, and what had come was not fetched again."""
    stage.origin.set_faults(path)
    found = stage.ready("m")
    served, wanted = stage.origin.stats(path), body(path)
    assert stage.sha256("m.dat") == wanted.sha256()
    assert served["bytes"] <= wanted.size + served["connections"] * RANGE
    assert "attempts" not in found["status"], "it is nobody's failure"


def jobs(stage):
    uid = stage.kube.get("model", "m", stage.namespace)["metadata"]["uid"]
    return stage.kube.list("jobs", stage.namespace, f"modelgallery.dev/model-uid={uid}")


def said(stage, what, type_, reason):
    """Returns the condition once it has the reason."""

    def found():
        got = condition(stage.kube.get(*what.split("/"), stage.namespace) or {}, type_)
        return got if got.get("reason") == reason else None

    return wait_until(
        f"{type_} of {what} says {reason}",
        found,
        60,
        lambda: stage.kube.run(
            "get", "models,galleries,jobs,pods,pvc", "-o", "yaml", "-n", stage.namespace
        ),
    )


def claim(stage, mode="ReadWriteOnce"):
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "namespace": stage.namespace},
        "spec": {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}},
    }


def test_a_job_that_a_person_deleted_is_made_again(stage):
    """P46: another Job goes on from where the first was."""
    path = "/gen/256Mi/deleted/m.dat"
    stage.set_up()
    begin(stage, path)
    (first,) = jobs(stage)
    stage.kube.delete("job", first["metadata"]["name"], stage.namespace)
    wait_until("there is another Job", lambda: others(stage, first), 60)
    finish(stage, path)


def others(stage, first):
    return [job for job in jobs(stage) if job["metadata"]["uid"] != first["metadata"]["uid"]]


def test_a_node_that_is_not_heard_of_gets_no_second_worker(stage):
    """P52: while nobody can tell whether the first one has ended, no other one begins."""
    path = "/gen/256Mi/silent/m.dat"
    stage.set_up()
    pod = begin(stage, path)
    with stopped_kubelet(stage.cluster):
        stage.kube.delete("pod", pod["metadata"]["name"], stage.namespace)
        wait_until(
            "the Job knows that its pod is to end",
            lambda: jobs(stage)[0]["status"].get("terminating") == 1,
            30,
        )
        before = stage.origin.stats(path)["bytes"]
        wait_until("it lives", lambda: stage.origin.stats(path)["bytes"] > before, 30)
        assert uids(stage) == [pod["metadata"]["uid"]]

        (first,) = jobs(stage)
        stage.kube.delete("job", first["metadata"]["name"], stage.namespace)
        found = said(stage, "model/m", "Ready", "PreviousWorker")
        assert pod["metadata"]["name"] in found["message"]
        assert uids(stage) == [pod["metadata"]["uid"]]
        assert others(stage, first) == []
    finish(stage, path)


def uids(stage):
    return [pod["metadata"]["uid"] for pod in stage.worker_pods("m")]


def test_a_worker_that_is_killed_for_memory_says_so(stage):
    """P48: the reason names memory, and what to raise; with more of it the next worker ends."""
    stage.set_up(
        worker={"resources": {"limits": {"memory": "16Mi"}, "requests": {"memory": "16Mi"}}}
    )
    path = "/small/memory.gguf"
    stage.create("m", source=source(path))
    wait_until(
        "the message names memory",
        lambda: "killed for memory" in message(stage),
        60,
        lambda: stage.kube.run("get", "models,jobs,pods", "-o", "yaml", "-n", stage.namespace),
    )
    assert not is_current(stage.kube.get("model", "m", stage.namespace))
    stage.set_up(worker={})
    stage.ready("m")
    assert stage.sha256("m.dat") == body(path).sha256()


def test_a_claim_that_comes_late_and_one_that_goes(stage):
    """P49, P50: without a claim it waits and makes none; with one it goes on, and with another anew."""
    path = "/small/claim.gguf"
    stage.set_up(storage={"claimName": CLAIM})
    stage.create("m", source=source(path))
    said(stage, "model/m", "StorageReady", "ClaimNotFound")
    said(stage, f"gallery/{GALLERY}", "StorageReady", "ClaimNotFound")
    assert jobs(stage) == []
    stage.kube.apply(claim(stage))
    stage.ready("m")

    stage.kube.delete("pod", VIEWER, stage.namespace, "--grace-period=0", "--force")
    stage.kube.delete("pvc", CLAIM, stage.namespace)
    stage.kube.wait_gone("pvc", CLAIM, stage.namespace)
    assert said(stage, "model/m", "Ready", "ClaimNotFound")["status"] != "True"
    said(stage, f"gallery/{GALLERY}", "Ready", "ClaimNotFound")
    assert stage.kube.get("pvc", CLAIM, stage.namespace) is None
    assert jobs(stage) == []

    stage.kube.apply(claim(stage))
    stage.ready("m")
    stage.set_up(storage={"claimName": CLAIM})
    assert stage.sha256("m.dat") == body(path).sha256()


def test_a_worker_that_does_not_start_says_why(stage):
    """P47, P51: another pod has the claim (with one node: one for one pod); a volume does not come."""
    path = "/small/held.gguf"
    stage.set_up(storage={"claimName": CLAIM}, caBundle={"configMapName": "none"})
    stage.kube.apply(claim(stage, "ReadWriteOncePod"))
    stage.kube.run("wait", "--for=condition=Ready", f"pod/{VIEWER}", "-n", stage.namespace)
    stage.create("m", source=source(path))
    found = said(stage, "model/m", "Ready", "WorkerPending")
    assert "Unschedulable" in found["message"]
    assert "in-use" in found["message"]

    stage.kube.delete("pod", VIEWER, stage.namespace, "--grace-period=0", "--force")
    wait_until("it has a node", lambda: stage.worker_pods("m")[0]["spec"].get("nodeName"), 60)
    (pod,) = stage.worker_pods("m")
    wait_until(
        "the Model says where to look",
        lambda: f"kubectl describe pod {pod['metadata']['name']}" in message(stage),
        60,
        lambda: message(stage),
    )


def message(stage):
    return condition(stage.kube.get("model", "m", stage.namespace), "Ready").get("message", "")


def test_a_source_that_changes_in_a_download(stage):
    """P56: the worker of the older wish ends, unpublished; the old file stays until the new one comes."""
    old, dropped, new = "/small/old.gguf", "/gen/256Mi/dropped/m.dat", "/small/new.gguf"
    stage.set_up()
    stage.create("m", source=source(old))
    stage.ready("m")
    begin(stage, dropped)
    (running,) = [job for job in jobs(stage) if job["status"].get("active")]
    assert stage.sha256("m.dat") == body(old).sha256()

    stage.create("m", source=source(new))
    stage.ready("m")
    assert running["metadata"]["uid"] not in [job["metadata"]["uid"] for job in jobs(stage)]
    assert stage.sha256("m.dat") == body(new).sha256()
    assert stage.shell("find .modelgallery/staging -type f 2>/dev/null || true") == ""
    assert stage.origin.stats(dropped)["bytes"] < body(dropped).size
