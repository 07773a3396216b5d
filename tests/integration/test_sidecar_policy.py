"""The injected sidecar: the chart's policy in a real API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.kube import Kube, wait_until

CHART = Path(__file__).parents[2] / "charts" / "model-gallery-operator"
POLICY = "admissionregistration.k8s.io/{}/MutatingAdmissionPolicy"
NAMESPACE = "default"
pytestmark = pytest.mark.integration


def render(kube: Kube, *values: str, served: tuple[str, ...] = ("v1",)) -> list[dict[str, Any]]:
    arguments = [word for value in values for word in ("--set", value)]
    for version in served:
        arguments += ["--api-versions", POLICY.format(version)]
    text = kube.program("helm", "template", "r", str(CHART), "--namespace", NAMESPACE, *arguments)
    documents = [document for document in yaml.safe_load_all(text) if document]
    return [one for one in documents if one["kind"].startswith("MutatingAdmissionPolicy")]


def pod(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "server",
            "labels": {"modelgallery.dev/sidecar": "true"},
            "annotations": {"modelgallery.dev/volume": "weights"},
        },
        "spec": {
            "containers": [{"name": "server", "image": "server"}],
            "volumes": [{"name": "weights", "persistentVolumeClaim": {"claimName": "models"}}],
            **spec,
        },
    }


def admitted(kube: Kube, wish: dict[str, Any]) -> dict[str, Any]:
    """Returns the pod as the API server would store it."""
    flags = ("--dry-run=server", "-o", "json", "-n", NAMESPACE, "-f", "-")
    return json.loads(kube.run("create", *flags, stdin=json.dumps(wish)))


def sidecars(found: dict[str, Any]) -> list[dict[str, Any]]:
    containers = found["spec"].get("initContainers", [])
    return [one for one in containers if one["name"] == "model-gallery-sidecar"]


@pytest.fixture(scope="module")
def kube(control_plane):
    """With the policy in force."""
    found = control_plane.kube
    accounts = found.run("get", "serviceaccount", "-n", NAMESPACE, "-o", "name")
    if "serviceaccount/default" not in accounts:
        found.run("create", "serviceaccount", "default", "-n", NAMESPACE)
    documents = render(found, "sidecar.injection=true", "image.repository=registry/operator")
    found.apply(*documents)
    wait_until("the policy is in force", lambda: sidecars(admitted(found, pod())), 60)
    yield found
    for document in documents:
        found.run("delete", document["kind"], document["metadata"]["name"])
    wait_until(
        "the policy is gone from the server's memory",
        lambda: not sidecars(admitted(found, pod())),
        60,
    )


def test_off_by_default_and_where_it_is_not_served(control_plane) -> None:
    kube = control_plane.kube

    assert render(kube) == []
    assert render(kube, "sidecar.injection=true", served=()) == []


@pytest.mark.parametrize(
    ("served", "want"),
    [(("v1alpha1", "v1beta1"), "v1beta1"), (("v1alpha1",), "v1alpha1"), (("v1beta1", "v1"), "v1")],
)
def test_the_most_stable_version_is_taken(control_plane, served, want: str) -> None:
    documents = render(control_plane.kube, "sidecar.injection=true", served=served)

    assert [one["kind"] for one in documents] == [
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
    ]
    assert {one["apiVersion"] for one in documents} == {f"admissionregistration.k8s.io/{want}"}
    assert documents[1]["spec"]["policyName"] == documents[0]["metadata"]["name"]


def test_only_watched_namespaces(control_plane) -> None:
    documents = render(
        control_plane.kube,
        "sidecar.injection=true",
        "rbac.scope=namespace",
        "watchNamespaces={a,b}",
    )
    (terms,) = documents[0]["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]

    assert terms["values"] == ["a", "b"]


def test_the_sidecar_is_added(kube) -> None:
    found = admitted(kube, pod())
    (sidecar,) = sidecars(found)

    assert found["spec"]["shareProcessNamespace"] is True
    assert [one["name"] for one in found["spec"]["containers"]] == ["server"]
    assert sidecar["image"].startswith("registry/operator:")
    assert sidecar["args"] == ["sidecar"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["resources"] == {
        "requests": {"cpu": "10m", "memory": "48Mi"},
        "limits": {"memory": "96Mi"},
    }
    assert sidecar["ports"][0]["containerPort"] == 9464
    assert sidecar["env"] == [{"name": "MODEL_GALLERY_SIDECAR_PORT", "value": "9464"}]
    mounts = {one["mountPath"]: one for one in sidecar["volumeMounts"]}
    assert mounts["/models"] == {"name": "weights", "mountPath": "/models", "readOnly": True}
    assert sidecar["securityContext"] == {
        "runAsUser": 65532,
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        ({"securityContext": {"runAsUser": 1000, "runAsGroup": 7}}, (1000, None, True)),
        ({"securityContext": {"runAsUser": 0}}, (0, None, False)),
        (
            {
                "securityContext": {"runAsUser": 1000},
                "containers": [
                    {
                        "name": "s",
                        "image": "s",
                        "securityContext": {"runAsUser": 2000, "runAsGroup": 3000},
                    }
                ],
            },
            (2000, 3000, True),
        ),
    ],
)
def test_it_is_the_user_that_the_server_is(kube, spec: dict[str, Any], want) -> None:
    (sidecar,) = sidecars(admitted(kube, pod(**spec)))
    context = sidecar["securityContext"]

    told = context["runAsUser"], context.get("runAsGroup"), context["runAsNonRoot"]
    assert told == want


def test_other_init_containers_stay(kube) -> None:
    before = {"name": "prepare", "image": "prepare"}
    found = admitted(kube, pod(initContainers=[before]))

    assert [one["name"] for one in found["spec"]["initContainers"]] == [
        "prepare",
        "model-gallery-sidecar",
    ]


def test_a_sidecar_of_the_pod_s_own_is_left_as_it_is(kube) -> None:
    own = {"name": "model-gallery-sidecar", "image": "own", "restartPolicy": "Always"}
    (sidecar,) = sidecars(admitted(kube, pod(initContainers=[own])))

    assert sidecar["image"] == "own"


@pytest.mark.parametrize("missing", ["label", "annotation", "volume", "process namespace"])
def test_a_pod_that_does_not_fit_is_left_alone(kube, missing: str) -> None:
    """And admitted: who watches must never keep a server from starting."""
    wish = pod()
    match missing:
        case "label":
            del wish["metadata"]["labels"]
        case "annotation":
            del wish["metadata"]["annotations"]
        case "volume":
            wish["metadata"]["annotations"]["modelgallery.dev/volume"] = "other"
        case _:
            wish["spec"]["hostPID"] = True
    found = admitted(kube, wish)

    assert sidecars(found) == []
    assert not found["spec"].get("shareProcessNamespace")
