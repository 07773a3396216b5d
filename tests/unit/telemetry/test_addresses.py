"""Each program answers over IPv4 and IPv6: a cluster may have pods of either kind alone."""

from __future__ import annotations

import socket

import aiohttp
import pytest

from model_gallery.controller.settings import from_environment
from model_gallery.sidecar import main as sidecar
from model_gallery.telemetry import sockets
from model_gallery.telemetry.metrics import Metrics
from model_gallery.telemetry.plain import Page, PlainServer
from model_gallery.telemetry.server import Server
from model_gallery.webhook import main as webhook

OPERATOR = from_environment({"MODEL_GALLERY_WORKER_IMAGE": "image"}).host


async def answering(port: int) -> list[str]:
    """Returns the addresses at which it is answered."""
    found = []
    async with aiohttp.ClientSession() as session:
        for address in ("127.0.0.1", "[::1]"):
            async with session.get(f"http://{address}:{port}/healthz") as answer:
                found += [address] if answer.status == 200 else []
    return found


BOTH = ["127.0.0.1", "[::1]"]


async def test_the_sidecar() -> None:
    server = PlainServer({"/healthz": lambda: Page(b"ok", "text/plain")})
    port = await server.start(sidecar._HOST, 0)
    try:
        assert await answering(port) == BOTH
    finally:
        await server.close()


async def test_the_operator() -> None:
    server = Server(Metrics(version="1"), ready=lambda: True, models=lambda _: {})
    port = await server.start(OPERATOR, 0)
    try:
        assert await answering(port) == BOTH
    finally:
        await server.close()


def test_the_webhook() -> None:
    with sockets.listening(webhook._HOST, 0, 1) as made:
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, made.getsockname()[1])).close()


def test_a_kernel_without_ipv6_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with sockets.listening("", 0, 1) as made:
        assert made.family is socket.AF_INET


def test_one_address_is_one_address() -> None:
    with sockets.listening("127.0.0.1", 0, 1) as made:
        assert made.getsockname()[0] == "127.0.0.1"
