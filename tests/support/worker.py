"""The origin and the worker as processes of this machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from model_gallery.protocol import operation
from model_gallery.protocol.report import ResultLine, parse_line

__all__ = ["MIB", "REPOSITORY", "Origin", "Out", "Worker"]

REPOSITORY = Path(__file__).parents[2]
MIB = 1 << 20
_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""
"""Prints the peak in KiB of the command that it is given."""


class Out(io.StringIO):
    """Keeps what a reporter says."""

    def drain(self, _seconds: float) -> bool:
        return True


class Origin:
    """The project's origin server as a process on loopback."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def call(self, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(self.url + path, data, timeout=10) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")

    def faults(self, path: str, **faults: Any) -> None:
        self.call("/-/faults", {path: faults})

    def connections(self, path: str) -> int:
        return self.call("/-/stats")[path]["connections"]

    def bytes(self, path: str) -> int:
        return self.call("/-/stats").get(path, {}).get("bytes", 0)

    def requests(self, path: str) -> int:
        return self.call("/-/stats").get(path, {}).get("requests", 0)

    def sha256(self, path: str) -> str:
        digest = hashlib.sha256()
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:  # noqa: S310
            while block := answer.read(MIB):
                digest.update(block)
        self.call("/-/reset", {})
        return digest.hexdigest()


class Worker:
    """Runs operations for one Model on one folder.

    Attributes:
        module: what is run; another one may wrap the product (support/failpoints.py).
        inside: a command that runs the worker's in other surroundings; empty: none.
        environment: variables beside the usual ones.
    """

    def __init__(self, root: Path, uid: str = "uid-1") -> None:
        self.root = root
        self.uid = uid
        self.module = "model_gallery"
        self.inside: tuple[str, ...] = ()
        self.environment: dict[str, str] = {}
        self.log = root.parent / f"termination-{uid}"
        root.mkdir(exist_ok=True)

    def install(self, *given: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Returns an install operation; `more` are further fields of it."""
        files = list(given) or more.pop("files", [])
        wish = json.dumps([files, more.get("repository")])
        return {
            "kind": "install",
            "owner": {"namespace": "ns", "name": self.uid, "uid": self.uid},
            "planDigest": hashlib.sha256(wish.encode()).hexdigest(),
            "files": files,
            "network": {"allowedNetworks": ["127.0.0.0/8"]},
            **more,
        }

    def start(
        self, wish: dict[str, Any], *, keep_output: bool = False, output: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts an operation.

        Args:
            output: descriptor for all that it says; None: two pipes, of which one may be dropped.
        """
        command = [*self.inside, sys.executable, "-m", self.module, "worker"]
        stdout = subprocess.PIPE if keep_output else subprocess.DEVNULL
        return subprocess.Popen(
            command,
            env=self._environment(wish),
            stdout=stdout if output is None else output,
            stderr=subprocess.PIPE if output is None else output,
        )

    def _environment(self, wish: dict[str, Any]) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{REPOSITORY / 'operator'}{os.pathsep}{REPOSITORY / 'tests'}",
            "MODEL_GALLERY_ROOT": str(self.root),
            "MODEL_GALLERY_TERMINATION_LOG": str(self.log),
            operation.ENV_OPERATION: json.dumps(wish),
            **self.environment,
        }

    def run(self, wish: dict[str, Any]) -> tuple[int, ResultLine]:
        process = self.start(wish)
        _, errors = process.communicate(timeout=120)
        line = parse_line(self.log.read_text())
        assert isinstance(line, ResultLine), errors.decode()
        return process.returncode, line

    def measured(
        self, wish: dict[str, Any], output: Path, *, seconds: float = 120
    ) -> tuple[int, ResultLine]:
        """Runs an operation whose output goes to a file; returns its peak memory in bytes, and its result.

        A process of its own lies between: Linux counts the peak of whoever starts a program to the program.
        """
        command = [sys.executable, "-c", _MEASURE, sys.executable, "-m", "model_gallery", "worker"]
        with output.open("wb") as lines:
            done = subprocess.run(
                command,
                env=self._environment(wish),
                stdout=lines,
                stderr=subprocess.PIPE,
                check=True,
                timeout=seconds,
            )
        line = parse_line(self.log.read_text())
        assert isinstance(line, ResultLine), done.stderr.decode()
        return int(done.stderr.splitlines()[-1]) * 1024, line

    def remove(self, *, retain: bool = False) -> tuple[int, ResultLine]:
        owner = {"namespace": "ns", "name": self.uid, "uid": self.uid}
        return self.run({"kind": "remove", "owner": owner, "retainFiles": retain})

    def published(self) -> dict[str, str]:
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and ".modelgallery" not in path.parts
        }

    def everything(self) -> list[str]:
        return [str(path.relative_to(self.root)) for path in sorted(self.root.rglob("*"))]
