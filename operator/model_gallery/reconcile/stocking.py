"""The Models that a Gallery itself keeps: which are made, which go, and how they stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from model_gallery.api import labels
from model_gallery.api.v1alpha1.gallery import InstallStatus
from model_gallery.artifact.digest import sha256_of_value
from model_gallery.reconcile.actions import ApplyModel, DeleteModel
from model_gallery.reconcile.observed import ObservedGallery, OwnedModel

__all__ = ["Stock", "stock"]

_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_MAX_STEM = 40
_NAMED = "entries"
_PER_PASS = 50
"""Objects written in one go; the rest follows in the next."""


@dataclass(frozen=True, slots=True)
class Stock:
    """What to do, and how it stands.

    Attributes:
        status: None where the Gallery keeps nothing.
    """

    actions: tuple[ApplyModel | DeleteModel, ...] = ()
    status: InstallStatus | None = None


def stock(observed: ObservedGallery) -> Stock:
    """Returns the Models to make and to remove.

    Removed is what is no longer asked for. An entry that vanished from the index is still asked for:
    nothing upstream removes files from here.
    """
    selection = observed.selection
    if selection is None:
        return Stock()
    wanted = dict.fromkeys(selection.matched, _by_selection(observed)) | dict.fromkeys(
        selection.named, _NAMED
    )
    owned = {model.entry: model for model in observed.owned}
    missing = [
        entry for entry in wanted if entry not in owned and entry not in observed.foreign_entries
    ]
    leaving = [
        model
        for model in observed.owned
        if model.entry not in wanted and not model.deleting and not _stays(model, observed)
    ]
    going = {model.uid for model in leaving}
    actions: list[ApplyModel | DeleteModel] = [
        DeleteModel(model.name, model.uid) for model in leaving
    ]
    actions += [ApplyModel(_manifest(observed, entry, wanted[entry])) for entry in missing]
    actions += [
        ApplyModel(_manifest(observed, model.entry, model.by))
        for model in observed.owned
        if model.uid not in going and not model.deleting and model.defaults != _digest(observed)
    ]
    if not wanted and not observed.owned and not selection.missing:
        return Stock(tuple(actions[:_PER_PASS]))
    ready = sum(1 for entry in wanted if entry in owned and owned[entry].ready)
    status = InstallStatus(
        wanted=len(wanted) + len(selection.missing),
        ready=ready,
        missing=tuple(name[:256] for name in selection.missing[:16]),
    )
    return Stock(tuple(actions[:_PER_PASS]), status)


def _stays(model: OwnedModel, observed: ObservedGallery) -> bool:
    spec, selection = observed.spec, observed.selection
    if spec is None or selection is None:
        return True
    if model.entry in spec.install.entries:
        return True
    if spec.install.matching is None:
        return False
    # It may have been selected for what the vanished entry said of itself; also where it was named
    # when it was made, since a list of names may have become a selection. And what this very selection
    # made stays although its entry says something else of itself by now.
    return model.entry in observed.vanished_entries or model.by == _by_selection(observed)


def _by_selection(observed: ObservedGallery) -> str:
    """Returns what stands on Models of the present selection: another one has another digest."""
    wanted = observed.spec.install.matching if observed.spec else None
    return f"matching-{sha256_of_value(wanted.model_dump())[:8]}" if wanted else ""


def _defaults(observed: ObservedGallery) -> dict[str, Any]:
    given = observed.spec.install.defaults if observed.spec else None
    return given.model_dump(mode="json", by_alias=True, exclude_none=True) if given else {}


def _digest(observed: ObservedGallery) -> str:
    """Returns what stands on Models with the present defaults; empty where there are none."""
    given = _defaults(observed)
    return sha256_of_value(given)[:16] if given else ""


def _manifest(observed: ObservedGallery, entry: str, by: str) -> dict[str, Any]:
    meta = observed.meta
    stem = _NOT_IN_NAMES.sub("-", entry.lower()).strip("-")[:_MAX_STEM].strip("-")
    digits = sha256_of_value([meta.name, entry])[:6]
    name = "-".join(part for part in (meta.name[:150].rstrip(".-"), stem, digits) if part)
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.MODEL,
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "annotations": _annotations(observed, by),
            "ownerReferences": [
                {
                    "apiVersion": labels.API_VERSION,
                    "kind": labels.GALLERY,
                    "name": meta.name,
                    "uid": meta.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "galleryName": meta.name,
            "source": {"entry": {"name": entry}},
            **_defaults(observed),
        },
    }


def _annotations(observed: ObservedGallery, by: str) -> dict[str, str]:
    digest = _digest(observed)
    return {labels.ANNOTATION_INSTALLED_BY: by} | (
        {labels.ANNOTATION_DEFAULTS: digest} if digest else {}
    )
