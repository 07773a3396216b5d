"""The webhook: one route over TLS, no cluster, no state; a renewed certificate is taken as it comes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from model_gallery import __version__
from model_gallery.api.conditions import Reason
from model_gallery.errors import GalleryError, StalledError
from model_gallery.telemetry import logs, sockets
from model_gallery.webhook import injection
from model_gallery.webhook.injection import Sidecar

__all__ = ["Certificate", "application", "main"]

_LOG = logging.getLogger(__name__)
_PREFIX = "MODEL_GALLERY_WEBHOOK_"
_HOST = ""  # every address, IPv4 and IPv6: the API server asks from outside of the pod
_LARGEST_PORT = 65_535
_CONNECTIONS = 128
_LARGEST_REVIEW = 8 * 1024 * 1024
"""More than two pods as large as an API server stores them."""
_RENEWAL_SECONDS = 10.0
_STOP_SECONDS = 2.0
_BAD_REQUEST = 400


@dataclass(frozen=True, slots=True)
class _Settings:
    """What the chart says.

    Attributes:
        certificates: folder with tls.crt and tls.key.
    """

    sidecar: Sidecar
    certificates: Path
    port: int


class Certificate:
    """The server's certificate, as it lies in its folder.

    Args:
        folder: with `tls.crt` and `tls.key`, as a mounted Secret of that type has them.

    Raises:
        StalledError: it cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._loaded = self._stamp()
        self._load()

    def refresh(self) -> bool:
        """Takes a renewed one for connections to come; returns whether there was one.

        Raises:
            StalledError: the renewed one cannot be used; the former stays.
        """
        stamp = self._stamp()
        if stamp == self._loaded:
            return False
        self._loaded = stamp
        self._load()
        return True

    def _stamp(self) -> tuple[int, ...]:
        try:
            return tuple(
                (self._folder / name).stat().st_mtime_ns for name in ("tls.crt", "tls.key")
            )
        except OSError as error:
            raise _unusable(self._folder, error) from error

    def _load(self) -> None:
        pair = self._folder / "tls.crt", self._folder / "tls.key"
        try:
            # A context that refuses a key has already taken the new certificate, and dropped its own key.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*pair)
            self.context.load_cert_chain(*pair)
        except (OSError, ssl.SSLError) as error:
            raise _unusable(self._folder, error) from error


def _unusable(folder: Path, error: Exception) -> StalledError:
    message = f"{folder} must hold a certificate in tls.crt and its key in tls.key: {error}"
    return StalledError(Reason.CERTIFICATE_INVALID, message[:500])


def application(sidecar: Sidecar) -> web.Application:
    """Returns the routes: POST /inject, and GET /healthz for probes."""

    async def inject(request: web.Request) -> web.Response:
        try:
            return web.json_response(injection.answer(json.loads(await request.read()), sidecar))
        except (injection.NotAReview, ValueError, RecursionError) as error:
            return web.Response(status=_BAD_REQUEST, text=f"{error}\n"[:500])

    async def healthz(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    app = web.Application(client_max_size=_LARGEST_REVIEW)
    app.router.add_post("/inject", inject)
    app.router.add_get("/healthz", healthz)
    return app


def main() -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code."""
    logs.configure("INFO")
    try:
        wish = _settings(os.environ)
        certificate = Certificate(wish.certificates)
    except GalleryError as error:
        sys.stderr.write(f"model-gallery webhook: {error.message}\n")
        return 2
    asyncio.run(_serve(wish, certificate))
    return 0


async def _serve(wish: _Settings, certificate: Certificate) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(
        application(wish.sidecar), access_log=None, shutdown_timeout=_STOP_SECONDS
    )
    await runner.setup()
    place = sockets.listening(_HOST, wish.port, _CONNECTIONS)
    site = web.SockSite(runner, place, ssl_context=certificate.context, backlog=_CONNECTIONS)
    await site.start()
    _LOG.info("Serving", extra={"version": __version__, "port": wish.port})
    try:
        while not stop.is_set():
            _renew(certificate)
            try:
                async with asyncio.timeout(_RENEWAL_SECONDS):
                    await stop.wait()
            except TimeoutError:
                continue
    finally:
        await runner.cleanup()


def _renew(certificate: Certificate) -> None:
    try:
        if certificate.refresh():
            _LOG.info("Took a renewed certificate")
    except GalleryError as error:
        _LOG.error("Kept the former certificate", extra={"error": error.message})


def _settings(environment: Mapping[str, str]) -> _Settings:
    def get(name: str, default: str = "") -> str:
        return environment.get(_PREFIX + name, default).strip()

    port, image = get("PORT", "9443"), get("SIDECAR_IMAGE")
    if not port.isascii() or not port.isdigit() or int(port) > _LARGEST_PORT:
        raise _invalid("PORT", f"must be a port, not {port[:20]!r}")
    if not image:
        raise _invalid("SIDECAR_IMAGE", "must name the image of the sidecar")
    resources = _resources(get("SIDECAR_RESOURCES", "{}"))
    sidecar = Sidecar(image, get("SIDECAR_PULL_POLICY", "IfNotPresent"), resources)
    return _Settings(sidecar, Path(get("CERTIFICATES", "/var/run/model-gallery/tls")), int(port))


def _resources(text: str) -> dict[str, dict[str, str]]:
    """Returns requests and limits; the API server refuses pods whose quantities are none."""
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise _invalid("SIDECAR_RESOURCES", f"must be JSON: {error}") from error
    parts = value.values() if isinstance(value, dict) else ()
    if not isinstance(value, dict) or not all(isinstance(part, dict) for part in parts):
        raise _invalid("SIDECAR_RESOURCES", "must be a JSON object with requests and limits")
    return value


def _invalid(name: str, problem: str) -> StalledError:
    return StalledError(Reason.INVALID_SPEC, f"environment variable {_PREFIX}{name} {problem}")
