"""Scan: look at the whole volume without reading contents, and collect what nobody needs any longer.

Bounded: at most `max_files` files and as many folders are looked at, one at a time, and what is told goes
out in lines of a few files, `MAX_LOOSE_FILES` in all, so that neither memory nor the log grows with the
volume: a kubelet keeps the last 10 MiB of a log, and what the log no longer holds would count as gone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from model_gallery.api.conditions import Reason
from model_gallery.protocol.operation import ScanOperation
from model_gallery.protocol.report import (
    MAX_LOOSE_FILES,
    FileProblem,
    InventoryLine,
    LooseFile,
    ModelInventory,
    Problem,
    ResultLine,
    VolumeFacts,
)
from model_gallery.storage import layout, marks, receipts
from model_gallery.storage.layout import Parts
from model_gallery.storage.receipts import Receipt, ReceiptFile
from model_gallery.storage.volume import FileFacts, Volume
from model_gallery.worker.report import Reporter

__all__ = ["Scan"]

_Item = TypeVar("_Item")
_PER_LINE = 50
"""A file of the longest path takes 4 KiB; the line must stay under what log readers take."""
_MAX_PROBLEMS = 16
_MAX_LOOSE_BYTES = 4 * 1024 * 1024
"""Of paths, as the lines spell them; those of ten thousand files may be forty times as long."""
_HIDDEN = "."


@dataclass(slots=True)
class Scan:
    """One scan operation."""

    operation: ScanOperation
    volume: Volume
    reporter: Reporter
    _reclaimable: int = 0
    _collected: int = 0
    _loose_bytes: int = 0
    _loose_files: int = 0
    _cut: bool = False
    _needed: set[str] = field(default_factory=set)

    def run(self) -> ResultLine:
        """Carries the operation out and returns its result."""
        everyone = receipts.read_all(self.volume)
        models = [self._model(receipt) for receipt in everyone.values()]
        for line in _chunks(models):
            self.reporter.inventory(InventoryLine(models=tuple(line)))
        named = {file.path for receipt in everyone.values() for file in receipt.everything}
        for chunk in _chunks(self._loose(named)):
            self.reporter.inventory(InventoryLine(loose=tuple(chunk)))
        managed = self._managed(everyone)
        self._waste()
        return ResultLine(
            reason=Reason.SUCCEEDED,
            volume=VolumeFacts(
                capacity_bytes=self.volume.capacity(),
                available_bytes=self.volume.free()[0],
                managed_bytes=managed,
                loose_bytes=self._loose_bytes,
                loose_files=self._loose_files,
                reclaimable_bytes=self._reclaimable,
                collected_bytes=self._collected,
                damaged_models=sum(1 for model in models if model.problems_total),
                cut=self._cut,
            ),
        )

    def _model(self, receipt: Receipt) -> ModelInventory:
        problems = [
            FileProblem(path=file.path, problem=problem)
            for file in receipt.files
            for problem in [self._problem(file)]
            if problem is not None
        ]
        return ModelInventory(
            uid=receipt.uid,
            namespace=receipt.namespace,
            name=receipt.name,
            files=len(receipt.files),
            size_bytes=sum(file.size_bytes for file in receipt.files),
            problems=tuple(problems[:_MAX_PROBLEMS]),
            problems_total=len(problems),
        )

    def _problem(self, file: ReceiptFile) -> Problem | None:
        facts = self.volume.facts(tuple(file.path.split("/")))
        if facts is None:
            return Problem.MISSING
        if facts.size_bytes != file.size_bytes:
            return Problem.DAMAGED
        touched = file.modified_ns not in {0, facts.modified_ns}
        return Problem.TOUCHED if touched else None

    def _loose(self, named: set[str]) -> Iterator[LooseFile]:
        """Counts all that no receipt names; gives the first of it to be told."""
        room = _MAX_LOOSE_BYTES
        looked_at = {"files": 0, "others": 0}
        for parts, facts in self.volume.walk(skip=(layout.ROOT,)):
            kind = "files" if facts else "others"
            looked_at[kind] += 1
            if looked_at[kind] > self.operation.max_files:
                self._cut = True
                return
            path = "/".join(parts)
            if facts is None or path in named or parts[-1].startswith(_HIDDEN):
                continue
            self._loose_files += 1
            self._loose_bytes += facts.size_bytes
            if self._loose_files > MAX_LOOSE_FILES or room <= 0:
                continue
            # Names are bytes; one that is no UTF-8 must not cost the whole report.
            shown = os.fsencode(path).decode(errors="replace")
            room -= len(json.dumps(shown))
            yield LooseFile(path=shown, size_bytes=facts.size_bytes)

    def _managed(self, everyone: Mapping[str, Receipt]) -> int:
        """Returns the bytes that receipts name, each content once."""
        sizes = {
            file.sha256: file.size_bytes
            for receipt in everyone.values()
            for file in receipt.everything
        }
        now = time.time()
        for receipt in everyone.values():
            for content in receipt.kept:
                if content.until > now and self.volume.facts(layout.blob(content.sha256)):
                    sizes[content.sha256] = content.size_bytes
        self._needed = set(sizes)
        # An archive that was refused stays until its plan changes.
        self._needed |= {
            archive.sha256 for receipt in everyone.values() for archive in receipt.archives
        }
        return sum(sizes.values())

    def _waste(self) -> None:
        """Counts what is ours and needed by nobody; removes it where that was asked for."""
        living = set(self.operation.models)
        for parts, facts in self.volume.walk(layout.STAGING):
            if facts and parts[len(layout.STAGING)] not in living and self._is_old(facts):
                self._drop(parts, facts)
        if living.intersection(self.volume.names(layout.STAGING)):
            # Contents of an install under way have no receipt yet.
            return
        for parts, facts in self.volume.walk(layout.BLOBS):
            if facts and parts[-1] not in self._needed and self._is_old(facts):
                self._drop(parts, facts)

    def _is_old(self, facts: FileFacts) -> bool:
        return time.time() - facts.changed >= self.operation.collect_age_seconds

    def _drop(self, parts: Parts, facts: FileFacts) -> None:
        freed = facts.size_bytes if facts.links == 1 else 0
        if not self.operation.collect:
            self._reclaimable += freed
            return
        self.volume.remove(parts)
        marks.remove(self.volume, parts[-1])
        self.volume.remove_empty(parts[:-1])
        self._collected += freed


def _chunks(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    remaining = iter(items)
    while chunk := list(islice(remaining, _PER_LINE)):
        yield chunk
