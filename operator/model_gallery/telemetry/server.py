"""Serves /healthz, /readyz, /metrics and /v1/models. Each answer comes from memory: nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from multidict import MultiMapping

from model_gallery.api.conditions import Reason
from model_gallery.errors import GalleryError
from model_gallery.telemetry import sockets
from model_gallery.telemetry.health import Heartbeat
from model_gallery.telemetry.metrics import Metrics

__all__ = ["Models", "Query", "Server"]

_CONNECTIONS = 64
"""Connections that wait to be accepted; probes and scrapes are a handful."""
_LARGEST_REQUEST = 4096
_LONGEST_VALUE = 512
_UNAVAILABLE, _NOT_FOUND, _BAD_REQUEST = 503, 404, 400
_ROUTES = ("/healthz", "/readyz", "/metrics", "/v1/models")

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a request, each cut at 512 characters."""

    values: MultiMapping[str]

    def names(self) -> set[str]:
        """Returns the names of all parameters."""
        return set(self.values)

    def one(self, name: str) -> str:
        """Returns the first value of a parameter; empty without one."""
        return self.values.get(name, "")[:_LONGEST_VALUE]

    def all(self, name: str) -> list[str]:
        """Returns all values of a parameter."""
        return [value[:_LONGEST_VALUE] for value in self.values.getall(name, [])]


Models = Callable[[Query], object]
"""Returns the answer of /v1/models; raises GalleryError for a bad request."""


class Server:
    """The HTTP server for probes, scrapes and listings.

    Args:
        ready: asked at each /readyz.
        models: asked at each /v1/models.
        heartbeat: asked at each /healthz.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        ready: Callable[[], bool],
        models: Models,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        self._metrics = metrics
        self._ready = ready
        self._models = models
        self._heartbeat = heartbeat or Heartbeat()
        self._runner: web.AppRunner | None = None

    async def start(self, host: str, port: int) -> int:
        """Listens until closed.

        Args:
            host: empty: every address, IPv4 and IPv6.
            port: 0 for any that is free.

        Returns:
            The port.

        Raises:
            OSError: the address cannot be used.
        """
        app = web.Application(client_max_size=_LARGEST_REQUEST, middlewares=[self._measured])
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._scrape)
        app.router.add_get("/v1/models", self._list)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=15, shutdown_timeout=1)
        await self._runner.setup()
        place = sockets.listening(host, port, _CONNECTIONS)
        await web.SockSite(self._runner, place, backlog=_CONNECTIONS).start()
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

    async def _list(self, request: web.Request) -> web.Response:
        if not self._ready():
            return _verdict(False)
        try:
            return web.json_response(self._models(Query(request.query)))
        except GalleryError as error:
            status = _NOT_FOUND if error.reason is Reason.NOT_FOUND else _BAD_REQUEST
            told = {"message": error.message, "type": "invalid_request_error", "code": error.reason}
            return web.json_response({"error": told}, status=status)

    @web.middleware
    async def _measured(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        # Paths that are not ours are one: a scanner must not make series.
        route = request.path if request.path in _ROUTES else "other"
        loop = asyncio.get_running_loop()
        began, code = loop.time(), 500
        try:
            answer = await handler(request)
            code = answer.status
        except web.HTTPException as refusal:
            code = refusal.status
            raise
        else:
            return answer
        finally:
            self._metrics.http_call(request.method, route, code, loop.time() - began)


def _verdict(good: bool) -> web.Response:  # noqa: FBT001 - the one thing that it is about
    return web.Response(text="ok\n") if good else web.Response(text="no\n", status=_UNAVAILABLE)
