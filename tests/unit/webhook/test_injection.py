"""What the webhook answers: a patch, or nothing, and always that the pod may be."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from model_gallery.webhook import injection
from model_gallery.webhook.injection import Sidecar
from model_gallery.webhook.main import application

SIDECAR = Sidecar("registry/operator:1", "Always", {"requests": {"cpu": "10m"}})


def pod(**spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"annotations": {"modelgallery.dev/volume": "weights"}},
        "spec": {
            "containers": [{"name": "server", "image": "server"}],
            "volumes": [{"name": "weights"}],
            **spec,
        },
    }


def review(found: Any) -> dict[str, Any]:
    request = {"uid": "u-1", "kind": {"kind": "Pod"}, "object": found}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def added(found: dict[str, Any]) -> dict[str, Any]:
    *_, last = injection.patch(found, SIDECAR)
    assert (last["op"], last["path"]) == ("add", "/spec/initContainers/-")
    return dict(last["value"])


def test_the_patch() -> None:
    operations = injection.patch(pod(), SIDECAR)
    assert [(one["path"], one.get("value")) for one in operations[:2]] == [
        ("/spec/shareProcessNamespace", True),
        ("/spec/initContainers", []),
    ]
    assert added(pod()) == {
        "name": "model-gallery-sidecar",
        "image": "registry/operator:1",
        "imagePullPolicy": "Always",
        "args": ["sidecar"],
        "restartPolicy": "Always",
        "env": [{"name": "MODEL_GALLERY_SIDECAR_PORT", "value": "9464"}],
        "ports": [{"name": "mg-usage", "containerPort": 9464, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "10m"}, "limits": {}},
        "securityContext": {
            "runAsUser": 65532,
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "weights", "mountPath": "/models", "readOnly": True}],
    }


def test_other_init_containers_stay() -> None:
    operations = injection.patch(pod(initContainers=[{"name": "prepare"}]), SIDECAR)
    assert [one["path"] for one in operations] == [
        "/spec/shareProcessNamespace",
        "/spec/initContainers/-",
    ]


IDENTITIES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "the pod's": (
        {"securityContext": {"runAsUser": 1000, "runAsGroup": 7}},
        {"runAsUser": 1000, "runAsNonRoot": True},
    ),
    "root's": ({"securityContext": {"runAsUser": 0}}, {"runAsUser": 0, "runAsNonRoot": False}),
    "the first container's": (
        {
            "securityContext": {"runAsUser": 1000},
            "containers": [
                {"name": "s", "securityContext": {"runAsUser": 2000, "runAsGroup": 3000}},
                {"name": "t", "securityContext": {"runAsUser": 4000}},
            ],
        },
        {"runAsUser": 2000, "runAsGroup": 3000, "runAsNonRoot": True},
    ),
}


@pytest.mark.parametrize("case", IDENTITIES)
def test_it_is_the_user_that_the_server_is(case: str) -> None:
    spec, want = IDENTITIES[case]
    context = added(pod(**spec))["securityContext"]
    keys = ("runAsUser", "runAsGroup", "runAsNonRoot")
    assert {key: context[key] for key in keys if key in context} == want


LEFT_ALONE: dict[str, Any] = {
    "no annotation": {**pod(), "metadata": {}},
    "no metadata": {"spec": pod()["spec"]},
    "another volume": pod(volumes=[{"name": "other"}]),
    "no volumes": pod(volumes=None),
    "the host's processes": pod(hostPID=True),
    "it has one": pod(initContainers=[{"name": "model-gallery-sidecar"}]),
    "no spec": {"metadata": pod()["metadata"]},
    "nonsense": {"metadata": [], "spec": "x"},
}


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_a_pod_that_does_not_fit_is_left_alone_and_admitted(case: str) -> None:
    answer = injection.answer(review(LEFT_ALONE[case]), SIDECAR)
    assert answer["response"] == {"uid": "u-1", "allowed": True}


def test_what_was_added_is_not_added_again() -> None:
    """The API server may ask once more, after other webhooks."""
    once = pod(initContainers=[added(pod())])
    assert injection.patch(once, SIDECAR) == []


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"request": None}, {"request": {"uid": "u"}}, {"request": {"object": {}}}],
)
def test_what_is_no_review_is_refused(body: Any) -> None:
    with pytest.raises(injection.NotAReview, match="must be an AdmissionReview"):
        injection.answer(body, SIDECAR)


async def test_over_http() -> None:
    async with TestClient(TestServer(application(SIDECAR))) as client:
        answer = await client.post("/inject", json=review(pod()))
        response = (await answer.json())["response"]
        assert (response["uid"], response["allowed"]) == ("u-1", True)
        assert response["patchType"] == "JSONPatch"
        assert json.loads(base64.b64decode(response["patch"])) == injection.patch(pod(), SIDECAR)
        for bad in (b"", b"{", b"[" * 200_000, b'{"request": 1}', b"\xff"):
            assert (await client.post("/inject", data=bad)).status == 400
        assert (await client.post("/inject", data=io.BytesIO(bytes(9 << 20)))).status == 413
        assert (await client.get("/inject")).status == 405
        assert (await client.get("/metrics")).status == 404
