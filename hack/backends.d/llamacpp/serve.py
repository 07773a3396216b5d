"""Serves one model with llama.cpp's own HTTP server until SIGTERM.

Settings come from the environment: LLAMACPP_MODEL (required), LLAMACPP_ALIAS, LLAMACPP_CONTEXT (tokens
for all slots together), LLAMACPP_SLOTS, LLAMACPP_THREADS, LLAMACPP_METRICS (0 answers 501),
LLAMACPP_PORT, LLAMACPP_SLEEP_SECONDS (unloads the model after so long without a request; -1 never) and
LLAMACPP_API_KEY. A model that does not load ends the process.
"""

from __future__ import annotations

import os
import signal

import xllamacpp


def setting(name: str, default: str) -> str:
    return os.environ.get(f"LLAMACPP_{name}", default)


def parameters() -> xllamacpp.CommonParams:
    wanted = xllamacpp.CommonParams()
    wanted.model.path = os.environ["LLAMACPP_MODEL"]
    if setting("ALIAS", ""):
        wanted.model_alias = {setting("ALIAS", "")}
    wanted.n_ctx = int(setting("CONTEXT", "2048"))
    wanted.n_parallel = int(setting("SLOTS", "2"))
    # Threads wait for each other by spinning: more than there are free cores make it slower.
    wanted.cpuparams.n_threads = int(setting("THREADS", "1"))
    wanted.endpoint_metrics = setting("METRICS", "1") == "1"
    wanted.hostnames = ["0.0.0.0"]  # noqa: S104 - a pod is reached from outside
    wanted.port = int(setting("PORT", "8080"))
    wanted.sleep_idle_seconds = int(setting("SLEEP_SECONDS", "-1"))
    if setting("API_KEY", ""):
        wanted.api_keys = [setting("API_KEY", "")]
    wanted.ui = False
    return wanted


def main() -> None:
    # Blocked before the server makes its threads, so that the wait below gets the signals.
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    server = xllamacpp.Server(parameters())
    print(f"serves {os.environ['LLAMACPP_MODEL']} at {server.listening_address}")
    signal.sigwait(ends)


if __name__ == "__main__":
    main()
