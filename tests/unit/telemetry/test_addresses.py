"""Each program answers over IPv4 and IPv6: a cluster may have pods of either kind alone."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from aiohttp import web

from model_gallery.controller.settings import from_environment
from model_gallery.sidecar import main as sidecar
from model_gallery.telemetry.plain import PlainServer
from model_gallery.webhook import main as webhook

OPERATOR = from_environment({"MODEL_GALLERY_WORKER_IMAGE": "image"}).host


def free_port() -> int:
    """Returns one that is free in both families."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as one:
        return int(one.getsockname()[1])


async def reached(port: int) -> list[str]:
    found = []
    for address in ("127.0.0.1", "::1"):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(address, port)
            writer.close()
            found.append(address)
    return found


async def test_the_sidecar() -> None:
    server = PlainServer({})
    port = await server.start(sidecar._HOST, free_port())
    try:
        assert await reached(port) == ["127.0.0.1", "::1"]
    finally:
        await server.close()


@pytest.mark.parametrize("host", [OPERATOR, webhook._HOST], ids=["operator", "webhook"])
async def test_the_operator_and_the_webhook(host: str) -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    port = free_port()
    try:
        await web.TCPSite(runner, host, port).start()
        assert await reached(port) == ["127.0.0.1", "::1"]
    finally:
        await runner.cleanup()
