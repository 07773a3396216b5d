"""Pods that answer as backends do and load nothing: what a monitor sees of them is known beforehand."""

from __future__ import annotations

import json
from typing import Any

from support.stage import CLAIM

__all__ = ["llamacpp", "ollama"]

_PORT = 8000
_SERVER = """
import json, os, http.server
pages = json.loads(os.environ["PAGES"])

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = os.environ["SERVER"], ""

    def version_string(self):
        return self.server_version

    def tell(self, page):
        data = (page if isinstance(page, str) else json.dumps(page)).encode()
        self.send_response(200 if page is not None else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.tell(pages.get(self.path.partition("?")[0]))

    def do_POST(self):
        wish = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        # Ollama's way to unload.
        if self.path == "/api/generate" and wish.get("keep_alive") == 0:
            held = pages["/api/ps"]["models"]
            held[:] = [one for one in held if wish["model"] not in (one["name"], one["model"])]
        self.tell({})

    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""


def ollama(image: str, namespace: str, models: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Holds models until it is told to unload them.

    Args:
        models: served name to bytes of RAM and of accelerator memory.
    """
    held = [
        {
            "name": f"{name}:latest",
            "model": f"{name}:latest",
            "size": ram + vram,
            "size_vram": vram,
            "expires_at": "2319-01-01T00:00:00Z",
        }
        for name, (ram, vram) in models.items()
    ]
    pages = {
        "/": "Ollama is running",
        "/api/version": {"version": "0.1.0"},
        "/api/ps": {"models": held},
    }
    return _pod("ollama", "ollama", image, namespace, pages)


def llamacpp(
    image: str, namespace: str, model: str, *, running: int, waiting: int
) -> dict[str, Any]:
    """Works on requests for one model of the claim, for ever on the same."""
    path = f"/models/{model}"
    metrics = f"llamacpp:requests_processing {running}\nllamacpp:requests_deferred {waiting}\n"
    pages = {
        "/health": {"status": "ok"},
        "/props": {"model_path": path, "build_info": "b1", "endpoint_metrics": True},
        "/v1/models": {"data": [{"id": path}]},
        "/metrics": metrics,
    }
    return _pod("llamacpp", "llama.cpp", image, namespace, pages)


def _pod(name: str, server: str, image: str, namespace: str, pages: dict[str, Any]) -> Any:
    environment = {"PAGES": json.dumps(pages), "SERVER": server}
    container = {
        "name": "backend",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/opt/model-gallery/bin/python", "-c", _SERVER],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        "ports": [{"name": "http", "containerPort": _PORT}],
        "readinessProbe": {"tcpSocket": {"port": _PORT}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "models", "mountPath": "/models", "readOnly": True}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"fake": name}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "fsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
            "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": CLAIM}}],
        },
    }
