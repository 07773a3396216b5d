"""The webhook that adds the sidecar where no policy can: asked by a real API server."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.kube import Kube, KubectlError, wait_until
from support.tls import context

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "charts" / "model-gallery-operator"
POLICY = "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy"
NAMESPACE = "default"
CHOSEN = ("sidecar.injection=true", "image.repository=registry/operator")
pytestmark = pytest.mark.integration


def render(kube: Kube, *values: str, policies: bool = False) -> list[dict[str, Any]]:
    arguments = [word for value in values for word in ("--set", value)]
    arguments += ["--api-versions", POLICY] if policies else []
    text = kube.program("helm", "template", "r", str(CHART), "--namespace", NAMESPACE, *arguments)
    return [document for document in yaml.safe_load_all(text) if document]


def of_webhook(documents: list[dict[str, Any]]) -> list[str]:
    component = "app.kubernetes.io/component"
    labelled = (
        one for one in documents if one["metadata"].get("labels", {}).get(component) == "webhook"
    )
    return sorted(one["kind"] for one in labelled)


ALL = ["Deployment", "MutatingWebhookConfiguration", "Secret", "Service"]
OWN = ("sidecar.webhook.secretName=own",)


@pytest.mark.parametrize(
    ("values", "policies", "want"),
    [
        ((), False, []),
        (("sidecar.webhook.use=Always",), False, []),
        (("sidecar.injection=true",), False, ALL),
        (("sidecar.injection=true",), True, []),
        (("sidecar.injection=true", "sidecar.webhook.use=Always"), True, ALL),
        (("sidecar.injection=true", "sidecar.webhook.use=Never"), False, []),
        (
            ("sidecar.injection=true", *OWN, "sidecar.webhook.caBundle=Zg=="),
            False,
            [kind for kind in ALL if kind != "Secret"],
        ),
        (
            ("sidecar.injection=true", *OWN, "sidecar.webhook.annotations.of=them"),
            False,
            [kind for kind in ALL if kind != "Secret"],
        ),
        (
            ("sidecar.injection=true", "networkPolicy.enabled=true"),
            False,
            sorted([*ALL, "NetworkPolicy"]),
        ),
    ],
)
def test_when_it_is_made(control_plane, values, policies: bool, want: list[str]) -> None:
    documents = render(control_plane.kube, *values, policies=policies)
    assert of_webhook(documents) == want
    both = {"MutatingAdmissionPolicy", "MutatingWebhookConfiguration"}
    assert len(both & {one["kind"] for one in documents}) <= 1


def test_its_pod_passes_restricted_and_knows_no_cluster(control_plane) -> None:
    found = deployment(render(control_plane.kube, *CHOSEN))["spec"]
    assert found["automountServiceAccountToken"] is False
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def deployment(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the webhook's, of a release named r."""
    (made,) = (
        one
        for one in documents
        if one["kind"] == "Deployment" and one["metadata"]["name"].endswith("-webhook")
    )
    return made["spec"]["template"]


def test_its_pod_is_placed_as_the_operators(control_plane) -> None:
    values = (
        "podAnnotations.one=first",
        "podLabels.two=second",
        "nodeSelector.three=third",
        "tolerations[0].key=fourth",
        "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.fifth=a",
        "priorityClassName=sixth",
    )
    template = deployment(render(control_plane.kube, *CHOSEN, *values))
    assert template["metadata"]["annotations"] == {"one": "first"}
    assert template["metadata"]["labels"]["two"] == "second"
    assert template["spec"]["nodeSelector"] == {"three": "third"}
    assert template["spec"]["tolerations"] == [{"key": "fourth"}]
    assert "nodeAffinity" in template["spec"]["affinity"]
    assert template["spec"]["priorityClassName"] == "sixth"


def test_its_network_policy_lets_the_api_server_in(control_plane) -> None:
    documents = render(control_plane.kube, *CHOSEN, "networkPolicy.enabled=true")
    labels = deployment(documents)["metadata"]["labels"]
    policies = [one["spec"] for one in documents if one["kind"] == "NetworkPolicy"]
    (of_it,) = (
        one for one in policies if one["podSelector"]["matchLabels"].items() <= labels.items()
    )
    assert of_it["ingress"] == [{"ports": [{"port": "https"}]}]


def test_a_sidecar_without_resources_is_one_with_none(control_plane) -> None:
    template = deployment(render(control_plane.kube, *CHOSEN, "sidecar.resources=null"))
    environment = {one["name"]: one["value"] for one in template["spec"]["containers"][0]["env"]}
    assert environment["MODEL_GALLERY_WEBHOOK_SIDECAR_RESOURCES"] == "{}"


def test_its_certificate_is_for_its_service(control_plane, tmp_path: Path) -> None:
    documents = render(control_plane.kube, *CHOSEN)
    (secret,) = (one for one in documents if one["kind"] == "Secret")
    (hook,) = (one for one in documents if one["kind"] == "MutatingWebhookConfiguration")
    client = hook["webhooks"][0]["clientConfig"]
    assert client["caBundle"] == secret["data"]["ca.crt"]
    host = f"{client['service']['name']}.{client['service']['namespace']}.svc"
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).write_bytes(base64.b64decode(secret["data"][name]))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    trusted = ssl.create_default_context(cadata=base64.b64decode(client["caBundle"]).decode())
    assert _shake_hands(trusted, server, host)


def _shake_hands(client: ssl.SSLContext, server: ssl.SSLContext, host: str) -> bool:
    """Lets the two meet in memory; raises where the client does not trust the server."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=host)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        for side in (one, other):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return one.version() is not None


def pod(name: str = "server", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {"modelgallery.dev/sidecar": "true"},
            "annotations": {"modelgallery.dev/volume": "weights"},
        },
        "spec": {
            "containers": [{"name": "server", "image": "server"}],
            "volumes": [{"name": "weights", "persistentVolumeClaim": {"claimName": "models"}}],
            **spec,
        },
    }


def admitted(kube: Kube, wish: dict[str, Any], namespace: str = NAMESPACE) -> dict[str, Any]:
    """Returns the pod as the API server would store it."""
    flags = ("--dry-run=server", "-o", "json", "-n", namespace, "-f", "-")
    return json.loads(kube.run("create", *flags, stdin=json.dumps(wish)))


def changed(found: dict[str, Any]) -> tuple[Any, Any]:
    """Returns what a sidecar changes; the token's mount has another name in each pod."""
    containers = found["spec"].get("initContainers")
    for one in containers or ():
        mounts = one.get("volumeMounts", [])
        one["volumeMounts"] = [m for m in mounts if not m["name"].startswith("kube-api-access-")]
    return containers, found["spec"].get("shareProcessNamespace")


SECURITY = {"runAsUser": 2000, "runAsGroup": 3000}
PODS: dict[str, dict[str, Any]] = {
    "plain": pod(),
    "with a user and a group": pod(securityContext=SECURITY),
    "root": pod(securityContext={"runAsUser": 0}),
    "with a container's own user": pod(
        containers=[{"name": "s", "image": "s", "securityContext": SECURITY}]
    ),
    "with an init container": pod(initContainers=[{"name": "prepare", "image": "prepare"}]),
    "with a sidecar": pod(
        initContainers=[
            {"name": "model-gallery-sidecar", "image": "own", "restartPolicy": "Always"}
        ]
    ),
    "with the host's processes": pod(hostPID=True),
    "without its volume": pod(volumes=[]),
    "without the annotation": {
        **pod(),
        "metadata": {"name": "server", "labels": {"modelgallery.dev/sidecar": "true"}},
    },
    "without the label": {
        **pod(),
        "metadata": {"name": "server", "annotations": {"modelgallery.dev/volume": "weights"}},
    },
}


def has_sidecar(kube: Kube, namespace: str = NAMESPACE) -> bool:
    return changed(admitted(kube, PODS["plain"], namespace))[0] is not None


def need_account(kube: Kube, namespace: str) -> None:
    """Pods need one, and nothing makes it beside a control plane alone."""
    accounts = kube.run("get", "serviceaccount", "-n", namespace, "-o", "name")
    if "serviceaccount/default" not in accounts:
        kube.run("create", "serviceaccount", "default", "-n", namespace)


@contextmanager
def in_force(kube: Kube, documents: list[dict[str, Any]]) -> Iterator[None]:
    kube.apply(*documents)
    try:
        wait_until("pods are changed", lambda: has_sidecar(kube), 60)
        yield
    finally:
        for document in documents:
            kube.run("delete", document["kind"], document["metadata"]["name"])
        wait_until("pods are left alone", lambda: not has_sidecar(kube), 60)


@pytest.fixture(scope="module")
def by_policy(control_plane) -> dict[str, Any]:
    """What the policy makes of each pod."""
    kube = control_plane.kube
    need_account(kube, NAMESPACE)
    documents = [
        one
        for one in render(kube, *CHOSEN, policies=True)
        if one["kind"].startswith("MutatingAdmissionPolicy")
    ]
    with in_force(kube, documents):
        return {name: changed(admitted(kube, wish)) for name, wish in PODS.items()}


def host_of(kube: Kube) -> str:
    """Returns where an API server reaches this machine: beside localkube's node, or on loopback."""
    node = kube.environment.get("LOCALKUBE_NODE_IP", "")
    return f"{node.rpartition('.')[0]}.1" if node else "127.0.0.1"


class Hook:
    """The webhook as a process of this machine."""

    def __init__(self, folder: Path, host: str) -> None:
        self.folder, self.certificates, self.host = folder, folder / "tls", host
        self.certificates.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.bundle = self.make("first")
        self.show("first")

    def make(self, name: str) -> str:
        """Makes a certificate; returns the authority that vouches for it."""
        made = self.folder / name
        made.mkdir()
        context(made, name=self.host)
        return base64.b64encode((made / "cert.pem").read_bytes()).decode()

    def show(self, name: str) -> None:
        """Lays a certificate that was made where the webhook finds it."""
        shutil.copy(self.folder / name / "key.pem", self.certificates / "tls.key")
        shutil.copy(self.folder / name / "cert.pem", self.certificates / "tls.crt")

    @contextmanager
    def running(self, image: str, resources: Any) -> Iterator[subprocess.Popen[bytes]]:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(REPOSITORY / "operator"),
            "MODEL_GALLERY_WEBHOOK_PORT": str(self.port),
            "MODEL_GALLERY_WEBHOOK_CERTIFICATES": str(self.certificates),
            "MODEL_GALLERY_WEBHOOK_SIDECAR_IMAGE": image,
            "MODEL_GALLERY_WEBHOOK_SIDECAR_RESOURCES": json.dumps(resources),
        }
        command = [sys.executable, "-m", "model_gallery", "webhook"]
        process = subprocess.Popen(command, env=environment)
        try:
            wait_until("it listens", self._listens, 30)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=10) == 0

    def _listens(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def configuration(self, made: dict[str, Any], bundle: str) -> dict[str, Any]:
        """Returns the chart's, with this machine in the place of the Service."""
        (hook,) = made["webhooks"]
        client = {"url": f"https://{self.host}:{self.port}/inject", "caBundle": bundle}
        return {**made, "webhooks": [{**hook, "clientConfig": client}]}


@pytest.fixture(scope="module")
def made(control_plane) -> dict[str, Any]:
    documents = render(control_plane.kube, *CHOSEN)
    (found,) = (one for one in documents if one["kind"] == "MutatingWebhookConfiguration")
    return found


def test_it_does_as_the_policy_does_and_holds_nobody_up(
    control_plane, by_policy, made, tmp_path: Path
) -> None:
    """Every pod comes out the same; a renewed certificate is taken; without it pods are still made."""
    kube = control_plane.kube
    hook = Hook(tmp_path, host_of(kube))
    (first,) = by_policy["plain"][0]
    with (
        hook.running(first["image"], first["resources"]) as process,
        in_force(kube, [hook.configuration(made, hook.bundle)]),
    ):
        assert {name: changed(admitted(kube, wish)) for name, wish in PODS.items()} == by_policy
        kube.apply(hook.configuration(made, hook.make("second")))
        wait_until("the first certificate is distrusted", lambda: not has_sidecar(kube), 60)
        hook.show("second")
        wait_until("the renewed certificate is shown", lambda: has_sidecar(kube), 60)
        process.terminate()
        assert process.wait(timeout=10) == 0
        assert admitted(kube, pod("orphan"))["metadata"]["name"] == "orphan"
        assert not has_sidecar(kube)


def test_only_the_watched_namespaces_pods_are_changed(control_plane, tmp_path: Path) -> None:
    kube = control_plane.kube
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "unwatched"}})
    for namespace in (NAMESPACE, "unwatched"):
        need_account(kube, namespace)
    documents = render(kube, *CHOSEN, "rbac.scope=namespace", f"watchNamespaces={{{NAMESPACE}}}")
    (limited,) = (one for one in documents if one["kind"] == "MutatingWebhookConfiguration")
    hook = Hook(tmp_path, host_of(kube))
    with hook.running("image", {}), in_force(kube, [hook.configuration(limited, hook.bundle)]):
        assert not has_sidecar(kube, "unwatched")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("sidecar.webhook.use=sometimes",), "use"),
        (OWN, "secretName needs sidecar.webhook.caBundle"),
        (("sidecar.webhook.caBundle=Zg==",), "belongs to the certificate of"),
    ],
)
def test_a_wrong_value_is_refused(control_plane, values: tuple[str, ...], words: str) -> None:
    with pytest.raises(KubectlError, match=words):
        render(control_plane.kube, *CHOSEN, *values)
