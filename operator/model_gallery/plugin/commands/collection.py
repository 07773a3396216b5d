"""`gc`: how much of a Gallery's volume nobody needs, and the wish to have it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model_gallery.api import labels
from model_gallery.plugin import facts
from model_gallery.plugin.problem import Exit
from model_gallery.plugin.session import Session
from model_gallery.reconcile import sizes, times

__all__ = ["reclaimable", "run"]


def run(session: Session, gallery: str, *, dry_run: bool) -> int:
    """Shows what can be reclaimed; without `dry_run` asks the operator to do so."""
    if dry_run:
        found = session.cluster.get(labels.GALLERY, session.namespace, gallery)
        session.output.done(found, f"could give back {reclaimable(found)}")
        return Exit.DONE
    asked = times.to_text(session.now())
    note = {"metadata": {"annotations": {labels.ANNOTATION_COLLECT_AT: asked}}}
    found = session.cluster.patch(labels.GALLERY, session.namespace, gallery, note)
    session.output.done(found, f"collection requested, of {reclaimable(found)}")
    return Exit.DONE


def reclaimable(gallery: Mapping[str, Any]) -> str:
    """Returns how much nobody needs, for people."""
    size = (facts.status_of(gallery).get("storage") or {}).get("reclaimableBytes")
    if size is None:
        return "an amount that is not known yet"
    return sizes.to_text(int(size))
