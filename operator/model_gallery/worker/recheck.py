"""The look before a repair: which contents of a Model are damaged, and which parts of them are good."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from model_gallery.protocol.report import Problem
from model_gallery.storage import layout
from model_gallery.storage.receipts import Receipt
from model_gallery.storage.staging import Stretch
from model_gallery.storage.volume import Volume
from model_gallery.worker.compare import Comparer

__all__ = ["Recheck", "recheck"]


@dataclass(frozen=True, slots=True)
class Recheck:
    """What was found.

    Attributes:
        recorded: by path, the digest of what was fetched earlier.
        damaged: by digest of a damaged content, the stretches of it that are good.
    """

    recorded: Mapping[str, str] = field(default_factory=dict)
    damaged: Mapping[str, tuple[Stretch, ...]] = field(default_factory=dict)


def recheck(receipt: Receipt, volume: Volume, comparer: Comparer) -> Recheck:
    """Reads everything that a receipt names; a content that lost its own name gets it back."""
    damaged: dict[str, tuple[Stretch, ...]] = {}
    for file in receipt.files:
        if not file.fetched:
            continue
        verdict = comparer.judge(file)
        if verdict.content is Problem.DAMAGED:
            damaged[file.sha256] = verdict.good
        elif verdict.content is Problem.MISSING and verdict.path is None:
            published = tuple(file.path.split("/"))
            volume.link(published, layout.blob(file.sha256), layout.temporary(receipt.uid))
    recorded = {file.path: file.sha256 for file in receipt.files if file.fetched}
    return Recheck(recorded, damaged)
