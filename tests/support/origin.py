"""The origin server in the cluster, as the tests steer it; hack/origin holds the server."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from support.kube import Kube

_FOLDER = Path(__file__).resolve().parents[2] / "hack" / "origin"
sys.path.insert(0, str(_FOLDER))  # the server's modules import each other by their bare names
import content  # noqa: E402

__all__ = ["URL", "Origin", "body", "flipped"]

URL = "http://origin.origin.svc"
_PROXY = "/api/v1/namespaces/origin/services/origin:80/proxy"


def body(path: str) -> content.Body:
    """Returns what the origin serves for a path, as long as no fault is set."""
    found = content.for_path(path)
    assert found is not None, path
    return found


def flipped(path: str) -> content.Body:
    """Returns what the origin serves for a path with the fault `corrupt`."""
    return content.Flipped(body(path))


@dataclass(frozen=True)
class Origin:
    """The origin, reached through the API server: no port of it is open on this machine."""

    kube: Kube

    def stats(self, path: str) -> dict[str, int]:
        """Returns what was served for one path."""
        everything = json.loads(self.kube.run("get", "--raw", f"{_PROXY}/-/stats"))
        nothing = {"requests": 0, "notModified": 0, "bytes": 0, "connections": 0}
        return dict(everything.get(path, nothing))

    def set_faults(self, path: str, **faults: Any) -> None:
        """Replaces the faults of one path: rate, corrupt, cutAfter, stallAfter, status."""
        self._post("/-/faults", json.dumps({path: faults}))

    def upload(self, path: str, text: str) -> None:
        """Serves the text under the path from now on."""
        self._post(f"/-/upload?path={quote(path)}", text)

    def _post(self, path: str, data: str) -> None:
        self.kube.run("create", "--raw", _PROXY + path, "-f", "-", stdin=data)
