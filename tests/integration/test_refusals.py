"""What the API server refuses to make is told on the object that it was for, and mended by its owner."""

import pytest

from support.fakekubelet import FakeKubelet
from support.kube import condition, is_current, wait_until
from support.process import operator
from support.stage import CLAIM, gallery, model

NAMESPACE = "refused"


@pytest.fixture
def kubelet(control_plane):
    with FakeKubelet(control_plane.kube.environment["KUBECONFIG"]).running() as running:
        yield running


@pytest.mark.integration
def test_a_refused_claim_and_a_refused_job_are_told_with_their_cause(
    control_plane, kubelet, tmp_path
):
    kube, log = control_plane.kube, tmp_path / "operator.log"
    odd = {"nodeSelector": {"no label": "x"}}
    files = [{"path": "a.bin", "uri": "https://example.com/a.bin"}]
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}

    def told(kind, name, reason="ApiRefused"):
        ready = condition(kube.get(kind, name, NAMESPACE), "Ready") or {}
        return ready["message"] if ready.get("reason") == reason else ""

    def events():
        field = "reason=ApiRefused,type=Warning"
        return kube.run("get", "events", "-n", NAMESPACE, "--field-selector", field)

    with operator(kube.environment, log):
        kube.apply(
            namespace, *gallery(NAMESPACE, storage={"claimTemplate": {"size": "0Gi"}}, worker=odd)
        )
        why = wait_until("the claim is refused", lambda: told("gallery", "demo"), 30)
        assert "must be greater than zero" in why

        kube.apply(*gallery(NAMESPACE, worker=odd))
        wait_until("the claim is made", lambda: kube.get("pvc", CLAIM, NAMESPACE), 30)
        kubelet.bind_claim(NAMESPACE, CLAIM)
        kube.apply(model("a", NAMESPACE, source={"files": files}))
        why = wait_until("the worker is refused", lambda: told("model", "a"), 60)
        assert "nodeSelector" in why
        # Without a scan a Gallery still has its index and its claim.
        wait_until(
            "the scan's refusal is told beside it",
            lambda: (
                "gallery/demo" in events() and is_current(kube.get("gallery", "demo", NAMESPACE))
            ),
            60,
            events,
        )

        # Which the API server calls an error of its own.
        kube.apply(*gallery(NAMESPACE, worker={"resources": {"limits": {"memory": "lots"}}}))
        why = wait_until("so it is", lambda: told("model", "a", "ApiUnavailable"), 60)
        assert "quantities must match" in why

        kube.apply(*gallery(NAMESPACE))
        wait_until("it goes on", lambda: is_current(kube.get("model", "a", NAMESPACE)), 60)
