"""Which pods serve a Gallery's models, and where each of them is asked."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from model_gallery.api.v1alpha1.gallery import Backend, BackendType, GallerySpec, Scheme
from model_gallery.controller import kinds
from model_gallery.reconcile.gallery import claim_name_of
from model_gallery.runtime.cache import Cache

__all__ = ["MOUNTED", "Target", "Targets"]

MOUNTED = "mounted"
"""The backend of pods that mount the claim and that no selector names."""
_PERIOD = 15.0
_REST_SECONDS = 1.0
"""Between two times that all targets are looked up."""

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """One pod of one Gallery.

    Attributes:
        base: where it is asked, `http://<address>:<port>`; empty where it cannot be.
        problem: why not.
        usage: where its sidecar is asked; empty without one.
        containers: changes when the pod's containers are started anew.
        served: the model that its pods serve, where the spec says so.
        period: seconds between two looks.
    """

    namespace: str
    gallery: str
    pod: str
    uid: str
    backend: str
    type: BackendType
    base: str
    problem: str
    containers: str
    usage: str = ""
    served: str = ""
    period: float = _PERIOD
    max_loaded: int = 0
    max_memory: str = ""

    @property
    def place(self) -> str:
        """Namespace and Gallery."""
        return f"{self.namespace}/{self.gallery}"


class Targets:
    """All targets, looked up anew after a change.

    Args:
        networks: CIDR blocks whose addresses are asked although no pod has such a one.

    Attributes:
        dirty: whether something changed since the last look.
    """

    def __init__(self, cache: Cache, networks: tuple[str, ...] = ()) -> None:
        self._cache = cache
        self._networks = tuple(map(ipaddress.ip_network, networks))
        self._last = float("-inf")
        self.dirty = True

    def refresh(self, now: float) -> dict[tuple[str, str], Target] | None:
        """Returns the targets by Gallery and pod's uid; None where nothing changed.

        Args:
            now: seconds of a clock that only goes forward.
        """
        if not self.dirty or now - self._last < _REST_SECONDS:
            return None
        self.dirty, self._last = False, now
        return {
            (target.place, target.uid): target
            for namespace, name in self._cache.keys(kinds.GALLERY)
            for target in self._of_gallery(namespace, name)
        }

    def _of_gallery(self, namespace: str, name: str) -> Iterator[Target]:
        body = self._cache.get(kinds.GALLERY, namespace, name)
        spec = kinds.spec_of(GallerySpec, body) if body else None
        if spec is None:
            return
        taken: set[str] = set()
        pods = self._cache.list(kinds.POD, namespace) if spec.backends else []
        for backend in spec.backends:
            for pod in pods:
                uid = pod["metadata"]["uid"]
                if uid not in taken and _fits(backend, pod) and _runs(pod):
                    taken.add(uid)
                    yield self._target(namespace, name, pod, backend)
        place = f"{namespace}/{claim_name_of(name, spec)}"
        for pod in self._cache.by_index(kinds.POD, "claim", place):
            if pod["metadata"]["uid"] not in taken and _runs(pod):
                yield self._target(namespace, name, pod, None)

    def _target(self, namespace: str, gallery: str, pod: Body, backend: Backend | None) -> Target:
        serving = pod["serving"]
        port = backend.port if backend and backend.port else serving["port"]
        scheme = backend.scheme if backend else Scheme.HTTP
        host, problem = self._host(serving["address"])
        beside = serving["usagePort"]
        if not port:
            problem = "the pod declares no port; name one in spec.backends"
        return Target(
            namespace=namespace,
            gallery=gallery,
            pod=pod["metadata"]["name"],
            uid=pod["metadata"]["uid"],
            backend=backend.name if backend else MOUNTED,
            type=backend.type if backend else BackendType.AUTO,
            base="" if problem else f"{scheme.value.lower()}://{host}:{port}",
            problem=problem,
            containers=serving["containers"],
            usage=f"http://{host}:{beside}" if host and beside else "",
            served=backend.model if backend else "",
            period=float(backend.probe_period_seconds) if backend else _PERIOD,
            max_loaded=backend.max_loaded if backend else 0,
            max_memory=backend.max_memory or "" if backend else "",
        )

    def _host(self, text: str) -> tuple[str, str]:
        """Returns a pod's address as it stands in a URL, and why it is not asked where it is not."""
        if not text:
            return "", "the pod has no address yet"
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return "", "the pod's address is none"
        known = any(
            address in network for network in self._networks if network.version == address.version
        )
        if not known and _is_special(address):
            return "", "no pod has an address like this one, so it is not asked"
        return f"[{address}]" if isinstance(address, ipaddress.IPv6Address) else str(address), ""


def _is_special(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it belongs to this machine or to a cloud's metadata, and to no pod.

    Who may write a pod's status must not send the operator there.
    """
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    scoped = isinstance(address, ipaddress.IPv6Address) and address.scope_id is not None
    return (
        mapped
        or scoped
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
    )


def _fits(backend: Backend, pod: Body) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in backend.selector.match_labels.items())


def _runs(pod: Body) -> bool:
    return (
        pod["phase"] == "Running"
        and not kinds.worker_gallery(pod)
        and "deletionTimestamp" not in pod["metadata"]
    )
