"""Answers of serving backends and of the sidecar. The probe raises nothing at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from model_gallery.api.v1alpha1.gallery import BackendType
from model_gallery.monitor import asking, probe, sidecar
from model_gallery.monitor.asking import Answer, Asker, Route

_KINDS = tuple(BackendType)
_BETWEEN = b"\n--\n"
_NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
_DATA = Path(__file__).parents[2] / "data" / "backends"
_DATES = (b"Sun, 22 Nov 2026 12:00:00 GMT", b"Sun, 22 Nov 2026 12:00:00 -0000", b"x")


def _seed(number: int, *bodies: bytes) -> bytes:
    return _BETWEEN.join([bytes([number]) + _DATES[number % 3], *bodies])


def _recorded(folder: str, *names: str) -> list[bytes]:
    return [(_DATA / folder / name).read_bytes() for name in names]


_RUNS = (
    _recorded("llamacpp-b11549", "busy-health.json", "busy-props.json", "busy-slots.json"),
    _recorded("llamacpp-b11549", "busy-models.json", "busy-metrics.txt"),
    _recorded("router-b10488", "loaded-models.json", "loaded-props.json"),
    _recorded("ollama-0.32.15", "loaded-ps.json", "loaded-ps.json", "loaded-version.json"),
    _recorded("triton-2.51.0", "loaded-index.json", "loaded-server.json", "loaded-stats.json"),
    [json.dumps({"loaded_models": [{"id": "m"}], "endpoints": {}}).encode()],
    [json.dumps({"object": "list", "data": [{"id": "m", "owned_by": "vllm"}]}).encode()],
)
_REPORT = {
    "sampledTime": "2026-11-22T12:00:00Z",
    "models": [{"uid": "u", "stateHint": "Busy", "processes": [1]}],
    "hidden": 1,
}
SEEDS = (
    *(_seed(number, *bodies) for bodies in _RUNS for number in range(0, len(_KINDS), 3)),
    json.dumps(_REPORT).encode(),
)


class _Scripted(Asker):
    """Answers each request with the next of some bodies, the last one for ever."""

    def __init__(self, session: aiohttp.ClientSession, bodies: list[bytes], date: str) -> None:
        super().__init__(session, "http://127.0.0.1:1")
        self._bodies, self._date = bodies, date

    async def _answer(self, route: Route, _model: str, _body: Mapping[str, Any] | None) -> Answer:
        body = self._bodies.pop(0) if len(self._bodies) > 1 else self._bodies[0]
        status = 200 if body else 503
        return Answer(route, status, body, self._date[:20], asking._date(self._date))


def one(data: bytes) -> None:
    """Probed, asked to unload, and read as a report of the sidecar."""
    head, *bodies = data.split(_BETWEEN)
    kind = _KINDS[head[0] % len(_KINDS)] if head else BackendType.AUTO
    asyncio.run(_ask(kind, bodies or [data], head[1:].decode("latin-1")))


async def _ask(kind: BackendType, bodies: list[bytes], date: str) -> None:
    async with asking.new_session() as session:
        facts = await probe.probe(_Scripted(session, [*bodies], date), kind, None, _NOW)
        json.dumps([facts.message, facts.version, *(model.name for model in facts.models)]).encode()
        name = facts.models[0].name if facts.models else "m"
        await probe.unload(_Scripted(session, [*bodies], date), facts.type, name, force=False)
        await sidecar.usage(_Scripted(session, [*bodies], date))
