"""A backend on loopback that answers what a test writes down, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

import pytest
from aiohttp import web

from model_gallery.monitor import asking

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Backend:
    """Routes are `METHOD /path?query`, as sent; everything else is 404."""

    def __init__(self) -> None:
        self.routes: dict[str, list[tuple[bytes, int, dict[str, str]]]] = {}
        self.hanging: set[str] = set()
        self.asked: list[str] = []
        self.bodies: list[object] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    def on(self, route: str, body: object = b"", status: int = 200, **headers: str) -> None:
        """Answers so; several answers to one route come one after the other, the last for ever."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.routes.setdefault(route, []).append((content, status, headers))

    def hang(self, route: str) -> None:
        self.hanging.add(route)

    async def answer(self, request: web.BaseRequest) -> web.Response:
        route = f"{request.method} {request.raw_path}"
        self.asked.append(route)
        self.headers.append(dict(request.headers))
        sent = await request.read()
        if sent:
            self.bodies.append(json.loads(sent))
        if route in self.hanging:
            await asyncio.sleep(60)
        scripted = self.routes.get(route, [(b"", 404, {})])
        content, status, headers = scripted.pop(0) if len(scripted) > 1 else scripted[0]
        return web.Response(body=content, status=status, headers=headers)


@pytest.fixture
async def backend():
    made = Backend()
    runner = web.ServerRunner(
        web.Server(made.answer, access_log=None), shutdown_timeout=0.05, handle_signals=False
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def session():
    async with asking.new_session() as made:
        yield made


@pytest.fixture
def calls():
    return []


@pytest.fixture
def asker(backend, session, calls):
    return asking.Asker(
        session,
        backend.url,
        limits=asking.Limits(total_seconds=0.4, round_seconds=3.0),
        on_call=lambda *call: calls.append(call),
    )


@pytest.fixture
def now():
    return NOW
