"""Brings the contents of a plan onto the volume as blobs: from the network, or from a mounted volume."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import Sha256
from model_gallery.errors import StalledError, TransientError
from model_gallery.protocol.operation import InstallOperation
from model_gallery.sources.base import RemoteFile
from model_gallery.sources.http import HttpSource, probe
from model_gallery.storage import layout, marks
from model_gallery.storage.layout import Parts
from model_gallery.storage.receipts import ReceiptFile
from model_gallery.storage.staging import StagedFile, Stretch
from model_gallery.storage.volume import Volume
from model_gallery.transport.throttle import Throttle
from model_gallery.worker.contents import Contents
from model_gallery.worker.engine import Engine
from model_gallery.worker.report import Reporter
from model_gallery.worker.transfer import FileTransfer

__all__ = ["Fetch"]

_BLOCK = 1024 * 1024


@dataclass(slots=True)
class Fetch:
    """Fetches for one operation.

    Attributes:
        mounted: where files with a `local` place lie; may be the volume itself.
        good: by digest of a damaged content, the stretches of it that need not be fetched.
    """

    operation: InstallOperation
    volume: Volume
    http: HttpSource
    reporter: Reporter
    contents: Contents
    mounted: Volume
    good: Mapping[str, tuple[Stretch, ...]] = field(default_factory=dict)
    _done: dict[str, ReceiptFile] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, wanted: Mapping[str, tuple[int, RemoteFile]]) -> dict[str, ReceiptFile]:
        """Returns what lies on the volume now, by path.

        Args:
            wanted: by path, the file's place in the plan and where it comes from.

        Raises:
            GalleryError: as the engine does.
        """
        for path, (_, file) in wanted.items():
            if file.local is not None:
                self._take(path, file, file.local)
        transfers = [
            FileTransfer(number, path, file)
            for path, (number, file) in wanted.items()
            if file.local is None
        ]
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

    def _take(self, path: str, file: RemoteFile, local: Parts) -> None:
        """Takes a file over from a mounted volume: a link on our own, else a copy."""
        own, source = self.mounted is self.volume, local
        if not own:
            owner = self.operation.owner.uid
            source = (*layout.staging(owner, self.operation.plan_digest), "copy.part")
            opened = self.mounted.open_file(local)
            try:
                self.volume.copy_in(opened, source)
            finally:
                os.close(opened)
        digest, size = self._looked_into(path, self.volume, source)
        if file.sha256 not in {None, digest}:
            message = f"sha256 of {path} is {digest}, promised was {file.sha256}"
            raise StalledError(Reason.CHECKSUM_MISMATCH, message)
        if file.size_bytes not in {None, size}:
            raise TransientError(Reason.SOURCE_CHANGED, f"{path} changed while it was copied")
        if own:
            temporary = layout.temporary(self.operation.owner.uid)
            self.volume.link(source, layout.blob(digest), temporary)
        else:
            self.volume.rename(source, layout.blob(digest))
        self._done[path] = ReceiptFile(path=path, size_bytes=size, sha256=digest)

    def _looked_into(self, path: str, volume: Volume, parts: Parts) -> tuple[str, int]:
        digest, position = Sha256(), 0
        buffer = memoryview(bytearray(_BLOCK))
        with volume.reading(parts) as read_at:
            while count := read_at(position, buffer):
                digest.update(buffer[:count])
                position += count
            self.contents.look(path, position, read_at)
        return digest.hexdigest(), position

    def _stage(self, file: FileTransfer) -> StagedFile:
        folder = layout.staging(self.operation.owner.uid, self.operation.plan_digest)
        identity, journal = file.identity(), file.in_stretches
        staged = StagedFile.begin(self.volume, folder, file.number, identity, journal=journal)
        digest = file.remote.sha256 or ""
        good = self.good.get(digest, ())
        if journal and good and not staged.marked:
            staged.close()
            StagedFile.seed(
                self.volume, folder, file.number, identity, source=layout.blob(digest), good=good
            )
            staged = StagedFile.begin(self.volume, folder, file.number, identity)
        if file.in_stretches and file.remote.size_bytes is not None:
            staged.reserve(file.remote.size_bytes)
        return staged

    def _to_blob(self, file: FileTransfer) -> None:
        digest = file.digest.hexdigest()
        if file.staged is not None:
            self.contents.look(file.path, file.hashed, file.staged.read_at)
            file.staged.finish(layout.blob(digest))
        with self._lock:
            if file.staged is not None and file.in_stretches:
                # Files end in several threads, and all marks of a Model are made under one name.
                marks.write(self.volume, digest, file.marker.marks(), self.operation.owner.uid)
            self._done[file.path] = ReceiptFile(
                path=file.path, size_bytes=file.hashed, sha256=digest
            )
