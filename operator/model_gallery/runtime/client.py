"""The verbs that we use of the Kubernetes API: plain dicts in and out, foreign errors translated.

The transport, the configuration and the credentials are those of the official client; its generated
types are not used, since parsing into them costs ten times what `json.loads` does. Calls and log streams
have a pool of connections each, so that streams cannot keep calls from getting through.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import config as kubernetes_config
from kubernetes.aio.client import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from model_gallery.api.conditions import Reason
from model_gallery.errors import TransientError
from model_gallery.runtime import lines, refusals
from model_gallery.runtime.refusals import Refused
from model_gallery.runtime.resources import PODS, Resource

__all__ = ["ApiClient", "Body", "OnCall", "Refused", "open_session"]

Body = dict[str, Any]
Bodies = list[Body]
OnCall = Callable[[str, str, int, float], None]
"""Told verb, plural, status code (0 where none came) and seconds of each call."""

_CALL_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
_STREAM_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=30, sock_connect=5, sock_read=600)
"""A stream that is silent for ten minutes counts as dead: the kubelet sends no keep-alive."""
_CALL_CONNECTIONS = 16
_STREAM_CONNECTIONS = 128
_LONGEST_LINE = 64 * 1024
"""Bytes; longer than any line of a worker's report."""
_PAGE = 500
_NOT_FOUND, _CONFLICT, _GONE, _FIRST_ERROR = 404, 409, 410, 400

_JSON = "application/json"
_APPLY = "application/apply-patch+yaml"
_MERGE = "application/merge-patch+json"
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


class ApiClient:
    """A client of one API server.

    All verbs raise TransientError(ApiUnavailable) where the server did not answer, answered 5xx or asked
    to wait, and Refused(ApiRefused) where it answered 4xx.

    Args:
        kubeconfig: path of the configuration; None: what KUBECONFIG names, or the pod's service account.
        on_call: for metrics.
    """

    def __init__(
        self,
        *,
        kubeconfig: str | None = None,
        on_call: OnCall = lambda _verb, _plural, _code, _seconds: None,
    ) -> None:
        self._on_call = on_call
        self._calls = _Transport(kubeconfig, _CALL_CONNECTIONS)
        self._streams = _Transport(kubeconfig, _STREAM_CONNECTIONS)

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Body | None:
        """Returns the object, or None where there is none."""
        try:
            return await self._call("get", "GET", resource, resource.path(namespace, name))
        except Refused as refusal:
            if refusal.code == _NOT_FOUND:
                return None
            raise

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        metadata_only: bool = False,
    ) -> Bodies:
        """Returns all objects, read page by page, as one consistent state.

        Args:
            namespace: None for all of them.
            metadata_only: the objects then have no spec and no status.
        """
        accept = _METADATA_ONLY if metadata_only else _JSON
        try:
            return await self._pages(resource, namespace, label_selector, accept)
        except Refused as refusal:
            if refusal.code != _GONE:
                raise
        # The state that the pages were of has been compacted away; a second try sees a newer one.
        return await self._pages(resource, namespace, label_selector, accept)

    async def apply(
        self, resource: Resource, obj: Body, *, manager: str, subresource: str | None = None
    ) -> Body:
        """Applies on the server's side, taking over fields of others, and returns the new state.

        Args:
            obj: the fields that are ours, with `metadata.name`; with `metadata.uid` a vanished object is
                refused with 409 and not made anew.
            manager: who owns the fields.
        """
        metadata = obj["metadata"]
        path = resource.path(metadata.get("namespace"), metadata["name"], subresource)
        return await self._call(
            "apply",
            "PATCH",
            resource,
            path,
            query={"fieldManager": manager, "force": "true"},
            body=_typed(resource, obj),
            headers={"Content-Type": _APPLY},
        )

    async def create(self, resource: Resource, obj: Body) -> Body:
        """Creates an object and returns its new state; one that is there is refused with 409."""
        path = resource.path(obj["metadata"].get("namespace"))
        return await self._call("create", "POST", resource, path, body=_typed(resource, obj))

    async def patch_merge(
        self, resource: Resource, namespace: str | None, name: str, patch: Body
    ) -> Body:
        """Merges `patch` into an object and returns its new state."""
        path = resource.path(namespace, name)
        headers = {"Content-Type": _MERGE}
        return await self._call("patch", "PATCH", resource, path, body=patch, headers=headers)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str,
        propagation: str = "Background",
    ) -> None:
        """Deletes that very object; that it is gone, or another has its name, is no error."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": propagation,
        }
        try:
            path = resource.path(namespace, name)
            await self._call("delete", "DELETE", resource, path, body=options)
        except Refused as refusal:
            # The uid is the only precondition: a conflict means that another object has the name.
            if refusal.code not in {_NOT_FOUND, _CONFLICT}:
                raise

    async def follow_log(
        self, namespace: str, pod: str, *, container: str, since_seconds: int | None = None
    ) -> AsyncIterator[bytes]:
        """Yields the lines of a container's log, cut at 64 KiB each, until the container ends."""
        query = {"container": container, "follow": "true"}
        if since_seconds is not None:
            query["sinceSeconds"] = str(since_seconds)
        path = PODS.path(namespace, pod, "log") + "?" + urlencode(query)
        async with self._streams.open("GET", path, {"Accept": "*/*"}, _STREAM_TIMEOUT) as answer:
            with _translated():
                if answer.status >= _FIRST_ERROR:
                    raise refusals.of_answer(answer.status, answer.headers, await answer.read())
                async for line in lines.split(answer.content.iter_any(), _LONGEST_LINE):
                    yield line

    async def close(self) -> None:
        """Closes all connections; calls in flight fail."""
        await self._calls.close()
        await self._streams.close()

    async def _pages(
        self, resource: Resource, namespace: str | None, label_selector: str, accept: str
    ) -> Bodies:
        query = {"limit": str(_PAGE)}
        if label_selector:
            query["labelSelector"] = label_selector
        items: Bodies = []
        while True:
            path, headers = resource.path(namespace), {"Accept": accept}
            page = await self._call("list", "GET", resource, path, query=query, headers=headers)
            items += [_typed(resource, item) for item in page.get("items") or ()]
            following = page["metadata"].get("continue")
            if not following:
                return items
            query["continue"] = following

    async def _call(
        self,
        verb: str,
        method: str,
        resource: Resource,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Body:
        url = f"{path}?{urlencode(query)}" if query else path
        started, code = asyncio.get_running_loop().time(), 0
        try:
            async with self._calls.open(
                method, url, {"Accept": _JSON, **(headers or {})}, _CALL_TIMEOUT, body
            ) as answer:
                code = answer.status
                with _translated():
                    return _body(code, answer.headers, await answer.read())
        finally:
            self._on_call(verb, resource.plural, code, asyncio.get_running_loop().time() - started)


class _Transport:
    """The official client's transport, made at the first use, with connections of its own.

    Args:
        connections: most of them at the same time; further requests wait.
    """

    def __init__(self, kubeconfig: str | None, connections: int) -> None:
        self._kubeconfig = kubeconfig
        self._connections = connections
        self._opened: tuple[str, RESTClientObject] | None = None
        self._opening = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's own kind of it
        body: Body | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Yields the answer as it begins; it is released afterwards, read to its end or not."""
        host, rest = await self._rest()
        with _translated():
            answer = await rest.request(  # type: ignore[no-untyped-call]
                method, host + path, headers=dict(headers), body=body, _request_timeout=timeout
            )
        response: aiohttp.ClientResponse = answer.response
        try:
            yield response
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened[1].close()
            self._opened = None

    async def _rest(self) -> tuple[str, RESTClientObject]:
        async with self._opening:
            if self._opened is None:
                config = await _configuration(self._kubeconfig)
                config.connection_pool_maxsize = self._connections
                self._opened = config.host, RESTClientObject(config)
            return self._opened


async def open_session(kubeconfig: str | None = None) -> tuple[str, aiohttp.ClientSession]:
    """Returns the API server's address and a session for it that always has a fresh token.

    For the watches, which know their own number and need a connection each: there is no limit.
    """
    config = await _configuration(kubeconfig)
    config.connection_pool_maxsize = 0
    return config.host, RESTClientObject(config)._create_pool_manager()  # noqa: SLF001 - made for subclasses


async def _configuration(kubeconfig: str | None) -> Configuration:
    """Returns the configuration, with requests that get their token when they are sent.

    Raises:
        TransientError: ApiUnavailable, where there is no configuration that could be used.
    """
    config = Configuration()
    path = kubeconfig or os.environ.get("KUBECONFIG")
    try:
        if path or "KUBERNETES_SERVICE_HOST" not in os.environ:
            await kubernetes_config.load_kube_config(  # type: ignore[no-untyped-call]
                path, client_configuration=config, persist_config=False
            )
        else:
            kubernetes_config.load_incluster_config(config)  # type: ignore[no-untyped-call]
    except (kubernetes_config.ConfigException, OSError) as error:
        message = "no way to the API server is known: set KUBECONFIG or run in a pod"
        raise TransientError(Reason.API_UNAVAILABLE, message) from error
    config.client_session_kwargs = {"middlewares": (_authorize(config),), "proxy": config.proxy}
    return config


def _authorize(config: Configuration) -> aiohttp.ClientMiddlewareType:
    """Returns a middleware that sets the token; within a pod it is read again every minute."""

    async def authorize(
        request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        token = await config.get_api_key_with_prefix("BearerToken")
        if token:
            request.headers["Authorization"] = token.strip()
        return await handler(request)

    return authorize


@contextlib.contextmanager
def _translated() -> Any:
    try:
        yield
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise refusals.unavailable(error) from error


def _body(code: int, headers: Mapping[str, str], data: bytes) -> Body:
    if code >= _FIRST_ERROR:
        raise refusals.of_answer(code, headers, data)
    value: Body = json.loads(data)
    return value


def _typed(resource: Resource, obj: Body) -> Body:
    """Returns the object with its type: those in lists come without, and ours need not say it."""
    return {**obj, "apiVersion": resource.api_version, "kind": resource.kind}
