"""`available`: what a Gallery's index offers, from the copy that the operator keeps of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

from model_gallery.api import labels
from model_gallery.catalog import index
from model_gallery.catalog.index import Index
from model_gallery.errors import GalleryError
from model_gallery.plugin import facts, tables
from model_gallery.plugin.output import Format
from model_gallery.plugin.problem import Exit, Problem
from model_gallery.plugin.session import Session
from model_gallery.plugin.tables import Table
from model_gallery.protocol import indexcopy

__all__ = ["Offer", "installed", "matching", "offers", "read", "run", "similar", "table"]

_DESCRIPTION_WIDTH = 60
_WIDE_DESCRIPTION_WIDTH = 160
_TAGS_WIDTH = 30


@dataclass(frozen=True, slots=True)
class Offer:
    """An entry, as somebody who chooses wants to see it.

    Attributes:
        models: Models of the Gallery that are made from it.
    """

    name: str
    description: str
    tags: tuple[str, ...]
    license: str
    models: tuple[str, ...]


def run(session: Session, pattern: str, gallery: str | None) -> int:
    """Prints the entries that match."""
    name = session.gallery(gallery)
    found = read(session, name)
    if found is None:
        session.cluster.get(labels.GALLERY, session.namespace, name)
        raise Problem(
            f"Gallery {session.namespace}/{name} has no index yet:"
            f" `kubectl describe gallery {name} -n {session.namespace}` says why"
        )
    models = session.cluster.objects(labels.MODEL, session.namespace)
    chosen = matching(offers(found, installed(models, name)), pattern)
    output = session.output
    if output.format is Format.NAME:
        output.names([offer.name for offer in chosen])
    elif output.for_people:
        about = f" that match {pattern!r}" if pattern else ""
        output.table(
            table(chosen, wide=output.format is Format.WIDE),
            f"None of the {len(found)} entries of Gallery {name}{about}.",
        )
    else:
        output.document(
            [
                {**asdict(offer), "tags": list(offer.tags), "models": list(offer.models)}
                for offer in chosen
            ]
        )
    return Exit.DONE


def read(session: Session, gallery: str) -> Index | None:
    """Returns a Gallery's index; None where no copy is kept, or none that can be read."""
    copy = session.cluster.index_copy(session.namespace, gallery)
    if copy is None:
        return None
    try:
        return index.parse(indexcopy.index_text(copy))
    except (GalleryError, KeyError) as error:
        raise Problem(
            f"the copy of the index of Gallery {session.namespace}/{gallery} cannot be read:"
            f" use a kubectl-model of the operator's version ({error})"
        ) from error


def installed(models: Iterable[Mapping[str, Any]], gallery: str) -> dict[str, list[str]]:
    """Returns the Models of a Gallery by the entry that they are made from."""
    found: dict[str, list[str]] = {}
    for model in models:
        spec = facts.spec_of(model)
        entry = ((spec.get("source") or {}).get("entry") or {}).get("name")
        if entry and spec.get("galleryName") == gallery:
            found.setdefault(entry, []).append(facts.name_of(model))
    return found


def offers(found: Index, models: Mapping[str, list[str]]) -> list[Offer]:
    """Returns the entries in the index's order."""
    return [_offer(found, name, tuple(models.get(name, ()))) for name in found.names()]


def matching(found: Iterable[Offer], pattern: str) -> list[Offer]:
    """Returns what matches, names before tags before descriptions.

    Args:
        pattern: part of a name, tag or description, in any case; with `*` or `?` a whole name;
            empty: everything.
    """
    wanted = pattern.lower()
    ranked = [(rank, offer) for offer in found if (rank := _rank(offer, wanted)) is not None]
    return [offer for _, offer in sorted(ranked, key=lambda pair: pair[0])]


def similar(found: Index, name: str) -> list[str]:
    """Returns names of entries that may be meant instead."""
    by_lower = {one.lower(): one for one in found.names()}
    return [by_lower[one] for one in get_close_matches(name.lower(), by_lower, n=3)]


def table(found: Iterable[Offer], *, wide: bool = False) -> Table:
    """Returns the table of entries."""
    width = _WIDE_DESCRIPTION_WIDTH if wide else _DESCRIPTION_WIDTH
    rows = [
        (
            offer.name,
            ",".join(offer.models),
            offer.license,
            ",".join(offer.tags) if wide else tables.cut(",".join(offer.tags), _TAGS_WIDTH),
            tables.cut(offer.description, width),
        )
        for offer in found
    ]
    return Table(("NAME", "MODEL", "LICENSE", "TAGS", "DESCRIPTION"), rows)


def _offer(found: Index, name: str, models: tuple[str, ...]) -> Offer:
    try:
        entry = found.entry(name)
    except GalleryError as error:
        return Offer(name, f"Cannot be installed: {error.message}", (), "", models)
    if entry is None:
        raise AssertionError(name)
    return Offer(name, entry.description, entry.tags, entry.license, models)


def _rank(offer: Offer, wanted: str) -> int | None:
    name = offer.name.lower()
    if any(sign in wanted for sign in "*?"):
        return 0 if fnmatchcase(name, wanted) else None
    places = (name, " ".join(offer.tags).lower(), offer.description.lower())
    return next((rank for rank, place in enumerate(places) if wanted in place), None)
