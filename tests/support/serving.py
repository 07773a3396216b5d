"""A volume with published models, and processes that use them as backends do."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_gallery.storage import layout, receipts
from model_gallery.storage.receipts import Receipt, ReceiptFile
from model_gallery.storage.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MIB", "NOBODY", "Backend", "Gallery", "backend", "gallery"]

MIB = 1 << 20
NOBODY = 65534

_DROP = """
import ctypes
os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
# As after an exec by that user: who changes its user is hidden from it too.
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
"""
_BACKEND = """
import mmap, os, sys
how, path, uid = sys.argv[1], sys.argv[2], int(sys.argv[3])
if how != "idle":
    file = open(path, "rb")
if how == "map":
    view = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    file.close()
if uid:
    {drop}
print("ready", flush=True)
for line in sys.stdin:
    word, _, number = line.strip().partition(" ")
    if word == "touch":
        for page in range(0, int(number), 4096):
            view[page]
    elif word == "burn":
        import time
        end = time.process_time() + float(number)
        while time.process_time() < end:
            pass
    elif word == "threads":
        import threading
        for _ in range(int(number)):
            threading.Thread(target=threading.Event().wait, daemon=True).start()
    print("done", flush=True)
""".replace("{drop}", _DROP.strip().replace("\n", "\n    "))


@dataclass(frozen=True)
class Gallery:
    """A folder that looks as the worker leaves a volume."""

    root: Path

    def publish(self, name: str, *paths: str, content: bytes | None = None) -> Path:
        """Publishes files for the Model team/<name>, all with one content; returns the first."""
        content = content if content is not None else os.urandom(4 * MIB)
        digest = hashlib.sha256(content).hexdigest()
        volume = Volume(self.root)
        files = tuple(
            ReceiptFile(path=path, size_bytes=len(content), sha256=digest) for path in paths
        )
        blob = self.root.joinpath(*layout.blob(digest))
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        for path in paths:
            target = self.root / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(blob)
        receipts.write(
            volume,
            Receipt(namespace="team", name=name, uid=f"uid-{name}", plan_digest="p", files=files),
        )
        volume.close()
        return self.root / paths[0]


@dataclass(frozen=True)
class Backend:
    """A process that maps or opens a file."""

    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, words: str) -> None:
        """Has it do something, and returns when that is done."""
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def resident(self, path: Path) -> int:
        """Returns bytes of a file that are mapped and in memory, as the kernel tells them."""
        found, ours = 0, False
        for line in Path(f"/proc/{self.pid}/smaps").read_text().splitlines():
            if line[0] in "0123456789abcdef":
                ours = line.endswith(f" {path}")
            elif ours and line.startswith("Rss:"):
                found += int(line.split()[1]) * 1024
        return found


@contextmanager
def gallery() -> Iterator[Gallery]:
    """An empty volume that every user may read."""
    with tempfile.TemporaryDirectory(prefix="volume-") as folder:
        Path(folder).chmod(0o755)
        yield Gallery(Path(folder))


@contextmanager
def backend(how: str, path: Path, *before: str, uid: int = 0, **options: Any) -> Iterator[Backend]:
    """Runs a process that uses a file until the block ends.

    Args:
        how: map, open or idle.
        before: a command that runs it.
        uid: who it is once it has the file; 0: who we are.
    """
    process = subprocess.Popen(
        [*before, sys.executable, "-c", _BACKEND, how, str(path), str(uid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        yield Backend(process)
    finally:
        process.kill()
        process.communicate()
