"""What happens when several files become whole at the same moment."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from model_gallery.protocol import operation
from model_gallery.protocol.operation import InstallOperation
from model_gallery.sources.base import RemoteFile
from model_gallery.storage import layout, marks
from model_gallery.storage.staging import StagedFile
from model_gallery.storage.volume import Volume
from model_gallery.worker.contents import Contents
from model_gallery.worker.fetch import Fetch
from model_gallery.worker.transfer import SMALL_BYTES, FileTransfer

OPERATION = """{"kind": "install", "owner": {"namespace": "ns", "name": "m", "uid": "uid"},
 "planDigest": "p", "files": []}"""


def whole(volume: Volume, number: int) -> FileTransfer:
    """Returns a file of stretches that differs from others by its number, fetched and hashed."""
    data = bytes([number]) * (SMALL_BYTES + 1)
    remote = RemoteFile(f"{number}.bin", "http://x/y", len(data), ranges=True)
    file = FileTransfer(number, f"{number}.bin", remote)
    file.staged = StagedFile.begin(volume, layout.staging("uid", "p"), number, file.identity())
    file.staged.write_at(0, memoryview(data))
    file.digest.update(data)
    file.hashed = len(data)
    return file


def test_files_that_end_together_do_not_share_a_temporary_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume, unused = Volume(tmp_path), cast("Any", None)
    wish = cast("InstallOperation", operation.parse(OPERATION))
    fetch = Fetch(wish, volume, unused, unused, Contents(safe=False), volume)
    files = [whole(volume, 1), whole(volume, 2)]
    (tmp_path / ".modelgallery" / "blobs" / "sha256").mkdir(parents=True)
    makers, met, shared = threading.Semaphore(1), threading.Event(), []
    write = marks.write

    def watched(*given: Any) -> None:
        if not makers.acquire(blocking=False):
            shared.append(given)
            met.set()
            return
        # Nobody comes: the time is a chance for the second one, not a promise about it.
        met.wait(0.5)
        write(*given)
        makers.release()

    monkeypatch.setattr(marks, "write", watched)
    threads = [threading.Thread(target=fetch._to_blob, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert shared == []
    for file in files:
        assert marks.read(volume, file.digest.hexdigest()) is not None
    volume.close()
