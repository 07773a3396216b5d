"""Serves /healthz, /readyz and /metrics. Each answer comes from memory, so that a probe never waits."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from model_gallery.telemetry.health import Heartbeat
from model_gallery.telemetry.metrics import Metrics

__all__ = ["Server"]

_CONNECTIONS = 64
"""Connections that wait to be accepted; probes and scrapes are a handful."""
_LARGEST_REQUEST = 4096
_UNAVAILABLE = 503


class Server:
    """The HTTP server for probes and scrapes.

    Args:
        ready: asked at each /readyz.
        heartbeat: asked at each /healthz.
    """

    def __init__(
        self, metrics: Metrics, *, ready: Callable[[], bool], heartbeat: Heartbeat | None = None
    ) -> None:
        self._metrics = metrics
        self._ready = ready
        self._heartbeat = heartbeat or Heartbeat()
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens until closed.

        Args:
            port: 0 for any that is free.

        Returns:
            The port.

        Raises:
            OSError: the address cannot be used.
        """
        app = web.Application(client_max_size=_LARGEST_REQUEST)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._scrape)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=15, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, backlog=_CONNECTIONS).start()
        self._heartbeat.start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stops to listen."""
        self._heartbeat.stop()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _request: web.Request) -> web.Response:
        return _verdict(self._heartbeat.alive())

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _verdict(self._ready())

    async def _scrape(self, _request: web.Request) -> web.Response:
        body, content_type = self._metrics.render()
        return web.Response(body=body, headers={"Content-Type": content_type})


def _verdict(good: bool) -> web.Response:  # noqa: FBT001 - the one thing that it is about
    return web.Response(text="ok\n") if good else web.Response(text="no\n", status=_UNAVAILABLE)
