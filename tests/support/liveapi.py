"""An API server in memory for a whole operator: lists, watches, server-side apply, logs, and Jobs that end.

It runs in a thread of its own, so that tests may wait. What a real API server refuses or defaults is the
business of the integration tests; here it is quick, told what to hold up, and counted.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from aiohttp import web

from support.fakekubelet import succeeded_result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["LiveApi", "serving"]

Body = dict[str, Any]
_T = TypeVar("_T")

_SERVED = {
    "v1": {
        "pods": "Pod",
        "persistentvolumeclaims": "PersistentVolumeClaim",
        "configmaps": "ConfigMap",
        "namespaces": "Namespace",
    },
    "batch/v1": {"jobs": "Job"},
    "modelgallery.dev/v1alpha1": {"models": "Model", "galleries": "Gallery"},
    "events.k8s.io/v1": {"events": "Event"},
    "apiextensions.k8s.io/v1": {"customresourcedefinitions": "CustomResourceDefinition"},
}
_PATH = re.compile(
    r"/(?:api|apis)/(?P<version>v1|[^/]+/[^/]+?)"
    r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[^/]+))?(?:/(?P<sub>status|log))?\Z"
)
_NOW = "2026-11-01T12:00:00Z"


@dataclass
class LiveApi:
    """The state of the server; read it from any thread, change it with the methods.

    Attributes:
        objects: by plural, namespace and name.
        writes: method, plural with subresource, and name of each write that was answered.
        begun: the same of each write that has come.
        held: plurals with subresource whose writes wait until they are let go.
        jobs_end: whether the worker of a new Job succeeds at once; else it runs on, with a log.
        streams: names of the pods whose log somebody follows now.
    """

    address: str = ""
    objects: dict[tuple[str, str, str], Body] = field(default_factory=dict)
    writes: list[tuple[str, str, str]] = field(default_factory=list)
    begun: list[tuple[str, str, str]] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    jobs_end: bool = True
    streams: set[str] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    _news: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _loop: asyncio.AbstractEventLoop | None = None

    # From the tests' thread

    def put(self, plural: str, *bodies: Body) -> None:
        """Creates objects, or replaces what they say."""
        for body in bodies:
            self._run(lambda body=body: self._put(plural, copy.deepcopy(body)))

    def let_go(self, what: str) -> None:
        """Has writes that are held up go on."""
        self._run(lambda: self.held.discard(what))

    def named(self, plural: str) -> dict[str, Body]:
        """Returns the objects of a kind by their names."""
        return self._run(
            lambda: {
                key[2]: copy.deepcopy(body)
                for key, body in self.objects.items()
                if key[0] == plural
            }
        )

    def kubeconfig(self, folder: Path) -> str:
        """Writes a kubeconfig; returns its path."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "live", "cluster": {"server": self.address}}],
            "contexts": [{"name": "live", "context": {"cluster": "live", "user": "me"}}],
            "users": [{"name": "me", "user": {"token": "t"}}],
            "current-context": "live",
        }
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        return str(path)

    def _run(self, act: Callable[[], _T]) -> _T:
        async def acted() -> _T:
            result = act()
            async with self._changed:
                self._changed.notify_all()
            return result

        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(acted(), self._loop).result(30)

    # In the server's thread

    def _put(self, plural: str, body: Body) -> Body:
        metadata = body["metadata"]
        key = (plural, metadata.get("namespace", ""), metadata["name"])
        known = self.objects.get(key)
        number = next(self._numbers)
        metadata.setdefault("uid", known["metadata"]["uid"] if known else f"uid-{number}")
        metadata.setdefault("creationTimestamp", _NOW)
        generation = known["metadata"]["generation"] if known else 0
        same = known is not None and known.get("spec") == body.get("spec")
        metadata["generation"] = generation if same else generation + 1
        metadata["resourceVersion"] = str(number)
        self.objects[key] = body
        self._tell(plural, "ADDED" if known is None else "MODIFIED", body)
        return body

    def _tell(self, plural: str, kind: str, body: Body) -> None:
        line = json.dumps({"type": kind, "object": body}).encode() + b"\n"
        number = int(body["metadata"]["resourceVersion"])
        self._news.setdefault(plural, []).append((number, line))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answers one request."""
        found = _discovery(request.path)
        if found is not None:
            return web.json_response(found)
        match = _PATH.match(request.path)
        if match is None or match["plural"] not in _SERVED.get(match["version"], {}):
            return _status(404, "NotFound")
        if request.method == "GET":
            return await self._read(request, match)
        what = match["plural"] + (f"/{match['sub']}" if match["sub"] else "")
        body = await request.json()
        written = (request.method, what, match["name"] or body["metadata"]["name"])
        self.begun.append(written)
        async with self._changed:
            await self._changed.wait_for(lambda: what not in self.held)
        answer = self._write(request.method, match, body)
        self.writes.append(written)
        async with self._changed:
            self._changed.notify_all()
        return answer

    async def _read(self, request: web.Request, match: re.Match[str]) -> web.StreamResponse:
        plural, namespace = match["plural"], match["namespace"] or ""
        if match["sub"] == "log":
            return await self._log(request, match["name"])
        if request.query.get("watch"):
            return await self._watch(request, plural, int(request.query["resourceVersion"]))
        if match["name"]:
            found = self.objects.get((plural, namespace, match["name"]))
            return web.json_response(found) if found else _status(404, "NotFound")
        items = [
            body
            for key, body in self.objects.items()
            if key[0] == plural and namespace in {"", key[1]}
        ]
        version = str(next(self._numbers))
        return web.json_response(
            {"kind": "List", "metadata": {"resourceVersion": version}, "items": items}
        )

    async def _watch(self, request: web.Request, plural: str, since: int) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        told = since
        while True:
            for number, line in list(self._news.get(plural, ())):
                if number > told:
                    told = number
                    await response.write(line)
            async with self._changed:
                newest = self._news.get(plural)
                if not newest or newest[-1][0] <= told:
                    await self._changed.wait()

    async def _log(self, request: web.Request, pod: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        self.streams.add(pod)
        try:
            line = {"type": "progress", "completedBytes": 1, "totalBytes": 4096}
            await response.write(json.dumps(line).encode() + b"\n")
            await asyncio.Event().wait()
        finally:
            self.streams.discard(pod)
        return response

    def _write(self, method: str, match: re.Match[str], body: Body) -> web.Response:
        plural, namespace = match["plural"], match["namespace"] or ""
        key = (plural, namespace, match["name"] or body["metadata"]["name"])
        known = self.objects.get(key)
        if method == "DELETE":
            return self._delete(key, known)
        uid = body["metadata"].get("uid")
        if uid and (known is None or known["metadata"]["uid"] != uid):
            return _status(409, "Conflict")
        merged = copy.deepcopy(known or {"metadata": {}})
        if match["sub"] == "status":
            merged["status"] = body["status"]
        else:
            metadata = {**merged["metadata"], **body["metadata"]}
            merged = {**merged, **body, "metadata": metadata}
        done = self._put(plural, merged)
        if done["metadata"].get("deletionTimestamp") and not done["metadata"].get("finalizers"):
            self._gone(key)
        if plural == "jobs" and known is None:
            self._work(done)
        return web.json_response(done)

    def _delete(self, key: tuple[str, str, str], known: Body | None) -> web.Response:
        if known is None:
            return _status(404, "NotFound")
        if known["metadata"].get("finalizers"):
            changed = copy.deepcopy(known)
            changed["metadata"]["deletionTimestamp"] = _NOW
            self._put(key[0], changed)
        else:
            self._gone(key)
        return web.json_response(known)

    def _gone(self, key: tuple[str, str, str]) -> None:
        body = self.objects.pop(key)
        body["metadata"]["resourceVersion"] = str(next(self._numbers))
        self._tell(key[0], "DELETED", body)

    def _work(self, job: Body) -> None:
        """What the Job controller and the kubelet would make of a new Job."""
        template, name = job["spec"]["template"], job["metadata"]["name"]
        container = template["spec"]["containers"][0]
        environment = {entry["name"]: entry.get("value", "") for entry in container["env"]}
        result = succeeded_result(json.loads(environment["MODEL_GALLERY_OPERATION"]))
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name}
        ended = {"terminated": {"exitCode": 0, "message": json.dumps(result)}}
        running = {"running": {"startedAt": _NOW}}
        self._put(
            "pods",
            {
                "metadata": {
                    **template["metadata"],
                    "name": f"{name}-pod",
                    "namespace": job["metadata"]["namespace"],
                    "ownerReferences": [{**owner, "uid": job["metadata"]["uid"]}],
                },
                "spec": template["spec"],
                "status": {
                    "phase": "Succeeded" if self.jobs_end else "Running",
                    "containerStatuses": [{"state": ended if self.jobs_end else running}],
                },
            },
        )
        if self.jobs_end:
            complete = {"conditions": [{"type": "Complete", "status": "True"}]}
            self._put("jobs", {**copy.deepcopy(job), "status": complete})


def _discovery(path: str) -> Body | None:
    parts = path.strip("/").split("/", 1)
    if path == "/api":
        return {"versions": ["v1"]}
    if path == "/apis":
        groups = [version.split("/") for version in _SERVED if "/" in version]
        return {
            "groups": [
                {
                    "name": group,
                    "versions": [{"version": version}],
                    "preferredVersion": {"version": version},
                }
                for group, version in groups
            ]
        }
    plurals = _SERVED.get(parts[-1]) if parts[0] in {"api", "apis"} else None
    if plurals is None:
        return None
    verbs = ["get", "list", "watch", "patch", "create", "delete"]
    return {
        "resources": [
            {
                "name": plural,
                "kind": kind,
                "singularName": kind.lower(),
                "namespaced": plural not in {"namespaces", "customresourcedefinitions"},
                "verbs": verbs,
            }
            for plural, kind in plurals.items()
        ]
    }


def _status(code: int, reason: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "reason": reason}, status=code)


@contextmanager
def serving() -> Iterator[LiveApi]:
    """Yields the state of a server that listens on loopback."""
    started, box = threading.Event(), []

    async def serve() -> None:
        api, stop = LiveApi(), asyncio.Event()
        api._loop = asyncio.get_running_loop()
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", api.answer)
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=512).start()
        api.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        box.extend([api, stop])
        started.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="API server")
    thread.start()
    assert started.wait(30)
    api, stop = box
    try:
        yield api
    finally:
        api._loop.call_soon_threadsafe(stop.set)
        thread.join(30)
