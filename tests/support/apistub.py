"""An API server of one page on loopback: real HTTP, objects in memory, watches that follow a script.

For programs that are clients; what a real API server refuses or defaults is the business of the
integration tests.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["ApiStub", "serving"]

_KINDS = {
    "models": "Model",
    "galleries": "Gallery",
    "configmaps": "ConfigMap",
    "pods": "Pod",
    "events": "Event",
}
_PATH = re.compile(
    r"/(?:api/v1|apis/modelgallery\.dev/v1alpha1)"
    r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?P<log>/log)?\Z"
)


class ApiStub:
    """The state of the server.

    Attributes:
        objects: by plural, namespace and name.
        script: versions of Models that watches bring, one after the other; None: the Model goes.
        logs: by name of the pod.
        refusals: (method, plural) and the status and body that it gets.
        requests: what was asked: method, path with query, body.
        patience: False: a DELETE leaves the object, as a finalizer would.
        page: at most so many objects on each page of a list.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.script: list[tuple[str, str, dict[str, Any] | None]] = []
        self.logs: dict[str, bytes] = {}
        self.refusals: dict[tuple[str, str], tuple[int, str]] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.patience = True
        self.page = 500
        self.installed = True
        self.address = ""
        self._version = 100

    def add(self, plural: str, *found: dict[str, Any]) -> None:
        """Puts objects in."""
        for one in found:
            meta = one["metadata"]
            self.objects[plural, meta["namespace"], meta["name"]] = copy.deepcopy(one)

    def get(self, plural: str, namespace: str, name: str) -> dict[str, Any] | None:
        """Returns an object as it is now."""
        return self.objects.get((plural, namespace, name))

    def kubeconfig(self, path: Path, namespace: str = "models") -> str:
        """Writes a kubeconfig with the contexts `stub` and `other`; returns its path."""
        cluster = {"name": "stub", "cluster": {"server": self.address}}
        contexts = [
            {"name": "stub", "context": {"cluster": "stub", "user": "me", "namespace": namespace}},
            {"name": "other", "context": {"cluster": "stub", "user": "me", "namespace": "other"}},
        ]
        path.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [cluster],
                    "contexts": contexts,
                    "users": [{"name": "me", "user": {"token": "t"}}],
                    "current-context": "stub",
                }
            )
        )
        return str(path)

    def writes(self) -> list[tuple[str, Any]]:
        """Returns method and body of what was no GET."""
        return [(method, body) for method, _, body in self.requests if method != "GET"]

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Returns status and body; an iterator is a stream."""
        self.requests.append((method, path, body))
        parts = urlsplit(path)
        match = _PATH.match(parts.path)
        if match is None or (not self.installed and parts.path.startswith("/apis/")):
            return 404, b"404 page not found\n"
        plural = match["plural"]
        if (method, plural) in self.refusals:
            return self.refusals[method, plural]
        if match["log"]:
            return 200, self.logs[match["name"]]
        return self._served(method, parts, (plural, match["namespace"] or "", match["name"]), body)

    def _served(
        self, method: str, parts: Any, key: tuple[str, str, str], body: Any
    ) -> tuple[int, Any]:
        plural, namespace, name = key
        query = {word: values[0] for word, values in parse_qs(parts.query).items()}
        if query.get("watch"):
            return 200, self._watch()
        if method == "POST":
            return self._create(plural, namespace, body)
        if name is None:
            return 200, self._list(plural, namespace, query)
        return self._one(method, key, body)

    def _one(self, method: str, key: tuple[str, str, str], body: Any) -> tuple[int, Any]:
        found = self.objects.get(key)
        if found is None:
            return 404, _status(404, "NotFound", f'{key[0]} "{key[2]}" not found', key[2])
        if method == "PATCH":
            _merge(found, body)
        if method == "DELETE" and self.patience:
            del self.objects[key]
        return 200, found

    def _create(self, plural: str, namespace: str, body: Any) -> tuple[int, Any]:
        key = (plural, namespace, body["metadata"]["name"])
        if key in self.objects:
            return 409, _status(409, "AlreadyExists", f'"{key[2]}" already exists', key[2])
        body["metadata"] |= {
            "uid": f"uid-{key[2]}",
            "generation": 1,
            "managedFields": [{"manager": "test"}],
            "creationTimestamp": "2026-01-01T00:00:00Z",
        }
        self.objects[key] = body
        return 201, body

    def _list(self, plural: str, namespace: str, query: dict[str, str]) -> dict[str, Any]:
        items = [
            {key: value for key, value in one.items() if key not in {"kind", "apiVersion"}}
            for (kind, place, _), one in self.objects.items()
            if kind == plural and namespace in {"", place}
        ]
        begin = int(query.get("continue", "0"))
        meta = {"resourceVersion": str(self._version)}
        if begin + self.page < len(items):
            meta["continue"] = str(begin + self.page)
        kind = f"{_KINDS[plural]}List"
        return {"kind": kind, "metadata": meta, "items": items[begin : begin + self.page]}

    def _watch(self) -> Iterator[bytes]:
        while self.script:
            namespace, name, found = self.script.pop(0)
            key = ("models", namespace, name)
            if found is None:
                yield _line({"type": "DELETED", "object": self.objects.pop(key)})
            elif found.get("kind") == "Status":
                yield _line({"type": "ERROR", "object": found})
            else:
                self.add("models", found)
                yield _line({"type": "MODIFIED", "object": found})


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _status(code: int, reason: str, message: str, name: str = "") -> dict[str, Any]:
    details = {"name": name} if name else {}
    return {"kind": "Status", "code": code, "reason": reason, "message": message} | {
        "details": details
    }


def _merge(target: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


@contextmanager
def serving() -> Iterator[ApiStub]:
    """Yields the state of a server that listens on loopback."""
    stub = ApiStub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(length)
            status, body = stub.answer(self.command, self.path, json.loads(text) if text else None)
            if isinstance(body, dict | str | bytes):
                self._whole(status, body)
                return
            self.send_response(status)
            self.send_header("Connection", "close")
            self.end_headers()
            for chunk in body:
                self.wfile.write(chunk)
            self.close_connection = True

        def _whole(self, status: int, body: Any) -> None:
            data = json.dumps(body) if isinstance(body, dict) else body
            content = data.encode() if isinstance(data, str) else data
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = _answer  # noqa: N815 - as http.server has it

        def log_message(self, *_arguments: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    stub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
