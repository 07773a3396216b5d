"""The sidecar process: one thread looks at processes, the event loop answers from what it last saw.

A look may hang with the file system that it asks about, so nobody waits for it: not a request, and not
the end of the pod.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import msgspec

from model_gallery import __version__
from model_gallery.api.conditions import Reason
from model_gallery.errors import GalleryError, StalledError
from model_gallery.monitor import attribution
from model_gallery.monitor.usage import ProcessReader
from model_gallery.protocol.usage import UsageReport
from model_gallery.sidecar.files import FileIndex
from model_gallery.storage.volume import Volume
from model_gallery.telemetry import logs
from model_gallery.telemetry.health import Heartbeat
from model_gallery.telemetry.plain import Page, PlainServer
from model_gallery.telemetry.sidecar import UsageMetrics

__all__ = ["Sampler", "main"]

_LOG = logging.getLogger(__name__)
_ENV_ROOT = "MODEL_GALLERY_ROOT"
_ENV_PORT = "MODEL_GALLERY_SIDECAR_PORT"
_HOST = ""  # every address, IPv4 and IPv6: the operator and Prometheus ask from other pods
_LARGEST_PORT = 65_535
_PERIOD = 5.0
_BUDGET = 2.0
"""Seconds for one look, less than the period."""
_STOP_SECONDS = 0.5
"""For a look in progress at the end; it is left behind after that."""


@dataclass(frozen=True, slots=True)
class _Settings:
    root: Path
    port: int


class Sampler:
    """Looks at the processes again and again, in a thread of its own.

    Args:
        period: seconds between the beginnings of two looks.
        on_end: called in the thread when it ends, be it by a bug.
    """

    def __init__(
        self, files: FileIndex, on_end: Callable[[], object], *, period: float = _PERIOD
    ) -> None:
        self._files = files
        self._on_end = on_end
        self._period = period
        self._reader = ProcessReader()
        self._latest: UsageReport | None = None
        self._stop = threading.Event()
        # A thread that hangs in the kernel must not keep the process.
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def start(self) -> None:
        """Begins, with a first look at once."""
        self._thread.start()

    def close(self) -> None:
        """Ends within `_STOP_SECONDS`."""
        self._stop.set()
        self._thread.join(_STOP_SECONDS)

    def latest(self) -> UsageReport | None:
        """Returns the last report; None before the first."""
        return self._latest

    def _run(self) -> None:
        tally, pause = attribution.NOTHING_YET, 0.0
        try:
            while not self._stop.wait(pause):
                began = time.monotonic()
                owned = self._files.current(began)
                snapshot = self._reader.read(owned, _BUDGET)
                self._latest, tally = attribution.report(snapshot, owned, tally)
                pause = max(0.0, began + self._period - time.monotonic())
        finally:
            self._on_end()


def main() -> int:
    """Runs the sidecar until SIGTERM or SIGINT; returns the exit code."""
    logs.configure("INFO")
    try:
        wish = _settings(os.environ)
        volume = Volume(wish.root)
    except GalleryError as error:
        sys.stderr.write(f"model-gallery sidecar: {error.message}\n")
        return 2
    except FileNotFoundError:
        sys.stderr.write(f"model-gallery sidecar: {_ENV_ROOT} must name a mounted volume\n")
        return 2
    return asyncio.run(_run(wish, volume))


def _settings(environment: Mapping[str, str]) -> _Settings:
    port = environment.get(_ENV_PORT, "9464")
    if not port.isascii() or not port.isdigit() or int(port) > _LARGEST_PORT:
        raise StalledError(Reason.INVALID_SPEC, f"{_ENV_PORT} must be a port, not {port[:20]!r}")
    return _Settings(Path(environment.get(_ENV_ROOT, "/models")), int(port))


async def _run(wish: _Settings, volume: Volume) -> int:
    loop = asyncio.get_running_loop()
    code: asyncio.Future[int] = loop.create_future()

    def end(value: int) -> None:
        if not code.done():
            code.set_result(value)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, 0)
    sampler = Sampler(FileIndex(volume, wish.root), lambda: loop.call_soon_threadsafe(end, 1))
    heartbeat = Heartbeat()
    server = PlainServer(_pages(sampler.latest, heartbeat))
    try:
        port = await server.start(_HOST, wish.port)
    except OSError as error:
        _LOG.error("Could not listen", extra={"port": wish.port, "error": str(error)})
        return 1
    heartbeat.start()
    sampler.start()
    _LOG.info("Started", extra={"version": __version__, "port": port, "root": str(wish.root)})
    try:
        return await code
    finally:
        heartbeat.stop()
        await server.close()
        sampler.close()
        volume.close()
        _LOG.info("Ended")


def _pages(
    latest: Callable[[], UsageReport | None], heartbeat: Heartbeat
) -> dict[str, Callable[[], Page]]:
    metrics = UsageMetrics(latest, version=__version__)

    def usage() -> Page:
        report = latest()
        if report is None:
            return Page(b"no look at the processes yet\n", status=HTTPStatus.SERVICE_UNAVAILABLE)
        return Page(msgspec.json.encode(report), "application/json")

    def scrape() -> Page:
        return Page(*metrics.render())

    def health() -> Page:
        if heartbeat.alive():
            return Page(b"ok\n")
        return Page(b"no\n", status=HTTPStatus.SERVICE_UNAVAILABLE)

    return {"/usage": usage, "/metrics": scrape, "/healthz": health}
