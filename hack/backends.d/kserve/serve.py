"""Serves models of KServe's Python server, each a file; what it answers is the digest of the file.

MODELS names them, as `name=path` with spaces between; LOAD those that are loaded at the start. The others
are loaded and unloaded by requests, as the server's model repository extension allows.
"""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import kserve

PORT = 8080


class File(kserve.Model):
    """A model that holds a file in memory."""

    def __init__(self, name: str, path: Path) -> None:
        super().__init__(name)
        self._path = path
        self._content = b""

    def load(self) -> bool:
        """Reads the file."""
        self._content = self._path.read_bytes()
        self.ready = True
        return self.ready

    def predict(self, payload: dict[str, Any], headers: Any = None) -> dict[str, Any]:  # noqa: ARG002 - KServe's form
        """Returns the digest; `seconds` of the payload block the server meanwhile, as real work does."""
        time.sleep(float(payload.get("seconds", 0)))
        return {"predictions": [hashlib.sha256(self._content).hexdigest()]}


class Files(kserve.ModelRepository):
    """The models that can be loaded."""

    def __init__(self, paths: dict[str, Path]) -> None:
        super().__init__()
        self._paths = paths

    def load(self, name: str) -> bool:
        """Loads a model by its name."""
        model = File(name, self._paths[name])
        self.update(model)
        return model.load()


def main() -> None:
    paths = dict(one.split("=", 1) for one in os.environ["MODELS"].split())
    files = Files({name: Path(path) for name, path in paths.items()})
    for name in os.environ.get("LOAD", "").split():
        files.load(name)
    server = kserve.ModelServer(registered_models=files, http_port=PORT, enable_grpc=False)
    server.start([])


if __name__ == "__main__":
    main()
