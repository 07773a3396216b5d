"""`install` and `adopt`: new Models, from the Gallery, from elsewhere, or from loose files."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from model_gallery.api import labels
from model_gallery.plugin import facts, manifests
from model_gallery.plugin.commands import available, waiting
from model_gallery.plugin.manifests import Wish
from model_gallery.plugin.problem import Exit, Forbidden, Problem
from model_gallery.plugin.session import Session

__all__ = ["adopt", "install", "loose_path"]


def install(session: Session, wish: Wish, *, dry_run: bool, wait_seconds: float | None) -> int:
    """Creates a Model, or prints it.

    Args:
        wait_seconds: how long to wait for Ready; None: not at all.
    """
    manifest = manifests.model(wish)
    if dry_run:
        session.output.document(manifest)
        return Exit.DONE
    if not manifests.is_uri(wish.what):
        _check_entry(session, wish)
    created = session.cluster.create(manifest)
    session.output.done(created, "created")
    if wait_seconds is None:
        return Exit.DONE
    return waiting.until_settled(session, [facts.name_of(created)], wait_seconds)


def adopt(session: Session, wish: Wish, *, apply: bool) -> int:
    """Prints or creates a Model for a file that lies on the volume already.

    Args:
        wish: `what` is the file's path, or the name under which the Gallery lists it.
    """
    gallery = session.cluster.get(labels.GALLERY, session.namespace, wish.gallery)
    path = loose_path(gallery, wish.what)
    if path is None:
        path = wish.what
        session.output.note(
            f"note: Gallery {wish.gallery} lists no loose file {wish.what!r};"
            " the path is taken as it is"
        )
    manifest = manifests.adopted(replace(wish, what=path))
    if not wish.sha256:
        session.output.note(
            "note: without --sha256 the bytes are taken as they are, and the Model says"
            f" Verified=Unknown; `sha256sum {path}` on the volume prints the digest"
        )
    if not apply:
        session.output.document(manifest)
        return Exit.DONE
    session.output.done(session.cluster.create(manifest), "created")
    return Exit.DONE


def loose_path(gallery: dict[str, Any], wanted: str) -> str | None:
    """Returns the path of the loose file of this path or name.

    Returns None where the Gallery lists others only; the path itself where it lists nothing at all.
    """
    loose = facts.listed_loose(gallery)
    if loose is None:
        return wanted
    for file in loose:
        path = str(file.get("path") or file.get("name") or "")
        if wanted.lstrip("/") in {path, file.get("name")}:
            return path
    return None


def _check_entry(session: Session, wish: Wish) -> None:
    """Tells of a wrong name now rather than by a Stalled Model, where the index can be read."""
    try:
        found = available.read(session, wish.gallery)
    except Forbidden:
        return
    if found is None or wish.what in found.names():
        return
    near = available.similar(found, wish.what)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "`available` lists them"
    raise Problem(f"the index of Gallery {wish.gallery} has no entry {wish.what!r}: {hint}")
