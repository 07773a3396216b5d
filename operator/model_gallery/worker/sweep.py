"""Takes from the volume what a removal plan names, and the folders that it leaves empty."""

from __future__ import annotations

from collections.abc import Mapping

from model_gallery.planning.install import Owned
from model_gallery.planning.remove import Removal
from model_gallery.storage import layout
from model_gallery.storage.receipts import Receipt
from model_gallery.storage.volume import Volume

__all__ = ["carry_out", "owned", "remove_staging"]


def owned(everyone: Mapping[str, Receipt], *, without: str) -> list[Owned]:
    """Returns all that the receipts name, but for those of one Model's uid."""
    return [
        Owned(file.path, file.sha256, receipt.owner)
        for uid, receipt in everyone.items()
        if uid != without
        for file in receipt.everything
    ]


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


def remove_staging(volume: Volume, uid: str) -> None:
    """Removes all unfinished files of a Model."""
    folder = layout.staging(uid)
    volume.remove_tree(folder)
    volume.remove_empty(folder[:-1])
