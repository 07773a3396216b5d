"""Which files of the volume belong to which Model, read from the receipts and looked up again at need.

A receipt is written before the first file of a plan is published and after the last one, so the time
of the receipts' folder tells of every change. The folder is looked at seldom: volumes are often on a
network.
"""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from model_gallery.errors import GalleryError, StalledError
from model_gallery.monitor import usage
from model_gallery.monitor.attribution import OwnedFiles, Owner
from model_gallery.storage import layout, receipts
from model_gallery.storage.receipts import Receipt
from model_gallery.storage.volume import FolderFacts, Volume

__all__ = ["FileIndex"]

_LOG = logging.getLogger(__name__)
_LOOK_SECONDS = 10.0
"""Between two looks at the folder."""
_STALE_SECONDS = 300.0
"""After this it is read although nothing changed: clocks of file systems are coarse."""
_MAX_FILES = 20_000
"""Two look-ups each; a repository of the largest models has a few hundred."""


class FileIndex:
    """The owned files of one volume.

    Args:
        root: where the volume is mounted.
    """

    def __init__(self, volume: Volume, root: Path) -> None:
        self._volume = volume
        self._root = root
        self._files = OwnedFiles(device=0, mapped_device="")
        self._facts: FolderFacts | None = None
        self._looked_at = self._read_at = float("-inf")

    def current(self, now: float) -> OwnedFiles:
        """Returns the files as of the last look; while the volume fails, as of the last good one.

        Args:
            now: seconds of a clock that only goes forward.
        """
        if now - self._looked_at < _LOOK_SECONDS:
            return self._files
        self._looked_at = now
        try:
            facts = self._volume.folder_facts(layout.RECEIPTS)
            if facts != self._facts or now - self._read_at >= _STALE_SECONDS:
                self._files = self._read(facts)
                self._facts, self._read_at = facts, now
        except GalleryError as error:
            _LOG.warning("Kept what was known of the volume", extra={"error": error.message})
        return self._files

    def _read(self, facts: FolderFacts | None) -> OwnedFiles:
        if facts is None:
            return OwnedFiles(device=0, mapped_device="")
        known = receipts.read_all(self._volume).values()
        by_inode: defaultdict[int, set[Owner]] = defaultdict(set)
        by_path: defaultdict[str, set[Owner]] = defaultdict(set)
        for owner, parts in _files(known):
            by_path["/".join(parts)].add(owner)
            if inode := self._inode(parts):
                by_inode[inode].add(owner)
        return OwnedFiles(
            device=facts.device,
            mapped_device=self._mapped_device(known) or _as_mapped(facts.device),
            folder=usage.place_of(str(self._root)),
            by_inode={inode: tuple(sorted(group)) for inode, group in by_inode.items()},
            by_path={path: tuple(sorted(group)) for path, group in by_path.items()},
        )

    def _inode(self, parts: layout.Parts) -> int | None:
        try:
            facts = self._volume.facts(parts)
        except StalledError:
            return None  # something foreign stands there, so it is not the Model's
        return facts.inode if facts is not None else None

    def _mapped_device(self, known: Iterable[Receipt]) -> str | None:
        for receipt in known:
            try:
                opened = self._volume.open_file(layout.receipt(receipt.uid))
            except FileNotFoundError:
                continue  # its Model went meanwhile
            try:
                return usage.mapped_device(opened)
            finally:
                os.close(opened)
        return None


def _files(known: Iterable[Receipt]) -> list[tuple[Owner, layout.Parts]]:
    """Returns each published path and its blob, which is another file where there are no hard links."""
    found: list[tuple[Owner, layout.Parts]] = []
    for receipt in known:
        owner = Owner(receipt.namespace, receipt.name, receipt.uid)
        for file in receipt.everything:
            found.append((owner, tuple(file.path.split("/"))))
            found.append((owner, layout.blob(file.sha256)))
            if len(found) >= 2 * _MAX_FILES:
                _LOG.warning("Left out files: too many", extra={"bound": _MAX_FILES})
                return found
    return found


def _as_mapped(device: int) -> str:
    return f"{os.major(device):02x}:{os.minor(device):02x}"
