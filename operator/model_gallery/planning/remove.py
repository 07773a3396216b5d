"""What a removal may take from the volume: what no other Model publishes, and no more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model_gallery.planning.install import Owned

__all__ = ["Removal", "plan"]


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes.

    Attributes:
        paths: published files.
        blobs: contents, by sha256.
    """

    paths: tuple[str, ...]
    blobs: tuple[str, ...]


def plan(leaving: Iterable[Owned], others: Iterable[Owned]) -> Removal:
    """Returns what goes with a Model, or with an older plan of it.

    Args:
        leaving: what it no longer publishes; an empty path stands for a content without one.
        others: what all others publish, and what it still does itself.
    """
    others = tuple(others)
    kept_paths = {item.path for item in others}
    kept_contents = {item.sha256 for item in others}
    leaving = tuple(leaving)
    paths = sorted({item.path for item in leaving if item.path} - kept_paths)
    blobs = sorted({item.sha256 for item in leaving} - kept_contents)
    return Removal(tuple(paths), tuple(blobs))
