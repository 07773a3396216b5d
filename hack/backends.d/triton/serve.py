"""Serves Triton with the models of this image; LOAD names those that are loaded at the start.

The others are loaded and unloaded by requests, as `--model-control-mode=explicit` allows.
"""

from __future__ import annotations

import os

SERVER = "/opt/triton/site/pytriton/tritonserver"
OPTIONS = [
    "--model-repository=/opt/triton/models",
    f"--backend-directory={SERVER}/backends",
    "--model-control-mode=explicit",
    "--exit-on-error=false",
    "--exit-timeout-secs=1",
    "--http-address=0.0.0.0",
    "--http-port=8000",
    "--grpc-address=0.0.0.0",
    "--grpc-port=8001",
    "--metrics-address=0.0.0.0",
    "--metrics-port=8002",
    "--allow-gpu-metrics=false",
    # A pod has 64 MiB of shared memory for all models.
    "--backend-config=python,shm-default-byte-size=1048576",
]


def main() -> None:
    program = f"{SERVER}/bin/tritonserver"
    wanted = [f"--load-model={name}" for name in os.environ.get("LOAD", "").split()]
    os.execv(program, [program, *OPTIONS, *wanted])  # noqa: S606 - signals are to reach the server


if __name__ == "__main__":
    main()
