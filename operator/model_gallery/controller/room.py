"""Who of a Gallery lacks room and who could make some, as the cache tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from model_gallery.api.v1alpha1.model import ModelStatus
from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.reconcile import serving, times
from model_gallery.reconcile.observed import Candidate, RoomView, Shortage

__all__ = ["view"]

Body = dict[str, Any]


def view(starving: Sequence[Body], evictable: Sequence[Body]) -> RoomView | None:
    """Returns who lacks room and who could make some; None where nobody lacks any.

    Args:
        starving: Models of a Gallery whose last attempt lacked room.
        evictable: those whose files may go.
    """
    if not starving:
        return None
    shortages = [_shortage(body) for body in starving if not _rests(body)]
    lacking = {body["metadata"]["uid"] for body in starving}
    known = [(body, _status(body)) for body in evictable if body["metadata"]["uid"] not in lacking]
    marked = [(status, status.eviction) for _, status in known if status.eviction is not None]
    return RoomView(
        shortages=tuple(shortage for shortage in shortages if shortage is not None),
        candidates=tuple(
            _candidate(body, status) for body, status in known if _may_go(body, status)
        ),
        evicting=any(_has_files(status) for status, _ in marked),
        evicted=max(
            (times.from_text(mark.time) for status, mark in marked if not _has_files(status)),
            default=None,
        ),
    )


def _status(body: Body) -> ModelStatus:
    try:
        return ModelStatus.model_validate(body.get("status") or {})
    except ValidationError:
        return ModelStatus()


def _rests(body: Body) -> bool:
    suspended = bool((body.get("spec") or {}).get("suspend"))
    return suspended or "deletionTimestamp" in body["metadata"]


def _shortage(body: Body) -> Shortage | None:
    failure = _status(body).last_failure
    if failure is None:
        return None
    failed = times.from_text(failure.failed_time)
    return Shortage(body["metadata"]["name"], failed, failure.missing_bytes)


def _has_files(status: ModelStatus) -> bool:
    return status.resolved is not None and bool(status.resolved.plan_digest)


def _may_go(body: Body, status: ModelStatus) -> bool:
    if _rests(body) or status.eviction is not None or not _has_files(status):
        return False
    seen = status.serving
    return not serving.in_memory(seen) and (seen is None or seen.state is not ServingState.UNKNOWN)


def _candidate(body: Body, status: ModelStatus) -> Candidate:
    used = status.serving.last_used_time if status.serving else None
    since = used or status.installed_time
    metadata = body["metadata"]
    return Candidate(
        name=metadata["name"],
        uid=metadata["uid"],
        size_bytes=status.size_bytes or 0,
        last_used=times.from_text(since or metadata["creationTimestamp"]),
    )
