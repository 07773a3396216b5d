"""Real serving backends as pods: manifests, a way to ask them, and load that ends by itself.

`hack/backends` makes the images; what it could not make is skipped. A test asks the fixture `backends`
for an image, which loads it into the cluster once, starts the pod and talks to it through the API
server, whose proxy works on every cluster, forwards status codes as they are and opens no port here.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from support.kube import wait_until
from support.stage import CLAIM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.cluster import Cluster

__all__ = [
    "Answer",
    "Backends",
    "Server",
    "busy",
    "generate",
    "kserve",
    "llamacpp",
    "loaded",
    "ollama",
    "router",
    "triton",
]

REPOSITORY = Path(__file__).resolve().parents[2]
MAKE = REPOSITORY / "hack" / "backends"
CLUSTER = REPOSITORY / "hack" / "e2e-cluster"
RECORDS = REPOSITORY / "tests" / "data" / "backends"
KIND_LABEL = "model-gallery-test/backend"
PORTS = {"llamacpp": 8080, "router": 8080, "ollama": 11434, "triton": 8000, "kserve": 8080}
TRITON_METRICS_PORT = 8002
LLAMA_SERVER = "/opt/ollama/lib/ollama/llama-server"


@dataclass(frozen=True)
class Answer:
    """What a backend answered."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.text)


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


@dataclass(frozen=True)
class Server:
    """A backend's pod that has become ready once.

    Attributes:
        door: the Unix socket of `kubectl proxy`.
        kind: llamacpp, router, ollama, triton or kserve.
    """

    door: Path
    namespace: str
    name: str
    kind: str

    def get(self, path: str, *, timeout: float = 30, port: int = 0) -> Answer:
        """Asks for a path of the pod; every status is an answer."""
        return self.call("GET", path, timeout=timeout, port=port)

    def post(self, path: str, body: Any = None, *, timeout: float = 30) -> Answer:
        """Posts JSON to a path of the pod."""
        return self.call("POST", path, body, timeout=timeout)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        timeout: float = 30,
        port: int = 0,
    ) -> Answer:
        """Sends one request.

        A key goes into `X-Api-Key`: the API server would take `Authorization` for its own.
        """
        connection = _Connection(self.door, timeout)
        try:
            return self.exchange(connection, method, path, body, headers=headers, port=port)
        finally:
            connection.close()

    def connect(self, timeout: float) -> _Connection:
        """Returns a connection for `exchange`, which the caller opens and closes."""
        return _Connection(self.door, timeout)

    def exchange(
        self,
        connection: _Connection,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        port: int = 0,
    ) -> Answer:
        """Sends one request over a connection that the caller may cut."""
        pod = f"{self.name}:{port or PORTS[self.kind]}"
        connection.request(
            method,
            f"/api/v1/namespaces/{self.namespace}/pods/{pod}/proxy{path}",
            None if body is None else json.dumps(body),
            {"Content-Type": "application/json", **(headers or {})},
        )
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, text)

    def record(self, version: str, state: str, requests: dict[str, str]) -> None:
        """Writes real answers into tests/data/backends, if MODEL_GALLERY_RECORD=1.

        Args:
            version: the folder's name, such as `ollama-0.32.15`.
            state: what the backend is doing, such as `busy`.
            requests: file name to request (`GET /slots`).
        """
        if os.environ.get("MODEL_GALLERY_RECORD") != "1":
            return
        for name, request in requests.items():
            method, path = request.split()
            port = TRITON_METRICS_PORT if (self.kind, path) == ("triton", "/metrics") else 0
            _keep(version, state, name, request, self.call(method, path, port=port))


def _keep(version: str, state: str, name: str, request: str, answer: Answer) -> None:
    """Writes an answer's body; its request, status and time, which expiries refer to, to index.json."""
    folder = RECORDS / version
    folder.mkdir(parents=True, exist_ok=True)
    try:
        shown = json.dumps(answer.json, indent=2) + "\n"
        file = folder / f"{state}-{name}.json"
    except ValueError:
        shown = answer.text
        file = folder / f"{state}-{name}.txt"
    file.write_text(shown)
    index = folder / "index.json"
    known = json.loads(index.read_text()) if index.exists() else {}
    kept = ("content-type", "server")
    known[file.name] = {
        "request": request,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "status": answer.status,
        "headers": {key: answer.headers[key] for key in kept if key in answer.headers},
    }
    index.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


@dataclass
class Backends:
    """The images that a cluster has, and the door to its pods."""

    cluster: Cluster
    folder: Path
    images: dict[str, str] = field(default_factory=dict)

    @property
    def door(self) -> Path:
        """The Unix socket of `kubectl proxy`."""
        return self.folder / "kubectl"

    def image(self, name: str) -> str:
        """Returns the tag of llamacpp, ollama, triton or kserve once the cluster has it; else skips."""
        if name not in self.images:
            self.images[name] = self._load(name)
        return self.images[name]

    def start(self, pod: dict[str, Any], timeout: float = 90) -> Server:
        """Applies the pod; returns once it is ready."""
        server = self.launch(pod)
        kube, place = self.cluster.kube, server.namespace

        def ready() -> bool:
            found = kube.get("pod", server.name, place) or {}
            conditions = found.get("status", {}).get("conditions", [])
            return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

        def describe() -> str:
            with suppress(AssertionError):
                print(kube.run("logs", server.name, "-n", place, "--tail=40"))
            return kube.run("describe", "pod", server.name, "-n", place)

        wait_until(f"backend {place}/{server.name} is ready", ready, timeout, describe)
        return server

    def launch(self, pod: dict[str, Any]) -> Server:
        """Applies the pod and waits for nothing: for what a backend says while it loads."""
        self.cluster.kube.apply(pod)
        meta = pod["metadata"]
        return Server(self.door, meta["namespace"], meta["name"], meta["labels"][KIND_LABEL])

    def _load(self, name: str) -> str:
        made = subprocess.run([MAKE, "which", name], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(made.stderr.strip())
        tag, archive = made.stdout.split()
        loaded = subprocess.run(
            [CLUSTER, "load", self.cluster.name, archive],
            capture_output=True,
            text=True,
            check=False,
        )
        if loaded.returncode:
            pytest.skip(f"the cluster takes no image: {loaded.stderr.strip()}")
        return tag


@pytest.fixture(scope="session")
def backends(full_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backends]:
    """Images are loaded when a test asks for one; the proxy runs as long as the session."""
    made = Backends(full_cluster, tmp_path_factory.mktemp("door"))
    command = ["kubectl", "proxy", f"--unix-socket={made.door}"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, env=os.environ | full_cluster.kube.environment
    ) as process:
        try:
            wait_until("kubectl proxy listens", made.door.exists, 10)
            yield made
        finally:
            process.terminate()


def llamacpp(
    image: str, namespace: str, model: str = "tiny.gguf", name: str = "llamacpp", **settings: Any
) -> dict[str, Any]:
    """One llama.cpp server for one model of the claim.

    Args:
        settings: `slots`, `context`, `sleep_seconds` and so on, as hack/backends.d/llamacpp/serve.py
            reads them.
    """
    environment = {f"LLAMACPP_{key.upper()}": str(value) for key, value in settings.items()}
    environment["LLAMACPP_MODEL"] = f"/models/{model}"
    return _pod("llamacpp", namespace, name, image, environment, ready="/health")


def router(
    image: str, namespace: str, name: str = "router", *, most: int = 2, slots: int = 2
) -> dict[str, Any]:
    """llama-server over all GGUF files of the claim; it loads them on demand, at most `most`."""
    command = [LLAMA_SERVER, "--host", "0.0.0.0", "--port", str(PORTS["router"])]
    command += ["--models-dir", "/models", "--models-max", str(most), "--offline", "--no-ui"]
    command += ["--metrics", "-c", "2048", "-np", str(slots), "--threads", "1"]
    return _pod("router", namespace, name, image, {}, ready="/health", command=command)


def ollama(
    image: str, namespace: str, *models: str, name: str = "ollama", **settings: Any
) -> dict[str, Any]:
    """Ollama with models that it made at its start from files of the claim, named by their stems.

    Args:
        settings: `keep_alive`, `num_parallel`, `max_queue` and so on, as Ollama's environment has them.
    """
    environment = {f"OLLAMA_{key.upper()}": str(value) for key, value in settings.items()}
    environment["IMPORT"] = " ".join(f"/models/{model}" for model in models)
    return _pod("ollama", namespace, name, image, environment, ready="/")


def triton(image: str, namespace: str, *models: str, name: str = "triton") -> dict[str, Any]:
    """Triton with the models echo, slow and broken of its image; `models` are loaded at the start.

    Its readiness asks for liveness only: `/v2/health/ready` turns false when any one model is not.
    """
    environment = {"LOAD": " ".join(models)}
    return _pod("triton", namespace, name, image, environment, ready="/v2/health/live")


def kserve(image: str, namespace: str, *files: str, name: str = "kserve") -> dict[str, Any]:
    """KServe's Python server with models that are files of the volume; none is loaded at the start."""
    models = (f"{Path(file).stem}=/models/{file}" for file in files)
    environment = {"MODELS": " ".join(models)}
    return _pod("kserve", namespace, name, image, environment, ready="/v2/health/live")


def _pod(
    kind: str,
    namespace: str,
    name: str,
    image: str,
    environment: dict[str, str],
    *,
    ready: str,
    command: list[str] | None = None,
) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": "backend",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "ports": [{"name": "http", "containerPort": PORTS[kind]}],
        "readinessProbe": {
            "httpGet": {"path": ready, "port": "http"},
            "periodSeconds": 1,
            "timeoutSeconds": 5,
        },
        "resources": {
            "requests": {"cpu": "20m", "memory": "64Mi"},
            "limits": {"memory": "1Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "models", "mountPath": "/models", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    if command:
        container["command"] = command
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app": name, KIND_LABEL: kind},
        },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [
                {"name": "models", "persistentVolumeClaim": {"claimName": CLAIM}},
                {"name": "tmp", "emptyDir": {}},
            ],
        },
    }


# A random model that is not kept from it repeats one token, at which Ollama stops early.
_WILD = {"temperature": 5, "top_k": 0, "repeat_penalty": 1.3}


def _request(server: Server, model: str, tokens: int) -> tuple[str, dict[str, Any]]:
    prompt = {"model": model, "prompt": "hi", "stream": False}
    match server.kind:
        case "ollama":
            return "/api/generate", {**prompt, "options": {**_WILD, "num_predict": tokens}}
        case "triton":
            value = {"name": "IN", "datatype": "FP32", "shape": [1], "data": [1.0]}
            return f"/v2/models/{model}/infer", {"inputs": [value]}
        case "kserve":
            return f"/v1/models/{model}:predict", {"seconds": 0}
        case _:
            return "/v1/completions", {**prompt, **_WILD, "max_tokens": tokens}


def generate(server: Server, model: str = "", tokens: int = 8, timeout: float = 120) -> Answer:
    """Asks a model for so many tokens and waits for them; Triton's and KServe's models know no tokens."""
    path, body = _request(server, model, tokens)
    return server.post(path, body, timeout=timeout)


@contextmanager
def busy(
    server: Server, model: str = "", *, requests: int = 2, tokens: int = 900, seconds: float = 120
) -> Iterator[None]:
    """Keeps a model at work inside of the block, one request after the other on each connection.

    The load ends after `seconds`, at the first answer that is no success, and with the block, which
    cuts the connections: the backends drop such requests. `tokens` are what one request asks for.
    """
    path, body = _request(server, model, tokens)
    connections = [server.connect(seconds) for _ in range(requests)]
    left, end = threading.Event(), time.monotonic() + seconds

    def ask(connection: _Connection) -> None:
        # A cut connection is how this ends when the block is left.
        with suppress(OSError, http.client.HTTPException):
            while not left.is_set() and time.monotonic() < end:
                if server.exchange(connection, "POST", path, body).status != http.client.OK:
                    return

    with ThreadPoolExecutor(requests) as pool:
        for connection in connections:
            connection.connect()
            connection.auto_open = 0  # one that was cut stays so
            pool.submit(ask, connection)
        try:
            yield
        finally:
            left.set()
            for connection in connections:
                if connection.sock is not None:
                    with suppress(OSError):  # it has ended by itself
                        connection.sock.shutdown(socket.SHUT_RDWR)
            # Closing is left to the end of the threads, which may still read.
    for connection in connections:
        connection.close()


def loaded(server: Server) -> set[str]:
    """Returns the names of the models that the backend holds in memory, as itself says.

    Nothing that is asked here loads or wakes a model.
    """
    match server.kind:
        case "ollama":
            listed = server.get("/api/ps").json["models"]
            return {one["name"].removesuffix(":latest") for one in listed}
        case "router":
            listed = server.get("/models").json["data"]
            return {one["id"] for one in listed if one["status"]["value"] == "loaded"}
        case "triton":
            listed = server.post("/v2/repository/index", {"ready": True}).json
            return {one["name"] for one in listed}
        case "kserve":
            return set(server.get("/v2/models").json["models"])
        case _:
            properties = server.get("/props")  # 503 while the model loads
            if properties.status != http.client.OK or properties.json["is_sleeping"]:
                return set()
            return {one["id"] for one in server.get("/v1/models").json["data"]}
