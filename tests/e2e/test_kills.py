"""A kill -9 of any process of ours costs at most what was in flight."""

import pytest

from support.kube import condition, wait_until
from support.origin import URL, body
from support.stage import kill_pod

GIB = 1 << 30
RANGE = 16 << 20
"""No worker asks for more than this with one request; see transport/."""


@pytest.mark.timeout(240)
def test_worker_killed_at_half_of_a_gibibyte_resumes(stage):
    """P01: the bytes served in all are at most the size plus one range per connection."""
    path = "/gen/1Gi/kill/big.dat"
    stage.set_up()
    stage.origin.set_faults(path, rate=60_000_000)
    wanted = body(path)
    source = {"files": [{"path": "big.dat", "uri": URL + path, "sha256": wanted.sha256()}]}
    stage.create("big", source=source)
    pod = stage.running_worker("big")
    wait_until("half of it served", lambda: stage.origin.stats(path)["bytes"] >= GIB // 2, 60)
    connections = stage.origin.stats(path)["connections"]
    kill_pod(pod)
    stage.origin.set_faults(path)
    found = stage.ready("big", timeout=120)
    served = stage.origin.stats(path)["bytes"]
    print(f"served {served - GIB} bytes more than the size, over {connections} connections")
    assert served <= GIB + connections * RANGE
    assert stage.sha256("big.dat") == wanted.sha256()
    assert "attempts" not in found["status"], "a killed worker is nobody's failure"


def test_operator_killed_after_job_creation_adopts_the_job(stage, full_cluster):
    """P03: the operator dies between the Job's creation and the status: one Job, the same one, ends it."""
    path = "/gen/32Mi/adopt/adopt.dat"
    stage.set_up()
    stage.origin.set_faults(path, rate=8 << 20)
    stage.create("warm", source={"uri": f"{URL}/small/warm.gguf"})
    stage.ready("warm")
    operator = _operator(full_cluster)
    stage.create("adopt", source={"files": [{"path": "adopt.dat", "uri": URL + path}]})
    before = wait_until("the Job is there", lambda: _jobs(stage, "adopt"), 30)
    kill_pod(operator)
    stage.ready("adopt")
    assert [job["metadata"]["uid"] for job in _jobs(stage, "adopt")] == [
        job["metadata"]["uid"] for job in before
    ]
    assert len(stage.worker_pods("adopt")) == 1
    # A second download would be twice the size; what is more than once are shares of slow stretches.
    assert stage.origin.stats(path)["bytes"] < 1.5 * body(path).size


def _jobs(stage, name):
    uid = stage.kube.get("model", name, stage.namespace)["metadata"]["uid"]
    return stage.kube.list("jobs", stage.namespace, f"modelgallery.dev/model-uid={uid}")


def _operator(cluster):
    """The operator's pod once it is Ready; a test before may have ended another one."""

    def ready():
        pods = cluster.kube.list(
            "pods", "model-gallery-system", "app.kubernetes.io/name=model-gallery-operator"
        )
        return next((pod for pod in pods if _is_ready(pod)), None)

    return wait_until("an operator pod is Ready", ready, 60)


def _is_ready(pod):
    conditions = pod["status"].get("conditions", [])
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def test_suspending_stops_the_transfer_and_keeps_what_came(stage):
    """P66: the worker ends, nothing new starts, and the rest is fetched when it goes on."""
    path = "/gen/256Mi/suspend/suspend.dat"
    stage.set_up()
    stage.origin.set_faults(path, rate=20 << 20)
    source = {"files": [{"path": "s.dat", "uri": URL + path}]}
    stage.create("held", source=source)
    wait_until("some of it came", lambda: stage.origin.stats(path)["bytes"] >= 64 << 20, 60)

    stage.create("held", source=source, suspend=True)
    wait_until("the worker is gone", lambda: not stage.worker_pods("held"), 30)
    found = stage.kube.get("model", "held", stage.namespace)
    assert condition(found, "Ready")["reason"] == "Suspended"
    stage.origin.set_faults(path)
    stage.create("held", source=source, suspend=False)
    stage.ready("held")

    stats = stage.origin.stats(path)
    assert stage.sha256("s.dat") == body(path).sha256()
    assert stats["bytes"] <= (256 << 20) + stats["connections"] * RANGE
