"""kopf handlers: translate an event and return. They never raise, wait or touch the patch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import kopf

from model_gallery.controller import kinds
from model_gallery.controller.intake import Intake
from model_gallery.runtime.resources import CLAIMS, JOBS, PODS, Resource

__all__ = ["WATCHED", "registry"]

WATCHED: tuple[tuple[str, Resource], ...] = (
    (kinds.GALLERY, kinds.GALLERIES),
    (kinds.MODEL, kinds.MODELS),
    (kinds.JOB, JOBS),
    (kinds.POD, PODS),
    (kinds.CLAIM, CLAIMS),
)


def registry(intake: Intake, noticed: Callable[[str, Any], None]) -> kopf.OperatorRegistry:
    """Returns a registry with one handler for each watched kind.

    Args:
        noticed: called with the kind and the raw event, for the detection of re-lists.
    """
    handlers = kopf.OperatorRegistry()
    for kind, resource in WATCHED:
        _register_one(handlers, intake, noticed, kind, resource)
    return handlers


def _register_one(
    handlers: kopf.OperatorRegistry,
    intake: Intake,
    noticed: Callable[[str, Any], None],
    kind: str,
    resource: Resource,
) -> None:
    async def on_event(event: Any, **_: Any) -> None:
        noticed(kind, event)
        intake.take(kind, event["object"], gone=event["type"] == "DELETED")

    kopf.on.event(
        resource.group, resource.version, resource.plural, registry=handlers, id=f"on-{kind}"
    )(on_event)
