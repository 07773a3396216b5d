"""A restart costs the API server nothing but reads."""

import os
import time

import pytest

from support.fakekubelet import FakeKubelet
from support.kube import condition, is_current, wait_until
from support.process import operator
from support.stage import CLAIM, gallery, model

NAMESPACE = "scale"
MODELS = int(os.environ.get("MODEL_GALLERY_TEST_MODELS", "1000"))
QUIET_SECONDS = 10


@pytest.fixture
def kubelet(control_plane):
    with FakeKubelet(control_plane.kube.environment["KUBECONFIG"]).running() as running:
        yield running


def ready_models(kube):
    return sum(is_current(found) for found in kube.list("models", NAMESPACE))


@pytest.mark.integration
@pytest.mark.timeout(400)
def test_restart_with_a_thousand_ready_models_writes_nothing(control_plane, kubelet, tmp_path):
    """The operator starts again beside 1,000 Ready Models: not one write, no event."""
    kube, log = control_plane.kube, tmp_path / "operator.log"
    kube.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        *gallery(NAMESPACE, worker={"maxConcurrent": 100}),
    )
    with operator(kube.environment, log):
        wait_until("the claim is there", lambda: kube.get("pvc", CLAIM, NAMESPACE), 30)
        kubelet.bind_claim(NAMESPACE, CLAIM)
        kube.apply(*(_model(number) for number in range(MODELS)))
        wait_until(
            f"{MODELS} Models are Ready",
            lambda: ready_models(kube) == MODELS,
            300,
            lambda: (
                f"{ready_models(kube)} Ready, {kubelet.ended} pods ended\n{log.read_text()[-4000:]}"
            ),
        )
    since = control_plane.audit.position()
    with operator(kube.environment, log):
        time.sleep(QUIET_SECONDS)
    written = control_plane.audit.writes(since, user="admin")
    assert [(entry["verb"], entry["objectRef"]) for entry in written] == []
    gallery_now = kube.get("gallery", "demo", NAMESPACE)
    assert condition(gallery_now, "Ready")["status"] == "True"


def _model(number):
    files = [{"path": f"{number}.bin", "uri": f"https://example.com/{number}.bin"}]
    return model(f"m{number}", NAMESPACE, source={"files": files})
