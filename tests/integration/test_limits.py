"""Limits over all Galleries: the chart's policy in a real API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.kube import Kube, KubectlError, wait_until

CHART = Path(__file__).parents[2] / "charts" / "model-gallery-operator"
NAMESPACE = "limits"
LIMITS = (
    "limits.enabled=true",
    "limits.allowedHosts={huggingface.co,.Example.org}",
    "limits.maxGalleryBytes=500Gi",
    "limits.requireChecksums=true",
)
pytestmark = pytest.mark.integration


def render(kube: Kube, *values: str) -> list[dict[str, Any]]:
    arguments = [word for value in values for word in ("--set", value)]
    text = kube.program("helm", "template", "r", str(CHART), "--namespace", "system", *arguments)
    documents = [document for document in yaml.safe_load_all(text) if document]
    return [one for one in documents if one["kind"].startswith("ValidatingAdmissionPolicy")]


def gallery(**spec: Any) -> dict[str, Any]:
    """Returns a Gallery that keeps to all limits, but for what is given."""
    policy = {"allowedHosts": ["huggingface.co"], "checksums": "Required"} | spec.pop("policy", {})
    storage = {"claimName": "models", "maxBytes": "100Gi"} | spec.pop("storage", {})
    wish = {"index": {"configMap": {"name": "index"}}, "policy": policy, "storage": storage, **spec}
    return {
        "apiVersion": "modelgallery.dev/v1alpha1",
        "kind": "Gallery",
        "metadata": {"name": "g", "namespace": NAMESPACE},
        "spec": {key: _given(value) for key, value in wish.items()},
    }


def _given(value: Any) -> Any:
    return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


def admit(kube: Kube, wish: dict[str, Any], *flags: str) -> None:
    """Has the API server judge it, and stores nothing.

    Raises:
        KubectlError: it was refused.
    """
    kube.run("create", "--dry-run=server", *flags, "-f", "-", stdin=json.dumps(wish))


@pytest.fixture(scope="module")
def kube(control_plane):
    """With the policy in force, beside a Gallery from before it."""
    found = control_plane.kube
    found.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    old = gallery(policy={"checksums": None, "allowedHosts": None}, storage={"maxBytes": None})
    old["metadata"] |= {"name": "old", "finalizers": ["modelgallery.dev/test"]}
    found.apply(old)
    documents = render(found, *LIMITS)
    found.apply(*documents)
    wait_until("the policy is in force", lambda: _is_in_force(found), 60)
    yield found
    if found.get("gallery", "old", NAMESPACE):
        found.run("patch", "gallery", "old", "-n", NAMESPACE, *_merge(metadata={"finalizers": []}))
    for document in documents:
        found.run("delete", document["kind"], document["metadata"]["name"])
    wait_until("the policy is gone from the server's memory", lambda: not _is_in_force(found), 60)
    found.run("delete", "namespace", NAMESPACE, "--wait=false")


def _is_in_force(kube: Kube) -> bool:
    try:
        admit(kube, gallery(policy={"checksums": "WhenAvailable"}))
    except KubectlError:
        return True
    return False


def _merge(**patch: Any) -> tuple[str, ...]:
    return ("--type=merge", "-p", json.dumps(patch))


def http(url: str, *mirrors: str) -> dict[str, Any]:
    return {"http": {"url": url, "mirrors": list(mirrors)}}


@pytest.mark.parametrize(
    "wish",
    {
        "all limits kept": gallery(),
        "exactly the most": gallery(storage={"maxBytes": "500Gi"}),
        "the most in another unit": gallery(storage={"maxBytes": "0.4Ti"}),
        "hosts below a domain": gallery(
            policy={"allowedHosts": ["a.example.org", ".b.example.org"]}
        ),
        "the domain's pattern itself": gallery(policy={"allowedHosts": [".example.org"]}),
        "another spelling of a host": gallery(policy={"allowedHosts": ["HuggingFace.co"]}),
        "an index, a mirror and a rewrite inside": gallery(
            index=http("https://huggingface.co:443/i.yaml", "http://m.example.org/i.yaml"),
            rewrites=[{"prefix": "https://x.net/", "replacement": "https://m.EXAMPLE.org/"}],
        ),
        "what nothing was said about": gallery(policy={"licenses": ["mit"]}),
    }.items(),
    ids=lambda item: item[0],
)
def test_what_keeps_to_the_limits_is_taken(kube, wish) -> None:
    admit(kube, wish[1])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no hosts": (gallery(policy={"allowedHosts": None}), "spec.policy.allowedHosts must be set"),
    "empty hosts, which means any": (
        gallery(policy={"allowedHosts": []}),
        "spec.policy.allowedHosts must be set, to hosts out of huggingface.co, .Example.org",
    ),
    "a host of others": (
        gallery(policy={"allowedHosts": ["huggingface.co", "evil.net"]}),
        "spec.policy.allowedHosts must not hold evil.net: this cluster allows huggingface.co",
    ),
    "a wider pattern": (
        gallery(policy={"allowedHosts": [".org"]}),
        "spec.policy.allowedHosts must not hold .org",
    ),
    "the domain above": (
        gallery(policy={"allowedHosts": ["example.org"]}),
        "spec.policy.allowedHosts must not hold example.org",
    ),
    "a host that ends alike": (
        gallery(policy={"allowedHosts": ["nothuggingface.co"]}),
        "spec.policy.allowedHosts must not hold nothuggingface.co",
    ),
    "all below an allowed host": (
        gallery(policy={"allowedHosts": [".huggingface.co"]}),
        "spec.policy.allowedHosts must not hold .huggingface.co",
    ),
    "an index of others": (
        gallery(index=http("https://evil.net/i.yaml")),
        "must not name evil.net",
    ),
    "an index in its short form": (
        gallery(index=http("github:o/r/index.yaml@main")),
        "must not name raw.githubusercontent.com",
    ),
    "a mirror of others": (
        gallery(index=http("https://huggingface.co/i.yaml", "https://evil.net:8443/i.yaml")),
        "must not name evil.net",
    ),
    "a rewrite to others": (
        gallery(
            rewrites=[{"prefix": "https://huggingface.co/", "replacement": "http://evil.net/"}]
        ),
        "spec.rewrites[].replacement must not name evil.net",
    ),
    "no limit of bytes": (
        gallery(storage={"maxBytes": None}),
        "spec.storage.maxBytes must be set, and be 500Gi at most",
    ),
    "too many bytes": (gallery(storage={"maxBytes": "501Gi"}), "spec.storage.maxBytes must be set"),
    "too many in another unit": (
        gallery(storage={"maxBytes": "1P"}),
        "spec.storage.maxBytes must be set, and be 500Gi at most",
    ),
    "checksums by chance": (
        gallery(policy={"checksums": "WhenAvailable"}),
        "spec.policy.checksums must be Required",
    ),
    "no word on checksums": (
        gallery(policy={"checksums": None}),
        "spec.policy.checksums must be Required",
    ),
    "any format": (gallery(policy={"formats": "Any"}), "spec.policy.formats must be Safe"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_goes_beyond_is_refused_by_its_field(kube, name: str) -> None:
    wish, message = REFUSED[name]
    with pytest.raises(KubectlError) as refused:
        admit(kube, wish)

    assert message in str(refused.value)


def test_a_gallery_from_before_lives_on_until_its_wish_changes(kube) -> None:
    patch = ("patch", "gallery", "old", "-n", NAMESPACE)
    kube.run(*patch, *_merge(metadata={"labels": {"team": "a"}}))
    kube.run(*patch, "--subresource=status", *_merge(status={"observedGeneration": 1}))
    with pytest.raises(KubectlError, match=r"spec\.policy\.allowedHosts must be set"):
        kube.run(*patch, *_merge(spec={"suspend": True}))
    kube.delete("gallery", "old", NAMESPACE)
    kube.run(*patch, *_merge(metadata={"finalizers": []}))

    kube.wait_gone("gallery", "old", NAMESPACE)


def test_the_api_server_finds_nothing_wrong_with_the_expressions(kube) -> None:
    (policy, binding) = render(kube, *LIMITS)

    def checked() -> dict[str, Any] | None:
        found = json.loads(
            kube.run("get", policy["kind"], policy["metadata"]["name"], "-o", "json")
        )
        status: dict[str, Any] = found.get("status", {})
        seen = status.get("observedGeneration") == found["metadata"]["generation"]
        return status if seen else None

    assert binding["spec"]["validationActions"] == ["Deny"]
    status = wait_until("the expressions are checked", checked, 60)
    assert not status.get("typeChecking", {}).get("expressionWarnings")


@pytest.mark.parametrize(
    "values",
    [(), ("limits.requireChecksums=true",), ("limits.enabled=true", "limits.formats=Any")],
)
def test_there_is_no_policy_without_a_limit(control_plane, values: tuple[str, ...]) -> None:
    assert render(control_plane.kube, *values) == []


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("limits.allowedHosts={huggingface.co}", "policy.allowedHosts"),
        ("limits.maxGalleryBytes=1Ti", "storage.maxBytes"),
        ("limits.requireChecksums=true", "policy.checksums"),
        ("limits.formats=Safe", "policy.formats"),
    ],
)
def test_each_limit_is_set_by_itself(control_plane, value: str, field: str) -> None:
    none = "limits.enabled=true", "limits.formats=Any"
    policy, _ = render(control_plane.kube, *none, value)
    told = {
        name
        for name in (
            "policy.allowedHosts",
            "storage.maxBytes",
            "policy.checksums",
            "policy.formats",
        )
        if any(name in rule["expression"] + rule.get("message", "") for rule in _rules(policy))
    }

    assert told == {field}


def _rules(policy: dict[str, Any]) -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = policy["spec"]["validations"]
    return rules


def test_only_watched_namespaces_are_limited(control_plane) -> None:
    scope = "rbac.scope=namespace", "watchNamespaces={a,b}"
    policy, _ = render(control_plane.kube, *LIMITS, *scope)
    (terms,) = policy["spec"]["matchConstraints"]["namespaceSelector"]["matchExpressions"]

    assert terms["values"] == ["a", "b"]


@pytest.mark.parametrize(
    "value",
    [
        "limits.formats=Some",
        "limits.maxGalleryBytes=much",
        "limits.allowedHosts={https://huggingface.co}",
        "limits.maxModelsPerNamespace=3",
    ],
)
def test_a_wrong_value_is_refused(control_plane, value: str) -> None:
    with pytest.raises(KubectlError):
        render(control_plane.kube, value)
