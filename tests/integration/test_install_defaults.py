"""What a Gallery says of the Models that it makes reaches them, once."""

import json
import time

import pytest

from support.fakekubelet import FakeKubelet
from support.kube import is_current, wait_until
from support.process import operator
from support.stage import CLAIM, gallery

NAMESPACE = "defaults"
ENTRIES = ("one", "Two: 2", "three")
QUIET_SECONDS = 5


@pytest.fixture
def kubelet(control_plane):
    with FakeKubelet(control_plane.kube.environment["KUBECONFIG"]).running() as running:
        yield running


def wanted(**defaults):
    index, body = gallery(NAMESPACE, install={"entries": list(ENTRIES), "defaults": defaults})
    entries = [
        {"name": name, "files": [{"filename": f"{i}.bin", "uri": f"https://example.com/{i}"}]}
        for i, name in enumerate(ENTRIES)
    ]
    return {**index, "data": {"index.yaml": json.dumps(entries)}}, body


def specs(kube):
    """Returns the specs of all Models; empty until all are Ready."""
    found = kube.list("models", NAMESPACE)
    return [one["spec"] for one in found] if all(map(is_current, found)) else []


@pytest.mark.integration
def test_a_change_reaches_what_was_made_and_is_written_once(control_plane, kubelet, tmp_path):
    kube, log = control_plane.kube, tmp_path / "operator.log"
    kube.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        *wanted(evictable=True, updatePolicy={"mode": "Track"}),
    )
    with operator(kube.environment, log):
        wait_until("the claim is there", lambda: kube.get("pvc", CLAIM, NAMESPACE), 30)
        kubelet.bind_claim(NAMESPACE, CLAIM)
        wait_until("three Models are Ready", lambda: len(specs(kube)) == len(ENTRIES), 60)
        assert all(spec["evictable"] for spec in specs(kube))
        assert {spec["updatePolicy"]["mode"] for spec in specs(kube)} == {"Track"}
        kube.apply(*wanted(serving={"idleTimeoutSeconds": 600}))
        wait_until(
            "the change is everywhere",
            lambda: [spec["serving"]["idleTimeoutSeconds"] for spec in specs(kube)] == [600] * 3,
            60,
        )
        assert not any(spec["evictable"] or "updatePolicy" in spec for spec in specs(kube))
        since = control_plane.audit.position()
        time.sleep(QUIET_SECONDS)
    with operator(kube.environment, log):
        time.sleep(QUIET_SECONDS)
    written = control_plane.audit.writes(since, user="admin")
    models = [entry for entry in written if entry["objectRef"]["resource"] == "models"]
    assert [(entry["verb"], entry["objectRef"]) for entry in models] == []
