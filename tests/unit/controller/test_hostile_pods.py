"""The watch over pods that hang, lie or answer nonsense, over real connections: they harm nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.controller import kinds
from model_gallery.controller.monitoring import Hooks, Monitor
from model_gallery.reconcile.serving import PodView

GREETING = b"Ollama is running"
LOADED = {"models": [{"name": "m", "model": "m", "size": 1, "size_vram": 0}]}
HEALTHY, HOSTILE = "127.0.0.2", "127.0.0.3"
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


async def ollama(request: web.BaseRequest) -> web.StreamResponse:
    if request.path == "/api/ps":
        return web.json_response(LOADED)
    if request.path == "/":
        return web.Response(body=GREETING)
    return web.Response(status=404)


async def hangs(_request: web.BaseRequest) -> web.StreamResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def garbage(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=b"\xff\x00{" * 100)


async def huge(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=b"[" + b"1," * (5 << 20) + b"1]")


async def redirects(request: web.BaseRequest) -> web.StreamResponse:
    """To what stands for a cloud's metadata: the test's own server at another address."""
    port = request.transport.get_extra_info("sockname")[1]  # type: ignore[union-attr]
    target = f"http://127.0.0.4:{port}/latest/meta-data/"
    return web.Response(status=307, headers={"Location": target})


async def turns_bad(request: web.BaseRequest) -> web.StreamResponse:
    """Greets as Ollama does and then tells nonsense of its models."""
    if request.path == "/":
        return web.Response(body=GREETING)
    return web.json_response({"models": {"m": [None, {"name": 7}]}})


@asynccontextmanager
async def answering(by_address: dict[str, Handler]) -> AsyncIterator[tuple[int, list[str]]]:
    """One server for all pods; yields its port, and the addresses that were asked."""
    asked: list[str] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        address = request.transport.get_extra_info("sockname")[0]  # type: ignore[union-attr]
        asked.append(address)
        return await by_address.get(address, ollama)(request)

    runner = web.ServerRunner(web.Server(answer, access_log=None), shutdown_timeout=0.05)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0).start()
    yield runner.addresses[0][1], asked
    await runner.cleanup()


def cache_of(port: int, *addresses: str) -> Any:
    cache = kinds.new_cache()
    spec = {"index": {"configMap": {"name": "i"}}, "storage": {"claimName": "c"}}
    cache.upsert(kinds.GALLERY, {"metadata": metadata("g"), "spec": spec})
    for address in addresses:
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": "c"}}
        spec = {"containers": [{"ports": [{"containerPort": port}]}], "volumes": [volume]}
        status = {"phase": "Running", "podIP": address}
        cache.upsert(kinds.POD, {"metadata": metadata(address), "spec": spec, "status": status})
    return cache


def metadata(name: str) -> dict[str, str]:
    return {
        "name": name,
        "namespace": "ns",
        "uid": f"uid-{name}",
        "resourceVersion": "1",
        "creationTimestamp": "2026-11-22T11:00:00Z",
    }


async def until_known(monitor: Monitor, address: str) -> PodView:
    while True:
        for view in monitor.pods("ns", "g") or ():
            if view.name == address and view.facts is not None:
                return view
        await asyncio.sleep(0.02)


@asynccontextmanager
async def watched(handler: Handler) -> AsyncIterator[tuple[Monitor, list[str]]]:
    async with answering({HOSTILE: handler}) as (port, asked):
        hooks = Hooks(lambda _: None, lambda *_: None, lambda *_: None, lambda *_: "")

        async def costs(_namespace: str) -> dict[str, tuple[int, int]]:
            return {}

        monitor = Monitor(cache_of(port, HOSTILE, HEALTHY), hooks, costs, ("127.0.0.0/8",))
        task = asyncio.create_task(monitor.run())
        yield monitor, asked
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


UNUSABLE = {
    "garbage": (garbage, "no JSON"),
    "10 MB": (huge, "more than"),
    "a redirect to metadata": (redirects, "redirect"),
}


@pytest.mark.parametrize("case", UNUSABLE)
async def test_what_cannot_be_used_is_no_backend(case: str) -> None:
    handler, message = UNUSABLE[case]
    async with watched(handler) as (monitor, asked):
        bad, good = await until_known(monitor, HOSTILE), await until_known(monitor, HEALTHY)
    assert bad.facts is not None
    assert good.facts is not None
    assert (bad.facts.ready, bad.facts.models) == (False, ())
    assert message in bad.facts.message
    assert [model.name for model in good.facts.models] == ["m"]
    assert set(asked) == {HOSTILE, HEALTHY}


async def test_a_pod_that_hangs_keeps_nobody_waiting() -> None:
    async with watched(hangs) as (monitor, _):
        good = await until_known(monitor, HEALTHY)
        before = {view.name: view.facts for view in monitor.pods("ns", "g") or ()}
        bad = await until_known(monitor, HOSTILE)
    assert good.facts is not None
    assert good.facts.ready
    assert before[HOSTILE] is None
    assert bad.facts is not None
    assert (bad.facts.live, bad.facts.ready) == (False, False)
    assert "no answer in time" in bad.facts.message


async def test_nonsense_of_one_kind_of_backend_is_no_model() -> None:
    async with watched(turns_bad) as (monitor, _):
        bad = await until_known(monitor, HOSTILE)
    assert bad.facts is not None
    assert (bad.facts.type, bad.facts.models) == (BackendType.OLLAMA, ())
