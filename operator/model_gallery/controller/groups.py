"""The pods of Galleries summed up by backend, as their status shows them, and when that is due."""

from __future__ import annotations

from collections.abc import Iterable

from model_gallery.api.v1alpha1.gallery import BackendStatus
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.protocol.backend import BackendFacts
from model_gallery.reconcile import serving
from model_gallery.reconcile.serving import PodView

__all__ = ["Sums", "grouped"]

_FIGURES_SECONDS = serving.FIGURES_PERIOD.total_seconds()


class Sums:
    """The newest sums of all Galleries, and which of them may be others now, by `namespace/name`.

    Attributes:
        shown: as the Galleries' status has them.
        came_or_went: Galleries whose Models may stand otherwise, once all their pods have been asked.
    """

    def __init__(self) -> None:
        self.shown: dict[str, tuple[BackendStatus, ...]] = {}
        self.came_or_went: set[str] = set()
        self._moved: set[str] = set()
        self._drifted: set[str] = set()
        self._told: dict[str, float] = {}

    def note(self, place: str, before: BackendFacts | None, after: BackendFacts) -> None:
        """Takes what a pod of a Gallery told, and what it had told before."""
        if _standing(before) != _standing(after):
            self._moved.add(place)
        elif _figures(before) != _figures(after):
            self._drifted.add(place)

    def due(self, now: float) -> set[str]:
        """Returns the Galleries to sum up: other states at once, other figures every 30 s.

        Args:
            now: seconds of a clock that only goes forward.
        """
        rested = {
            place
            for place in self._drifted
            if now - self._told.get(place, float("-inf")) >= _FIGURES_SECONDS
        }
        found = self._moved | self.came_or_went | rested
        self._moved = set()
        self._drifted -= rested
        return found

    def is_complete(self, place: str, *, unasked: bool) -> bool:
        """Whether pods came or went and all that are there have been asked; says so once.

        Args:
            unasked: whether one was not asked yet.
        """
        if place not in self.came_or_went or unasked:
            return False
        self.came_or_went.discard(place)
        return True

    def show(self, place: str, views: list[PodView], now: float) -> bool:
        """Sums a Gallery up; returns whether that changed what is shown."""
        known, fresh = self.shown.get(place, ()), grouped(views)
        if fresh:
            self.shown[place], self._told[place] = fresh, now
        else:
            self.shown.pop(place, None)
            self._told.pop(place, None)
        return known != fresh


def grouped(views: Iterable[PodView]) -> tuple[BackendStatus, ...]:
    """Returns the sums, sorted by the backend's name."""
    groups: dict[str, list[PodView]] = {}
    for view in views:
        groups.setdefault(view.backend, []).append(view)
    return tuple(_group(name, found) for name, found in sorted(groups.items()))


def _standing(facts: BackendFacts | None) -> object:
    """What of a pod is shown at once when it changes."""
    return facts and (facts.type, facts.ready, facts.message)


def _figures(facts: BackendFacts | None) -> object:
    """What of a pod moves all the time."""
    return facts and (_is_busy(facts), len(facts.models))


def _group(name: str, views: list[PodView]) -> BackendStatus:
    facts = [view.facts for view in views if view.facts is not None]
    types = sorted({item.type.value for item in facts if item.type})
    return BackendStatus(
        name=name,
        type=",".join(types)[:32],
        pods=len(views),
        ready=sum(item.ready for item in facts),
        busy=sum(map(_is_busy, facts)),
        loaded=sum(len(item.models) for item in facts),
        message=next((item.message for item in facts if item.message), "")[:512],
    )


def _is_busy(facts: BackendFacts) -> bool:
    return any(model.state is ServingState.BUSY for model in facts.models)
