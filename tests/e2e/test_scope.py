"""The chart with rbac.scope=namespace: an operator that starts and works without a cluster-scoped right."""

from __future__ import annotations

import json
from pathlib import Path

from support.kube import KubectlError, wait_until
from support.stage import RESTRICTED

CHART = Path(__file__).parents[2] / "charts" / "model-gallery-operator"


def test_an_operator_of_one_namespace_needs_no_cluster_scoped_right(stage, full_cluster):
    """It becomes ready, sees its namespace, and may see no other."""
    kube, space = stage.kube, stage.namespace
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": space, "labels": RESTRICTED},
        }
    )
    given = json.loads(
        kube.program(
            "helm", "get", "values", "model-gallery", "-n", "model-gallery-system", "-ojson"
        )
    )
    image = given["image"]
    kube.program(
        *("helm", "install", "scoped", str(CHART), "-n", space),
        *("--set", "rbac.scope=namespace,rbac.aggregate=false,crds.enabled=false"),
        *("--set", f"image.repository={image['repository']},image.tag={image['tag']}"),
        *("--wait", "--timeout", "90s"),
    )

    deployment = json.loads(kube.run("get", "deployment", "-n", space, "-o", "json"))["items"][0]
    account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
    user = f"--as=system:serviceaccount:{space}:{account}"
    assert may(kube, user, "list", "models.modelgallery.dev", "-n", space)
    assert may(kube, user, "create", "jobs", "-n", space)
    assert not may(kube, user, "get", "secrets", "-n", space)
    assert not may(kube, user, "list", "models.modelgallery.dev", "-A")
    assert not may(kube, user, "list", "namespaces")
    bindings = json.loads(kube.run("get", "clusterrolebindings", "-o", "json"))["items"]
    subjects = [subject for one in bindings for subject in one.get("subjects") or []]
    assert not [one for one in subjects if one.get("namespace") == space]
    log = wait_until(
        "it says what it watches",
        lambda: kube.run("logs", f"deployment/{deployment['metadata']['name']}", "-n", space),
        30,
    )
    assert f'"namespaces": ["{space}"]' in log
    kube.program("helm", "uninstall", "scoped", "-n", space, "--wait")


def may(kube, user, *what):
    """Returns whether the account may; kubectl's exit code says it."""
    try:
        kube.run("auth", "can-i", *what, user)
    except KubectlError:
        return False
    return True
