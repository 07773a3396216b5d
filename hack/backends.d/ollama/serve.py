"""Serves Ollama with models made from files: IMPORT holds paths of GGUF files, named by their stems.

The models are made by a first server on loopback, so that the one that answers to the outside has them
all when it becomes ready. Ollama copies the files into its store.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAM = "/opt/ollama/bin/ollama"
LOOPBACK = {"OLLAMA_HOST": "127.0.0.1:11435"}
START_SECONDS = 60


def ollama(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([PROGRAM, *arguments], env=os.environ | LOOPBACK, check=False)


def wait_for_server() -> None:
    deadline = time.monotonic() + START_SECONDS
    while ollama("list").returncode:
        if time.monotonic() > deadline:
            raise SystemExit(f"the first server does not answer within {START_SECONDS} s")
        time.sleep(0.2)


def import_models(files: list[Path]) -> None:
    with subprocess.Popen([PROGRAM, "serve"], env=os.environ | LOOPBACK) as server:
        try:
            wait_for_server()
            for file in files:
                with tempfile.NamedTemporaryFile("w", suffix=".Modelfile") as recipe:
                    recipe.write(f"FROM {file}\n")
                    recipe.flush()
                    ollama("create", file.stem, "-f", recipe.name).check_returncode()
        finally:
            server.terminate()


def main() -> None:
    files = [Path(path) for path in os.environ.get("IMPORT", "").split()]
    if files:
        import_models(files)
    os.execv(PROGRAM, [PROGRAM, "serve"])  # noqa: S606 - signals are to reach the server itself


if __name__ == "__main__":
    main()
