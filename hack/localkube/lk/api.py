"""A small client of the Kubernetes API, for readiness and the limited provisioner."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Object = dict[str, Any]


class ApiError(Exception):
    """An answer other than success; `status` is 0 when there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """The API server as one kubeconfig's user sees it."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self._server: str = cluster["server"]
        self._token: str = config["users"][0]["user"]["token"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=authority)

    def get(self, path: str) -> Object:
        """Read an object or a list."""
        return self._json("GET", path, None)

    def post(self, path: str, body: Object) -> Object:
        """Create an object."""
        return self._json("POST", path, body)

    def delete(self, path: str) -> None:
        """Delete an object; one that is gone already is no error."""
        try:
            self._json("DELETE", path, None)
        except ApiError as error:
            if error.status != 404:
                raise

    def text(self, path: str) -> str:
        """Read an answer that is no JSON, such as /readyz."""
        with self._open("GET", path, None, timeout=5) as answer:
            content: bytes = answer.read()
            return content.decode()

    def watch(self, path: str, resource_version: str, seconds: int) -> Iterator[Object]:
        """Yield the events of a list after a resource version, for some seconds."""
        query = f"?watch=true&resourceVersion={resource_version}&timeoutSeconds={seconds}"
        with self._open("GET", path + query, None, timeout=seconds + 10) as answer:
            for line in answer:
                yield json.loads(line)

    def _json(self, method: str, path: str, body: Object | None) -> Object:
        with self._open(method, path, body, timeout=20) as answer:
            parsed: Object = json.load(answer)
            return parsed

    def _open(self, method: str, path: str, body: Object | None, timeout: float) -> Any:
        request = urllib.request.Request(  # noqa: S310  (the server is the cluster's own, https)
            self._server + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "User-Agent": "localkube",
            },
        )
        try:
            # An environment's proxy settings are not for an address of this machine.
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self._tls)
            )
            return opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            message = error.read().decode(errors="replace")
            raise ApiError(f"{method} {path}: {error.code}: {message[:300]}", error.code) from error
        except OSError as error:
            raise ApiError(f"{method} {path}: {error}") from error
