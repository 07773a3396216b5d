"""Brings the contents of a plan onto the volume as blobs: from the network, or from a mounted volume."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from model_gallery.protocol.operation import InstallOperation
from model_gallery.sources.base import RemoteFile
from model_gallery.sources.http import HttpSource, probe
from model_gallery.storage import layout
from model_gallery.storage.receipts import ReceiptFile
from model_gallery.storage.staging import StagedFile
from model_gallery.storage.volume import Volume
from model_gallery.transport.throttle import Throttle
from model_gallery.worker.contents import Contents
from model_gallery.worker.engine import Engine
from model_gallery.worker.report import Reporter
from model_gallery.worker.transfer import FileTransfer

__all__ = ["Fetch"]


@dataclass(slots=True)
class Fetch:
    """Fetches for one operation."""

    operation: InstallOperation
    volume: Volume
    http: HttpSource
    reporter: Reporter
    contents: Contents
    _done: dict[str, ReceiptFile] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, wanted: Mapping[str, tuple[int, RemoteFile]]) -> dict[str, ReceiptFile]:
        """Returns what lies on the volume now, by path.

        Args:
            wanted: by path, the file's place in the plan and where it comes from.

        Raises:
            GalleryError: as the engine does.
        """
        transfers = [FileTransfer(number, path, file) for path, (number, file) in wanted.items()]
        engine = Engine(
            self.http.client,
            self.reporter,
            Throttle(self.operation.bandwidth_bytes),
            stage=self._stage,
            resolve=lambda file: probe(self.http.client, file.remote),
            done=self._to_blob,
        )
        if transfers:
            with self.volume.folder(layout.BLOBS, create=True):
                engine.run(transfers)
            self.volume.sync(layout.BLOBS)
        return self._done

    def _stage(self, file: FileTransfer) -> StagedFile:
        folder = layout.staging(self.operation.owner.uid, self.operation.plan_digest)
        staged = StagedFile.begin(
            self.volume, folder, file.number, file.identity(), journal=file.in_stretches
        )
        if file.in_stretches and file.remote.size_bytes is not None:
            staged.reserve(file.remote.size_bytes)
        return staged

    def _to_blob(self, file: FileTransfer) -> None:
        digest = file.digest.hexdigest()
        if file.staged is not None:
            self.contents.look(file.path, file.hashed, file.staged.read_at)
            file.staged.finish(layout.blob(digest))
        with self._lock:
            self._done[file.path] = ReceiptFile(
                path=file.path, size_bytes=file.hashed, sha256=digest
            )
