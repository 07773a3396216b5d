"""The only door to the cluster: the official synchronous client, plain dicts in and out.

Every answer that is no success leaves as a `Problem`. The client's own types are not used, since they
refuse objects that are newer than they are.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client
from kubernetes import config as untyped_config

from model_gallery.api import labels
from model_gallery.plugin import problem
from model_gallery.plugin.problem import Problem, Refusal, Unreachable
from model_gallery.protocol import indexcopy
from model_gallery.reconcile import names

__all__ = ["Cluster", "Place", "connect", "place"]

Object = dict[str, Any]

config: Any = untyped_config
"""Its functions have no types."""

_PLURALS = {labels.MODEL: "models", labels.GALLERY: "galleries"}
_TIMEOUT = (5.0, 30.0)
"""Seconds to connect, and for an answer."""
_WATCH_SECONDS = 30
"""A watch ends after this and the list is read anew, so that a lost event delays no more than that."""
_PAUSE_SECONDS = 1.0
_LOG_SILENCE_SECONDS = 86400.0
"""Between two lines of a log that is followed much time may pass."""
_PAGE = 500
_IN_CLUSTER_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


@dataclass(frozen=True, slots=True)
class Place:
    """Which cluster and namespace a command means.

    Attributes:
        namespace: of the command line, else of the context, else `default`.
    """

    kubeconfig: str | None
    context: str | None
    namespace: str


def place(kubeconfig: str | None, context: str | None, namespace: str | None) -> Place:
    """Returns what the options, the environment and the kubeconfig say; asks no cluster."""
    # The client's own default is fixed when it is imported.
    files = kubeconfig or os.environ.get("KUBECONFIG") or None
    return Place(files, context, namespace or _context_namespace(files, context))


def connect(where: Place) -> Cluster:
    """Returns the cluster; nothing is asked yet.

    Raises:
        Problem: no kubeconfig, or it does not have the context.
    """
    settings = client.Configuration()
    try:
        if where.kubeconfig is None and where.context is None and _IN_CLUSTER_NAMESPACE.exists():
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(where.kubeconfig, where.context, settings)
    except (config.ConfigException, OSError) as error:
        raise Problem(
            f"no cluster is configured ({_one_line(error)}): set KUBECONFIG, or use --kubeconfig"
            " or --context"
        ) from error
    # A person waits at the shell: a cluster that does not answer is to be told at once.
    settings.retries = False
    return Cluster(client.ApiClient(settings), str(settings.host))


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster, as one user."""

    api: client.ApiClient
    address: str

    def close(self) -> None:
        """Closes the connections."""
        self.api.rest_client.close()

    def objects(self, kind: str, namespace: str | None) -> list[Object]:
        """Returns the objects of a kind of ours; namespace None: of all namespaces."""
        items: list[Object] = []
        token: str | None = None
        while True:
            page = self._page(kind, namespace, limit=_PAGE, _continue=token)
            items += [self._with_type(item, kind) for item in page["items"]]
            token = page["metadata"].get("continue") or None
            if not token:
                return items

    def get(self, kind: str, namespace: str, name: str) -> Object:
        """Returns an object of ours.

        Raises:
            Absent: it is not there.
        """
        with self._asking(kind, namespace, name, custom=True):
            found: Object = self._custom.get_namespaced_custom_object(
                *self._coordinates(kind, namespace), name, _request_timeout=_TIMEOUT
            )
        return found

    def create(self, manifest: Object) -> Object:
        """Creates an object of ours and returns it."""
        kind, meta = manifest["kind"], manifest["metadata"]
        with self._asking(kind, meta["namespace"], meta["name"], custom=True):
            found: Object = self._custom.create_namespaced_custom_object(
                *self._coordinates(kind, meta["namespace"]), manifest, _request_timeout=_TIMEOUT
            )
        return found

    def patch(self, kind: str, namespace: str, name: str, change: Object) -> Object:
        """Merges a change into an object of ours and returns what it became."""
        with self._asking(kind, namespace, name, custom=True):
            found: Object = self._custom.patch_namespaced_custom_object(
                *self._coordinates(kind, namespace), name, change, _request_timeout=_TIMEOUT
            )
        return found

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Asks for the end of an object of ours."""
        with self._asking(kind, namespace, name, custom=True):
            self._custom.delete_namespaced_custom_object(
                *self._coordinates(kind, namespace), name, _request_timeout=_TIMEOUT
            )

    def events(self, namespace: str, uid: str) -> list[Object]:
        """Returns the events that speak of an object."""
        with self._asking("Event", namespace):
            answer = self._core.list_namespaced_event(
                namespace, field_selector=f"involvedObject.uid={uid}", **_RAW
            )
        return _items(answer)

    def pods(self, namespace: str, selector: str) -> list[Object]:
        """Returns the pods with the labels."""
        with self._asking("Pod", namespace):
            answer = self._core.list_namespaced_pod(namespace, label_selector=selector, **_RAW)
        return _items(answer)

    def log(self, namespace: str, pod: str, *, follow: bool) -> Iterator[bytes]:
        """Yields the log of a pod's only container as it comes."""
        timeout = (_TIMEOUT[0], _LOG_SILENCE_SECONDS if follow else _TIMEOUT[1])
        with self._asking("Pod", namespace, pod):
            answer = self._core.read_namespaced_pod_log(
                pod, namespace, follow=follow, _preload_content=False, _request_timeout=timeout
            )
            _check(answer)
            try:
                yield from answer.stream(amt=None)
            finally:
                answer.close()

    def index_copy(self, namespace: str, gallery: str) -> Object | None:
        """Returns the copy that the operator keeps of a Gallery's index; None without one."""
        try:
            first = self._config_map(namespace, names.index_copy_name(gallery, 0))
            parts = indexcopy.parts_of(first)
            if parts is None:
                return None
            following = [
                self._config_map(namespace, names.index_copy_name(gallery, number))
                for number in range(1, parts)
            ]
            return indexcopy.unpacked(b"".join(map(indexcopy.part_of, [first, *following])))
        except (problem.Absent, ValueError, zlib.error):
            # Without a copy, or in the middle of a change of it: there is none to show now.
            return None

    def follow(self, kind: str, namespace: str, seconds: float) -> Iterator[Mapping[str, Object]]:
        """Yields all objects of a kind by name, at first and after each change, for so long.

        An API server that goes away for a moment ends nothing.
        """
        end = time.monotonic() + seconds
        first = True
        while (left := end - time.monotonic()) > 0:
            next_try = time.monotonic() + min(_PAUSE_SECONDS, left)
            try:
                yield from self._list_and_watch(kind, namespace, left)
            except Unreachable:
                if first:
                    raise
            first = False
            # A server that is away, or ends watches at once, is not asked without a pause. A person
            # waits here; nothing else runs in this process.
            time.sleep(max(0.0, next_try - time.monotonic()))  # noqa: TID251

    def _list_and_watch(
        self, kind: str, namespace: str, seconds: float
    ) -> Iterator[Mapping[str, Object]]:
        page = self._page(kind, namespace)
        known = {item["metadata"]["name"]: item for item in page["items"]}
        yield known
        limit = max(1, min(_WATCH_SECONDS, int(seconds)))
        with self._asking(kind, namespace, custom=True):
            answer = self._custom.list_namespaced_custom_object(
                *self._coordinates(kind, namespace),
                watch=True,
                resource_version=page["metadata"]["resourceVersion"],
                timeout_seconds=limit,
                _preload_content=False,
                _request_timeout=(_TIMEOUT[0], limit + _TIMEOUT[1]),
            )
            _check(answer)
            try:
                for line in _lines(answer):
                    event = json.loads(line)
                    if event["type"] == "ERROR":  # the version is too old: list anew
                        return
                    _take(known, event)
                    yield known
            finally:
                answer.close()

    def _page(self, kind: str, namespace: str | None, **options: Any) -> Object:
        call: Callable[..., Object]
        where = self._coordinates(kind, namespace or "")
        if namespace is None:
            call = self._custom.list_cluster_custom_object
            where = tuple(part for part in where if part)
        else:
            call = self._custom.list_namespaced_custom_object
        with self._asking(kind, namespace or "", custom=True):
            return call(*where, _request_timeout=_TIMEOUT, **options)

    def _config_map(self, namespace: str, name: str) -> Object:
        with self._asking("ConfigMap", namespace, name):
            answer = self._core.read_namespaced_config_map(name, namespace, **_RAW)
            _check(answer)
        found: Object = json.loads(answer.data)
        return found

    @property
    def _custom(self) -> Any:
        return client.CustomObjectsApi(self.api)

    @property
    def _core(self) -> Any:
        return client.CoreV1Api(self.api)

    def _coordinates(self, kind: str, namespace: str) -> tuple[str, ...]:
        return labels.GROUP, labels.VERSION, namespace, _PLURALS[kind]

    def _with_type(self, item: Object, kind: str) -> Object:
        """Lists leave out what they say once for all."""
        return {"apiVersion": labels.API_VERSION, "kind": kind, **item}

    @contextmanager
    def _asking(
        self, kind: str, namespace: str, name: str = "", *, custom: bool = False
    ) -> Iterator[None]:
        """Puts what goes wrong into words."""
        try:
            yield
        except client.ApiException as error:
            body = error.body or error.reason or ""
            text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
            refusal = Refusal(int(error.status or 0), text, kind, namespace, name, custom)
            raise problem.explained(refusal) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise problem.unreachable(self.address, _cause(error)) from error


_RAW: dict[str, Any] = {"_preload_content": False, "_request_timeout": _TIMEOUT}


def _check(answer: Any) -> None:
    """Raises what the client would have raised, had it read the answer itself."""
    if not 200 <= answer.status <= 299:  # noqa: PLR2004 - the successes of HTTP
        body = answer.data.decode(errors="replace")
        raise client.ApiException(status=answer.status, reason=answer.reason, body=body)


def _items(answer: Any) -> list[Object]:
    _check(answer)
    items: list[Object] = json.loads(answer.data)["items"]
    return items


def _lines(answer: Any) -> Iterator[bytes]:
    held = b""
    for chunk in answer.stream(amt=None):
        *whole, held = (held + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())


def _take(known: dict[str, Object], event: Object) -> None:
    found = event["object"]
    name = found["metadata"].get("name", "")
    if event["type"] == "DELETED":
        known.pop(name, None)
    elif event["type"] in {"ADDED", "MODIFIED"}:
        known[name] = found


def _context_namespace(kubeconfig: str | None, context: str | None) -> str:
    try:
        contexts, active = config.list_kube_config_contexts(config_file=kubeconfig)
    except (config.ConfigException, OSError):
        return _own_namespace()
    chosen = next((one for one in contexts if one["name"] == context), active)
    return str(chosen["context"].get("namespace") or "default")


def _own_namespace() -> str:
    """Returns the namespace of the pod that this runs in; `default` outside of a cluster."""
    try:
        return _IN_CLUSTER_NAMESPACE.read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"


def _cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return _one_line(reason).rpartition(": ")[2] or type(error).__name__


def _one_line(error: object) -> str:
    return " ".join(str(error).split()).rstrip(".")
