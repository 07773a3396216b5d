"""Takes from the volume what a removal plan names, and the folders that it leaves empty."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping

from model_gallery.planning import room
from model_gallery.planning.install import Owned
from model_gallery.planning.remove import Removal
from model_gallery.planning.room import Kept
from model_gallery.storage import layout, marks, receipts
from model_gallery.storage.receipts import KeptContent, Receipt
from model_gallery.storage.volume import Volume

__all__ = [
    "carry_out",
    "keep",
    "make_room",
    "owned",
    "remove_archives",
    "remove_staging",
    "remove_temporaries",
]

_LOG = logging.getLogger(__name__)


def owned(everyone: Mapping[str, Receipt], *, without: str) -> list[Owned]:
    """Returns all that the receipts name, but for those of one Model's uid."""
    return [
        Owned(file.path, file.sha256, receipt.owner)
        for uid, receipt in everyone.items()
        if uid != without
        for file in receipt.everything
    ] + [
        Owned("", content.sha256, receipt.owner)
        for uid, receipt in everyone.items()
        if uid != without
        for content in receipt.kept
    ]


def keep(
    volume: Volume, receipt: Receipt, *, until: int
) -> tuple[tuple[KeptContent, ...], tuple[KeptContent, ...]]:
    """Returns the contents of earlier plans to keep, and those whose time is over.

    Args:
        until: when the time of what leaves now is over, seconds since the epoch.
    """
    now, published = time.time(), {file.sha256 for file in receipt.files}
    known = {content.sha256: content for content in receipt.kept}
    if until > now:
        for file in receipt.leaving:
            facts = volume.facts(layout.blob(file.sha256))
            if facts is not None:
                known[file.sha256] = KeptContent(
                    sha256=file.sha256, size_bytes=facts.size_bytes, until=until
                )
    kept = [content for sha256, content in known.items() if sha256 not in published]
    return (
        tuple(content for content in kept if content.until > now),
        tuple(content for content in kept if content.until <= now),
    )


def make_room(volume: Volume, missing: int, wanted: Iterable[str | None] = ()) -> None:
    """Gives contents up that are kept for a way back, where an install lacks the room that they take.

    The receipts go on to name them: each is its own Model's to write, and a way back fetches what is gone.

    Args:
        missing: bytes.
        wanted: digests of contents to leave, beside those that a Model publishes.
    """
    if not missing:
        return
    everyone = receipts.read_all(volume).values()
    needed = set(wanted)
    needed |= {file.sha256 for receipt in everyone for file in receipt.everything}
    needed |= {archive.sha256 for receipt in everyone for archive in receipt.archives}
    until: dict[str, int] = {}
    for content in (content for receipt in everyone for content in receipt.kept):
        until[content.sha256] = max(content.until, until.get(content.sha256, 0))
    found = [
        Kept(sha256, facts.size_bytes, until[sha256])
        for sha256 in until.keys() - needed
        for facts in [volume.facts(layout.blob(sha256))]
        if facts is not None and facts.links == 1
    ]
    going = room.given_up(found, missing)
    if going:
        _LOG.info(
            "Gave kept contents up to make room", extra={"contents": len(going), "missing": missing}
        )
        carry_out(volume, Removal((), going))


def carry_out(volume: Volume, removal: Removal) -> None:
    """Removes published files first, contents after them."""
    for path in removal.paths:
        parts = tuple(path.split("/"))
        volume.remove(parts)
        volume.remove_empty(parts[:-1])
    for sha256 in removal.blobs:
        blob = layout.blob(sha256)
        volume.remove(blob)
        volume.remove_empty(blob[:-1])
        marks.remove(volume, sha256)


def remove_archives(
    volume: Volume,
    receipt: Receipt,
    everyone: Mapping[str, Receipt],
    *,
    needed: Collection[str] = (),
) -> None:
    """Removes the archives that a receipt names, but for those that somebody else still needs.

    Args:
        needed: digests of what the Model itself publishes or keeps from now on.
    """
    others = [other for uid, other in everyone.items() if uid != receipt.uid]
    needed = set(needed)
    needed |= {file.sha256 for other in others for file in other.everything}
    needed |= {one.sha256 for other in others for one in other.archives if one.is_pending}
    blobs = sorted({archive.sha256 for archive in receipt.archives} - needed)
    carry_out(volume, Removal((), tuple(blobs)))


def remove_temporaries(volume: Volume, uid: str, receipt: Receipt | None) -> None:
    """Removes what a kill left under a temporary name: it may be gigabytes, and no receipt names it.

    Args:
        receipt: names the folders in which something may have been made; None: only our own.
    """
    files = receipt.everything if receipt is not None else ()
    folders = {tuple(file.path.split("/"))[:-1] for file in files}
    for folder in sorted(folders | {layout.RECEIPTS, layout.BLOBS, layout.MARKS}):
        if not volume.is_folder(folder):
            continue
        for name in (layout.temporary(uid), layout.temporary_copy(uid)):
            volume.remove((*folder, name))


def remove_staging(volume: Volume, uid: str) -> None:
    """Removes all unfinished files of a Model."""
    folder = layout.staging(uid)
    volume.remove_tree(folder)
    volume.remove_empty(folder[:-1])
