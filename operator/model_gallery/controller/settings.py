"""Flags and environment, read once into one frozen value."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.reconcile.observed import WorkerSettings

__all__ = ["Settings", "from_environment"]

_PREFIX = "MODEL_GALLERY_"
_DEFAULT_RESOURCES: dict[str, dict[str, str]] = {
    "requests": {"cpu": "100m", "memory": "64Mi"},
    "limits": {"memory": "256Mi"},
}


@dataclass(frozen=True, slots=True)
class Settings:
    """How the operator process runs.

    Attributes:
        namespaces: the namespaces to watch; empty: the whole cluster.
        worker: how workers run.
        reconcilers: keys reconciled at the same time.
        drain_seconds: how long a stop waits for reconciliations in flight.
        host: empty: every address, IPv4 and IPv6, since probes and scrapes come from other pods.
        name: of this process, for events.
        monitor: whether pods that serve are watched and asked.
        proxy_folder: folder of the Secret for the proxy; empty: none.
        backend_keys: folder of keys for backends, each in a file `<namespace>.<gallery>.<backend>`.
    """

    worker: WorkerSettings
    namespaces: tuple[str, ...] = ()
    log_level: str = "INFO"
    log_json: bool = True
    host: str = ""
    port: int = 8080
    reconcilers: int = 8
    drain_seconds: float = 15.0
    name: str = "model-gallery-operator"
    monitor: bool = True
    backend_keys: str = ""
    proxy_folder: str = ""


def from_environment(environment: Mapping[str, str]) -> Settings:
    """Returns the settings that the variables `MODEL_GALLERY_*` ask for.

    Raises:
        StalledError: InvalidSpec, naming the variable and what it must be.
    """

    def get(name: str, default: str = "") -> str:
        return environment.get(_PREFIX + name, default).strip()

    if not get("WORKER_IMAGE"):
        raise _invalid("WORKER_IMAGE", "must name the image of the worker")
    worker = WorkerSettings(
        image=get("WORKER_IMAGE"),
        pull_policy=get("WORKER_PULL_POLICY") or "IfNotPresent",
        pull_secrets=_list(get("WORKER_IMAGE_PULL_SECRETS")),
        run_as_user=_integer("WORKER_UID", get("WORKER_UID") or "65532"),
        run_as_group=_integer("WORKER_GID", get("WORKER_GID") or "65532"),
        resources=_resources(get("WORKER_RESOURCES")),
        network=NetworkPolicy(
            allowed_networks=_networks(get("ALLOWED_NETWORKS")),
            allow_plain_http=get("ALLOW_PLAIN_HTTP", "true").lower() != "false",
            proxy=_proxy(get("PROXY")),
            no_proxy=_list(get("NO_PROXY")),
        ),
    )
    return Settings(
        worker=worker,
        namespaces=_list(get("NAMESPACES")),
        log_level=(get("LOG_LEVEL") or "INFO").upper(),
        log_json=get("LOG_FORMAT", "json") != "text",
        port=_integer("PORT", get("PORT") or "8080"),
        name=get("POD_NAME") or "model-gallery-operator",
        monitor=get("MONITOR", "true").lower() != "false",
        backend_keys=get("BACKEND_KEYS"),
        proxy_folder=get("PROXY_CREDENTIALS"),
    )


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise _invalid(name, f"must be a whole number, not {text!r}") from error


def _networks(text: str) -> tuple[str, ...]:
    networks = _list(text)
    for network in networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise _invalid("ALLOWED_NETWORKS", f"must list CIDR blocks: {error}") from error
    return networks


def _proxy(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in {"http", "https"} or not parts.hostname or "@" in text):
        raise _invalid(
            "PROXY", "must be an http(s) URL without user name and password, which go into a Secret"
        )
    return text


def _resources(text: str) -> dict[str, dict[str, str]]:
    if not text:
        return _DEFAULT_RESOURCES
    try:
        value: Any = json.loads(text)
    except ValueError as error:
        raise _invalid("WORKER_RESOURCES", f"must be JSON: {error}") from error
    if not isinstance(value, dict) or not all(isinstance(part, dict) for part in value.values()):
        raise _invalid("WORKER_RESOURCES", "must be a JSON object with requests and limits")
    return value or _DEFAULT_RESOURCES


def _invalid(name: str, problem: str) -> StalledError:
    return StalledError(Reason.INVALID_SPEC, f"environment variable {_PREFIX}{name} {problem}")
