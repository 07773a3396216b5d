"""The CRDs on a real API server: what it accepts, what it refuses, and with which words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support import kstatus
from support.kube import KubectlError
from support.stage import with_spec

NAMESPACE = "crds"
pytestmark = pytest.mark.integration

MODEL: dict[str, Any] = {
    "apiVersion": "modelgallery.dev/v1alpha1",
    "kind": "Model",
    "metadata": {"name": "m", "namespace": NAMESPACE},
    "spec": {"galleryName": "g", "source": {"entry": {"name": "Any name: 1_2"}}},
}
GALLERY: dict[str, Any] = {
    "apiVersion": "modelgallery.dev/v1alpha1",
    "kind": "Gallery",
    "metadata": {"name": "g", "namespace": NAMESPACE},
    "spec": {"index": {"configMap": {"name": "i"}}, "storage": {"claimName": "c"}},
}


@pytest.fixture(scope="module")
def kube(control_plane):
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    control_plane.kube.apply(document)
    return control_plane.kube


def create(kube, body: dict[str, Any]) -> None:
    kube.run("create", "--dry-run=server", "--validate=strict", "-f", "-", stdin=json.dumps(body))


def files(**changes: Any) -> dict[str, Any]:
    return {"source": {"files": [{"path": "a/b", "uri": "https://e/x", **changes}]}}


ACCEPTED: dict[str, dict[str, Any]] = {
    "an entry": MODEL,
    "a uri": with_spec(MODEL, source={"uri": "hf://o/r/f.gguf"}),
    "files": with_spec(MODEL, **files(sha256="a" * 64)),
    "a repository": with_spec(
        MODEL,
        source={"huggingFace": {"repo": "o/r.x", "revision": "v1", "include": ["*.gguf"]}},
        credentials={"secretName": "hub"},
    ),
    "a bucket": with_spec(
        MODEL, source={"s3": {"endpoint": "https://s3.corp", "bucket": "models", "key": "a/"}}
    ),
    "files of a GitHub": with_spec(
        MODEL, source={"gitHub": {"repo": "o/r.x", "path": "a/", "revision": "feature/x"}}
    ),
    "a release": with_spec(
        MODEL, source={"gitHub": {"endpoint": "https://ghe.corp", "repo": "o/r", "release": "v1"}}
    ),
    "a registry": with_spec(MODEL, source={"uri": "oci://ghcr.io/a/b:tag"}),
    "a policy and a limit": with_spec(
        GALLERY,
        policy={"formats": "Any"},
        worker={"bandwidthLimit": "500Mi"},
        caBundle={"configMapName": "ca"},
    ),
    "any configuration": with_spec(MODEL, config={"a": {"b": [1, "x", None]}}),
    "a served name": with_spec(MODEL, servedName="Llama 3.2:1b_q4"),
    "a Gallery": GALLERY,
    "a Gallery with a template": with_spec(GALLERY, storage={"claimTemplate": {"size": "1Gi"}}),
}


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(kube, body: dict[str, Any]) -> None:
    create(kube, body)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no source": (with_spec(MODEL, source={}), "exactly one of entry, uri, files"),
    "two sources": (
        with_spec(MODEL, source={"uri": "https://e/x", "entry": {"name": "x"}}),
        "exactly one of entry, uri, files",
    ),
    "a repository and a bucket": (
        with_spec(
            MODEL, source={"huggingFace": {"repo": "o/r"}, "s3": {"bucket": "models", "key": "x"}}
        ),
        "exactly one of entry, uri, files",
    ),
    "a repository without an owner": (
        with_spec(MODEL, source={"huggingFace": {"repo": "../r/x"}}),
        "huggingFace.repo",
    ),
    "a release at a revision": (
        with_spec(MODEL, source={"gitHub": {"repo": "o/r", "release": "v1", "revision": "x"}}),
        "release cannot be set together",
    ),
    "a release and a path": (
        with_spec(MODEL, source={"gitHub": {"repo": "o/r", "release": "v1", "path": "x"}}),
        "release cannot be set together",
    ),
    "a bucket that is a path": (
        with_spec(MODEL, source={"s3": {"bucket": "a/../b", "key": "x"}}),
        "s3.bucket",
    ),
    "no Secret": (with_spec(MODEL, credentials={}), "secretName"),
    "a Secret of another namespace": (
        with_spec(MODEL, credentials={"secretName": "hub", "namespace": "other"}),
        'unknown field "spec.credentials.namespace"',
    ),
    "an unknown policy of formats": (
        with_spec(GALLERY, policy={"formats": "Some"}),
        "Unsupported value",
    ),
    "a limit that is none": (
        with_spec(GALLERY, worker={"bandwidthLimit": "fast"}),
        "should match",
    ),
    "credentials in a URI": (
        with_spec(MODEL, source={"uri": "https://user:secret@e/x"}),
        "must not hold a user name or password",
    ),
    "a path upwards": (with_spec(MODEL, **files(path="../x")), "must be relative"),
    "a path from the root": (with_spec(MODEL, **files(path="/x")), "must be relative"),
    "a path into our folder": (
        with_spec(MODEL, **files(path=".modelgallery/x")),
        "must be relative",
    ),
    "no digest": (with_spec(MODEL, **files(sha256="abc")), "sha256"),
    "a served name with a slash": (with_spec(MODEL, servedName="a/b"), "must not contain slashes"),
    "an unknown field": (with_spec(MODEL, sorce={}), 'unknown field "spec.sorce"'),
    "an unknown policy": (with_spec(MODEL, deletionPolicy="Keep"), "Unsupported value"),
    "no index": (with_spec(GALLERY, index={}), "exactly one of http, configMap"),
    "no volume": (with_spec(GALLERY, storage={}), "exactly one of claimName, claimTemplate"),
    "no refresh at all": (
        with_spec(GALLERY, index={"configMap": {"name": "i"}, "refreshPeriodSeconds": 0}),
        "greater than or equal to 10",
    ),
    "a size that is none": (
        with_spec(GALLERY, storage={"claimTemplate": {"size": "big"}}),
        "should match",
    ),
}


@pytest.mark.parametrize(("body", "word"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(kube, body: dict[str, Any], word: str) -> None:
    with pytest.raises(KubectlError) as caught:
        create(kube, body)

    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("body", "change"),
    [
        (MODEL, {"galleryName": "other"}),
        (GALLERY, {"storage": {"claimName": "other"}}),
        (GALLERY, {"storage": {"claimTemplate": {"size": "1Gi"}}}),
        (GALLERY, {"storage": {"claimName": "c", "subPath": "x"}}),
    ],
)
def test_what_must_not_change(kube, body: dict[str, Any], change: dict[str, Any]) -> None:
    kube.apply(body)

    with pytest.raises(KubectlError, match="must not change"):
        kube.apply(with_spec(body, **change))


def test_nobody_takes_a_new_object_for_finished(kube) -> None:
    kube.apply(MODEL)
    found = kube.get("model", "m", NAMESPACE)

    assert found["status"] == {"observedGeneration": -1}
    assert kstatus.verdict(found) == kstatus.IN_PROGRESS


def test_short_names_columns_and_words(kube) -> None:
    kube.apply(MODEL)

    assert "READY" in kube.run("get", "mgm", "-n", NAMESPACE)
    assert "exactly" in kube.run("explain", "model.spec.source.entry.name")
    assert "m" in kube.run("get", "models", "-n", NAMESPACE, "--field-selector=spec.galleryName=g")
