"""The worker Job: what every pod of ours must and must not have."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from model_gallery.api import labels
from model_gallery.protocol import exitcodes, operation
from model_gallery.reconcile import model, names
from model_gallery.reconcile.manifests import configmap
from model_gallery.reconcile.observed import WorkerSettings
from support import builders as b


@pytest.fixture
def job() -> dict[str, Any]:
    outcome = model.decide(b.observed(), b.NOW, 0.0).outcome
    return outcome.actions[0].job


def test_the_pod_passes_restricted(job: dict[str, Any]) -> None:
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert {kind for volume in pod["volumes"] for kind in volume if kind != "name"} <= {
        "persistentVolumeClaim",
        "emptyDir",
        "configMap",
    }


def test_hopeless_exit_codes_fail_the_job_at_once(job: dict[str, Any]) -> None:
    rule = job["spec"]["podFailurePolicy"]["rules"][0]
    hopeless = {row.code for row in exitcodes.TABLE if row.klass is exitcodes.Class.STALLED}

    assert rule["action"] == "FailJob"
    assert set(rule["onExitCodes"]["values"]) == hopeless
    assert 14 not in hopeless


def test_two_pods_never_write_at_once(job: dict[str, Any]) -> None:
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert job["spec"]["parallelism"] == 1
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"


def test_the_operation_survives_the_kubelets_expansion() -> None:
    """`$(NAME)` in a template of the gallery must reach the worker as it is."""
    request = b.REQUEST.__class__(
        files=(),
        documents=(operation.Document(path="a.yaml", content="x: $(HOSTNAME)\n"),),
        served_name="a",
        backend="",
    )
    outcome = model.decide(b.observed(request=request), b.NOW, 0.0).outcome
    env = outcome.actions[0].job["spec"]["template"]["spec"]["containers"][0]["env"]
    value = next(item["value"] for item in env if item["name"] == operation.ENV_OPERATION)

    assert "$$(HOSTNAME)" in value
    assert operation.parse(value.replace("$$(", "$(")).documents[0].content == "x: $(HOSTNAME)\n"


def test_a_large_operation_travels_in_a_config_map() -> None:
    content = "x" * (operation.MAX_ENV_BYTES + 1)
    request = b.REQUEST.__class__(
        files=(),
        documents=(operation.Document(path="a.yaml", content=content),),
        served_name="a",
        backend="",
    )
    start = model.decide(b.observed(request=request), b.NOW, 0.0).outcome.actions[0]
    carrier = configmap.operation(start.job["metadata"]["name"], "u", "ns", start.operation)

    assert content not in json.dumps(start.job)
    assert operation.parse(carrier["data"]["operation.json"]).documents[0].content == content


@pytest.mark.parametrize("name", ["a", "a.b", "x" * 253, "m-" + "y" * 60])
def test_job_names_are_legal_and_distinct(name: str) -> None:
    first, second = names.worker_name(name, "install", "1"), names.worker_name(name, "install", "2")

    assert first != second
    assert len(first) <= 63
    assert "." not in first


def test_names_that_look_alike_get_different_workers() -> None:
    assert names.worker_name("a.b", "install", "u1") != names.worker_name("a-b", "install", "u2")


def pod_of(**changes: Any) -> dict[str, Any]:
    outcome = model.decide(b.observed(**changes), b.NOW, 0.0).outcome
    return outcome.actions[0].job["spec"]["template"]["spec"]


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in pod["containers"][0]["env"]}


def mount(pod: dict[str, Any], name: str) -> dict[str, Any]:
    return next(item for item in pod["containers"][0]["volumeMounts"] if item["name"] == name)


def test_a_secret_is_files_and_nothing_else() -> None:
    """Optional: the worker says what is missing, where a pod would just never start."""
    pod = pod_of(spec=b.spec(credentials={"secretName": "hub"}))

    volume = next(item for item in pod["volumes"] if item["name"] == "credentials")
    assert volume["secret"] == {"secretName": "hub", "defaultMode": 0o440, "optional": True}
    assert mount(pod, "credentials")["readOnly"] is True
    assert environment(pod)[operation.ENV_CREDENTIALS] == mount(pod, "credentials")["mountPath"]
    assert "envFrom" not in pod["containers"][0]


BEHIND_PROXY = WorkerSettings(image="w", network=operation.NetworkPolicy(proxy="http://proxy:1"))
FOR_PROXY = b.gallery(proxyCredentials={"secretName": "proxy"})


def test_what_the_proxy_is_told_is_a_secret_of_its_own() -> None:
    pod = pod_of(
        gallery=FOR_PROXY, settings=BEHIND_PROXY, spec=b.spec(credentials={"secretName": "hub"})
    )

    secrets = {
        item["name"]: item["secret"]["secretName"] for item in pod["volumes"] if "secret" in item
    }
    assert secrets == {"credentials": "hub", "proxy": "proxy"}
    assert mount(pod, "proxy")["readOnly"] is True
    assert environment(pod)[operation.ENV_PROXY] == mount(pod, "proxy")["mountPath"]


def test_without_a_proxy_its_secret_is_not_mounted() -> None:
    assert "secret" not in str(pod_of(gallery=FOR_PROXY)["volumes"])


def test_authorities_come_from_a_config_map() -> None:
    pod = pod_of(gallery=b.gallery(caBundle={"configMapName": "ca"}))

    volume = next(item for item in pod["volumes"] if item["name"] == "ca")
    assert volume["configMap"]["name"] == "ca"
    assert environment(pod)[operation.ENV_CA].startswith(mount(pod, "ca")["mountPath"])


IDENTITY = {"issuer": "https://i", "subject": "s"}


def test_a_trusted_root_comes_from_a_config_map() -> None:
    named = {"identities": [IDENTITY], "trustedRoot": {"configMapName": "own"}}
    pod = pod_of(gallery=b.gallery(policy={"signatures": named}))

    volume = next(item for item in pod["volumes"] if item["name"] == "trusted-root")
    item = {"key": "trusted_root.json", "path": "trusted_root.json"}
    assert volume["configMap"] == {"name": "own", "items": [item]}
    place = mount(pod, "trusted-root")
    assert place["readOnly"] is True
    assert environment(pod)[operation.ENV_TRUSTED_ROOT] == f"{place['mountPath']}/{item['path']}"


def test_the_public_root_needs_no_mount() -> None:
    pod = pod_of(gallery=b.gallery(policy={"signatures": {"identities": [IDENTITY]}}))

    assert "trusted-root" not in str(pod)
    assert operation.ENV_TRUSTED_ROOT not in environment(pod)


@pytest.mark.parametrize(("claim", "volumes"), [("other", 1), ("models", 0)])
def test_another_claim_is_mounted_to_be_read_only(claim: str, volumes: int) -> None:
    """The Gallery's own claim is mounted once, twice used."""
    repository = operation.Repository(kind=operation.RepositoryKind.CLAIM, url=f"pvc://{claim}/a/b")
    pod = pod_of(request=replace(b.REQUEST, repository=repository))

    named = [item for item in pod["volumes"] if item["name"] == "source"]
    assert len(named) == volumes
    place = mount(pod, "source") if volumes else pod["containers"][0]["volumeMounts"][-1]
    assert place["readOnly"] is True
    assert environment(pod)[operation.ENV_SOURCE] == place["mountPath"]


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"gallery": b.gallery(policy={"formats": "Any"})}, False),
        ({"spec": b.spec(credentials={"secretName": "hub"})}, False),
        ({"gallery": b.gallery(policy={"signatures": {"publicKeys": ["a"]}})}, False),
        ({"gallery": b.gallery(policy={"signatures": None})}, True),
        ({"gallery": b.gallery(worker={"bandwidthLimit": "5Mi"})}, True),
    ],
    ids=["policy", "secret", "signatures", "no signatures", "bandwidth"],
)
def test_what_makes_another_plan(changes: dict[str, Any], same: bool) -> None:
    """A policy is applied to what is installed; how fast it came is no reason to do it again."""

    def digest(**more: Any) -> str:
        job = model.decide(b.observed(**more), b.NOW, 0.0).outcome.actions[0].job
        return job["metadata"]["annotations"][labels.ANNOTATION_PLAN_DIGEST]

    assert (digest() == digest(**changes)) == same


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({"gallery": b.gallery(worker={"nodeSelector": {"a": "b"}})}, False),
        ({"gallery": b.gallery(worker={"resources": {"limits": {"memory": "1Gi"}}})}, False),
        ({"gallery": b.gallery(caBundle={"configMapName": "ca"})}, False),
        ({"settings": replace(b.observed().settings, image="worker:2")}, False),
        ({"settings": replace(b.observed().settings, pull_secrets=("a",))}, False),
        ({"gallery": b.gallery(worker={"bandwidthLimit": "5Mi"})}, True),
    ],
    ids=["node", "memory", "authorities", "image", "pull secret", "bandwidth"],
)
def test_what_makes_another_shape(changes: dict[str, Any], same: bool) -> None:
    """What a worker that could not start may start with."""

    def shape(**more: Any) -> str:
        job = model.decide(b.observed(**more), b.NOW, 0.0).outcome.actions[0].job
        return job["metadata"]["annotations"][labels.ANNOTATION_SHAPE]

    assert (shape() == shape(**changes)) == same


def test_the_operation_carries_policy_and_limits() -> None:
    gallery = b.gallery(worker={"bandwidthLimit": "5Mi"})
    told = operation.parse(environment(pod_of(gallery=gallery))[operation.ENV_OPERATION])

    assert told.safe_formats is True
    assert told.bandwidth_bytes == 5 << 20
