"""A tiny API server on loopback: it says what a test tells it to, and remembers what it was asked."""

import contextlib
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from model_gallery.runtime.client import ApiClient


@dataclass
class Seen:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class FakeApi:
    """Answers with `answers` one after the other; a callable is a handler of aiohttp."""

    kubeconfig: str = ""
    answers: list[Any] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    calls: list[tuple[str, str, int, float]] = field(default_factory=list)

    def says(self, status=200, body=None, **headers):
        self.answers.append((status, body if body is not None else {"metadata": {}}, headers))

    async def handle(self, request):
        text = await request.text()
        self.seen.append(
            Seen(
                request.method,
                request.path,
                dict(request.query),
                dict(request.headers),
                json.loads(text) if text else None,
            )
        )
        answer = self.answers.pop(0)
        if callable(answer):
            return await answer(request)
        status, body, headers = answer
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(
            status=status, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )


@contextlib.asynccontextmanager
async def serving(app, tmp_path):
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": address}}],
            "users": [{"name": "u", "user": {"token": "canary-token"}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config))
        yield str(path)
    finally:
        await runner.cleanup()


@pytest.fixture
async def api(tmp_path):
    fake = FakeApi()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.handle)
    async with serving(app, tmp_path) as fake.kubeconfig:
        yield fake


@pytest.fixture
async def client(api):
    client = ApiClient(kubeconfig=api.kubeconfig, on_call=lambda *call: api.calls.append(call))
    yield client
    await client.close()
