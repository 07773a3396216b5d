"""Which pods are asked, where, and which are not."""

from __future__ import annotations

from typing import Any

import pytest

from model_gallery.api import labels
from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.controller import kinds
from model_gallery.controller.targets import Target, Targets
from model_gallery.controller.turns import Turns

BACKEND = {"name": "b", "selector": {"matchLabels": {"app": "llm"}}}


def metadata(name: str, namespace: str = "ns", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "creationTimestamp": "2026-11-22T11:00:00Z",
        **more,
    }


def gallery(**spec: Any) -> dict[str, Any]:
    wish = {"index": {"configMap": {"name": "i"}}, "storage": {"claimName": "c"}, **spec}
    return {"metadata": metadata("g"), "spec": wish}


def pod(
    *,
    address: str = "10.0.0.1",
    claim: str = "c",
    phase: str = "Running",
    ports: list[dict[str, Any]] | None = None,
    beside: list[dict[str, Any]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    volume = {"name": "v", "persistentVolumeClaim": {"claimName": claim}}
    ports = [{"containerPort": 8080}] if ports is None else ports
    spec = {
        "containers": [{"ports": ports}],
        "initContainers": [{"ports": beside or []}],
        "volumes": [volume],
    }
    status = {"phase": phase, "podIP": address, "containerStatuses": [{"containerID": "c1"}]}
    return {"metadata": metadata("p", **more), "spec": spec, "status": status}


def targets(*bodies: dict[str, Any], networks: tuple[str, ...] = (), **spec: Any) -> list[Target]:
    cache = kinds.new_cache()
    cache.upsert(kinds.GALLERY, gallery(**spec))
    for body in bodies:
        cache.upsert(kinds.POD, body)
    found = Targets(cache, networks).refresh(0.0)
    assert found is not None
    return list(found.values())


def test_a_pod_that_mounts_the_claim() -> None:
    (target,) = targets(pod())
    assert (target.backend, target.type, target.period) == ("mounted", BackendType.AUTO, 15.0)
    assert (target.base, target.usage, target.problem) == ("http://10.0.0.1:8080", "", "")
    assert target.place == "ns/g"


def test_a_pod_that_a_backend_names_is_its_own_only() -> None:
    wish = {
        **BACKEND,
        "type": "VLLM",
        "port": 9000,
        "scheme": "HTTPS",
        "probePeriodSeconds": 30,
        "maxLoaded": 2,
        "maxMemory": "4Gi",
    }
    (target,) = targets(pod(labels={"app": "llm"}), backends=[wish, {**BACKEND, "name": "second"}])
    assert (target.backend, target.type, target.period) == ("b", BackendType.VLLM, 30.0)
    assert (target.base, target.max_loaded, target.max_memory) == (
        "https://10.0.0.1:9000",
        2,
        "4Gi",
    )


def test_a_backend_that_does_not_tell_its_model() -> None:
    wish = {**BACKEND, "type": "LocalAIBackend", "model": "whisper"}
    (target,) = targets(pod(labels={"app": "llm"}), backends=[wish])
    assert (target.type, target.served) == (BackendType.LOCALAI_BACKEND, "whisper")


def test_a_sidecar_is_asked_beside_the_server() -> None:
    beside = [{"name": kinds.USAGE_PORT, "containerPort": 9500}]
    (target,) = targets(pod(beside=beside))
    assert (target.base, target.usage) == ("http://10.0.0.1:8080", "http://10.0.0.1:9500")


NOT_ASKED = {
    "another claim": pod(claim="other"),
    "another namespace": pod(namespace="foreign"),
    "not running": pod(phase="Pending"),
    "ended": pod(phase="Succeeded"),
    "going": pod(deletionTimestamp="2026-11-22T12:00:00Z"),
    "a worker of ours": pod(annotations={labels.ANNOTATION_GALLERY: "g"}),
    "other labels": pod(claim="other", labels={"app": "web"}),
}


@pytest.mark.parametrize("case", NOT_ASKED)
def test_who_is_no_backend(case: str) -> None:
    assert targets(NOT_ASKED[case], backends=[BACKEND]) == []


ADDRESSES = {
    "10.1.2.3": "http://10.1.2.3:8080",
    "100.64.0.7": "http://100.64.0.7:8080",
    "203.0.113.9": "http://203.0.113.9:8080",
    "fd00::7": "http://[fd00::7]:8080",
    "FD00:0::0007": "http://[fd00::7]:8080",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_address_is_written_as_it_is_compared(address: str) -> None:
    (target,) = targets(pod(address=address))
    assert target.base == ADDRESSES[address]


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("", "no address yet"),
        ("169.254.169.254", "no pod has"),
        ("127.0.0.1", "no pod has"),
        ("0.0.0.0", "no pod has"),
        ("224.0.0.1", "no pod has"),
        ("::1", "no pod has"),
        ("fe80::1", "no pod has"),
        ("fe80::1%eth0", "no pod has"),
        ("::ffff:169.254.169.254", "no pod has"),
        ("metadata.example.com", "address is none"),
        ("10.0.0.1:80/x?", "address is none"),
    ],
)
def test_an_address_that_is_no_pods_is_not_asked(address: str, problem: str) -> None:
    """Whoever may write a pod's status must not send requests of the operator to a cloud's metadata."""
    beside = [{"name": kinds.USAGE_PORT, "containerPort": 9500}]
    (target,) = targets(pod(address=address, beside=beside))
    assert (target.base, target.usage) == ("", "")
    assert problem in target.problem


def test_an_address_that_the_administrator_allows_is_asked() -> None:
    (target,) = targets(pod(address="127.0.0.1"), networks=("10.0.0.0/8", "127.0.0.0/8"))
    assert target.base == "http://127.0.0.1:8080"


def test_a_pod_without_a_port_says_what_to_do() -> None:
    (target,) = targets(pod(ports=[]))
    assert (target.base, target.problem) == (
        "",
        "the pod declares no port; name one in spec.backends",
    )


def test_nothing_is_looked_up_twice() -> None:
    cache = kinds.new_cache()
    cache.upsert(kinds.GALLERY, gallery())
    found = Targets(cache)
    assert found.refresh(0.0) == {}
    assert found.refresh(10.0) is None
    found.dirty = True
    assert found.refresh(10.0) == {}
    found.dirty = True
    assert found.refresh(10.5) is None
    assert found.refresh(11.0) == {}


def test_who_has_been_due_for_longest_is_first() -> None:
    turns = Turns()
    for name, moment in (("late", 9.0), ("first", 1.0), ("second", 2.0)):
        turns.set(("g", name), moment)
    assert turns.take(0.5) is None
    assert [turns.take(5.0), turns.take(5.0), turns.take(5.0)] == [
        ("g", "first"),
        ("g", "second"),
        None,
    ]


def test_turns_are_moved_hurried_and_dropped() -> None:
    turns = Turns()
    turns.set(("g", "a"), 1.0)
    turns.set(("g", "a"), 5.0)
    turns.set(("g", "b"), 9.0)
    turns.hurry(("g", "b"), 0.0)
    turns.hurry(("g", "nobody"), 0.0)
    assert turns.next() == 0.0
    assert turns.take(2.0) == ("g", "b")
    assert turns.take(2.0) is None
    turns.drop(("g", "a"))
    assert turns.next() is None
