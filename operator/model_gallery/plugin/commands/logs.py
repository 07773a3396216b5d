"""`logs`: what the newest worker of a Model says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from model_gallery.api import labels
from model_gallery.api.conditions import ConditionType
from model_gallery.plugin import facts
from model_gallery.plugin.problem import Exit, Problem
from model_gallery.plugin.session import Session

__all__ = ["newest", "run"]


def run(session: Session, name: str, *, follow: bool) -> int:
    """Prints the log of the newest worker's pod."""
    found = session.cluster.get(labels.MODEL, session.namespace, name)
    selector = f"{labels.LABEL_MODEL_UID}={found['metadata']['uid']}"
    pod = newest(session.cluster.pods(session.namespace, selector))
    if pod is None:
        ready = facts.condition(found, ConditionType.READY)
        raise Problem(
            f"Model {session.namespace}/{name} has no worker now ({ready.reason or 'not observed'}):"
            " pods of workers go some minutes after their end"
        )
    for chunk in session.cluster.log(session.namespace, pod, follow=follow):
        session.output.raw(chunk)
    return Exit.DONE


def newest(pods: Sequence[Mapping[str, Any]]) -> str | None:
    """Returns the name of the pod that was created last; None without pods."""
    if not pods:
        return None
    last = max(pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], facts.name_of(pod)))
    return facts.name_of(last)
