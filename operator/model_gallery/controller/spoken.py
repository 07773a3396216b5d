"""Which pods speak of which Models: so that a look at one Model does not go through all pods."""

from __future__ import annotations

from collections.abc import Iterable

from model_gallery.reconcile.serving import PodView

__all__ = ["Spoken"]

Pod = tuple[str, str]
"""Namespace with Gallery, and the pod's uid."""


class Spoken:
    """Pods by the names that they speak of, within their Gallery."""

    def __init__(self) -> None:
        self._names: dict[Pod, frozenset[str]] = {}
        self._pods: dict[tuple[str, str], set[Pod]] = {}

    def put(self, pod: Pod, view: PodView) -> None:
        """Takes what a pod told last: its server's models, and the Models of its sidecar's word."""
        processes = view.usage.processes if view.usage else ()
        self._replace(pod, view.spoken.union(*(process.models for process in processes)))

    def drop(self, pod: Pod) -> None:
        """Forgets a pod."""
        self._replace(pod, frozenset())
        self._names.pop(pod, None)

    def of(self, place: str, names: Iterable[str]) -> set[Pod]:
        """Returns the pods of a Gallery that speak of one of these names."""
        return {pod for name in names for pod in self._pods.get((place, name), ())}

    def _replace(self, pod: Pod, names: frozenset[str]) -> None:
        before = self._names.get(pod, frozenset())
        for name in before - names:
            pods = self._pods[pod[0], name]
            pods.discard(pod)
            if not pods:
                del self._pods[pod[0], name]
        for name in names - before:
            self._pods.setdefault((pod[0], name), set()).add(pod)
        self._names[pod] = names
