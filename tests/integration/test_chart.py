"""The chart as Helm renders it: rights, posture, scopes, and values that are refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.kube import KubectlError

CHART = Path(__file__).parents[2] / "charts" / "model-gallery-operator"
MONITORING = CHART / "files" / "monitoring"
CLUSTER_SCOPED = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Namespace"}
pytestmark = pytest.mark.integration


def render(kube, *values: str) -> list[dict[str, Any]]:
    arguments = [word for value in values for word in ("--set", value)]
    text = kube.program("helm", "template", "r", str(CHART), "--namespace", "system", *arguments)
    return [document for document in yaml.safe_load_all(text) if document]


@pytest.fixture(scope="module")
def kube(control_plane):
    return control_plane.kube


@pytest.mark.parametrize("scope", ["cluster", "namespace"])
def test_the_operator_has_no_right_to_secrets_and_no_wildcard(kube, scope: str) -> None:
    documents = render(kube, f"rbac.scope={scope}")
    rules = [rule for document in documents for rule in document.get("rules") or ()]

    assert rules
    for rule in rules:
        assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}
        assert "secrets" not in rule["resources"]


def test_one_namespace_needs_no_cluster_scoped_right(kube) -> None:
    documents = render(kube, "rbac.scope=namespace", "crds.enabled=false")
    kinds = [document["kind"] for document in documents]

    assert not CLUSTER_SCOPED & set(kinds)
    assert kinds.count("Role") == 1
    assert _environment(documents)["MODEL_GALLERY_NAMESPACES"] == "system"


def test_several_namespaces_each_get_their_role(kube) -> None:
    documents = render(kube, "rbac.scope=namespace", "watchNamespaces={a,b}")
    roles = [d["metadata"]["namespace"] for d in documents if d["kind"] == "Role"]

    assert roles == ["a", "b"]
    assert _environment(documents)["MODEL_GALLERY_NAMESPACES"] == "a,b"


def test_the_pod_passes_restricted(kube) -> None:
    pod = _pod(render(kube))
    container = pod["containers"][0]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_values_reach_the_operator(kube) -> None:
    documents = render(
        kube,
        "network.allowedNetworks={10.0.0.0/8,fd00::/8}",
        "network.allowPlainHTTP=false",
        "image.digest=sha256:" + "a" * 64,
        "imagePullSecrets[0].name=one",
        "worker.runAsUser=1000",
    )
    environment = _environment(documents)

    assert environment["MODEL_GALLERY_ALLOWED_NETWORKS"] == "10.0.0.0/8,fd00::/8"
    assert environment["MODEL_GALLERY_ALLOW_PLAIN_HTTP"] == "false"
    assert environment["MODEL_GALLERY_WORKER_IMAGE"].endswith("@sha256:" + "a" * 64)
    assert environment["MODEL_GALLERY_WORKER_IMAGE_PULL_SECRETS"] == "one"
    assert environment["MODEL_GALLERY_WORKER_UID"] == "1000"


def test_the_password_for_the_proxy_is_a_file(kube) -> None:
    values = ("network.proxy=http://proxy:3128", "network.proxySecretName=proxy-login")
    documents = render(kube, *values)
    pod = _pod(documents)
    folder = _environment(documents)["MODEL_GALLERY_PROXY_CREDENTIALS"]

    (mount,) = (m for m in pod["containers"][0]["volumeMounts"] if m["mountPath"] == folder)
    (volume,) = (v for v in pod["volumes"] if v["name"] == mount["name"])
    assert mount["readOnly"] is True
    assert volume["secret"]["secretName"] == "proxy-login"
    assert "MODEL_GALLERY_PROXY_CREDENTIALS" not in _environment(render(kube, values[0]))


def test_the_crds_stay_on_uninstall(kube) -> None:
    kept = [d for d in render(kube) if d["kind"] == "CustomResourceDefinition"]
    free = [d for d in render(kube, "crds.keep=false") if d["kind"] == "CustomResourceDefinition"]

    assert len(kept) == len(free) == 2
    assert all(d["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for d in kept)
    assert not any("annotations" in d["metadata"] for d in free)


def test_nothing_of_other_operators_is_made_by_default(kube) -> None:
    kinds = {document["kind"] for document in render(kube)}

    assert not kinds & {"ServiceMonitor", "PrometheusRule", "ConfigMap"}


def test_prometheus_finds_the_operator_and_keeps_the_labels_of_models(kube) -> None:
    documents = render(
        kube,
        "metrics.serviceMonitor.enabled=true",
        "metrics.serviceMonitor.interval=45s",
        "metrics.serviceMonitor.labels.release=stack",
    )
    (monitor,) = (d for d in documents if d["kind"] == "ServiceMonitor")
    (service,) = (d for d in documents if d["kind"] == "Service")
    (endpoint,) = monitor["spec"]["endpoints"]

    assert monitor["metadata"]["labels"]["release"] == "stack"
    assert monitor["spec"]["namespaceSelector"]["matchNames"] == ["system"]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert wanted <= service["metadata"]["labels"].items()
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert (endpoint["interval"], endpoint["honorLabels"]) == ("45s", True)


def test_the_alerts_reach_the_cluster_as_they_were_tested(kube) -> None:
    documents = render(
        kube, "metrics.prometheusRule.enabled=true", "metrics.prometheusRule.labels.role=alerts"
    )
    (rule,) = (d for d in documents if d["kind"] == "PrometheusRule")

    assert rule["metadata"]["labels"]["role"] == "alerts"
    assert rule["spec"] == yaml.safe_load((MONITORING / "rules.yaml").read_text())


def test_the_dashboard_reaches_grafana(kube) -> None:
    documents = render(kube, "metrics.dashboards.enabled=true")
    (made,) = (d for d in documents if d["kind"] == "ConfigMap")

    assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(made["data"]["model-gallery-fleet.json"]) == json.loads(
        (MONITORING / "fleet.json").read_text()
    )


def test_every_value_has_a_place_in_the_schema() -> None:
    """Down to the last key: a value that the schema does not know is a value that nobody can set."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    assert list(_unknown(values, schema)) == []


@pytest.mark.parametrize(
    "value",
    [
        "metrics.serviceMonitor.interval=often",
        "metrics.serviceMonitor.every=30s",
        "metrics.prometheusRule.labels.number=1",
        "metrics.dashboards.enabled=maybe",
        "rbac.scope=everything",
        "watchNamespaces={a}",
        "imagee.tag=1",
        "network.allowedNetworks={inside}",
        "worker.runAsUser=0",
        "log.level=loud",
    ],
)
def test_a_wrong_value_is_refused(kube, value: str) -> None:
    with pytest.raises(KubectlError):
        render(kube, value)


def _pod(documents: list[dict[str, Any]]) -> dict[str, Any]:
    (deployment,) = (d for d in documents if d["kind"] == "Deployment")
    return deployment["spec"]["template"]["spec"]


def _environment(documents: list[dict[str, Any]]) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in _pod(documents)["containers"][0]["env"]}


def _unknown(values: dict[str, Any], schema: dict[str, Any], place: str = "") -> Iterator[str]:
    known = schema.get("properties", {})
    for key, value in values.items():
        if key not in known:
            # Free-form maps have no properties: labels, resources, annotations.
            yield from [f"{place}{key}"] if known else []
        elif isinstance(value, dict):
            yield from _unknown(value, known[key], f"{place}{key}.")
