"""An independent look at a volume: code of its own, files and receipts only, nothing of the product."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Collection, Mapping
from pathlib import Path

__all__ = ["Watcher", "digest", "facts", "owned_by", "published"]

_OURS = ".modelgallery"


class Watcher(threading.Thread):
    """Looks at the published paths all the time, and remembers one that held something wrong (INV1).

    Args:
        contents: by path, all that may be seen there.
    """

    def __init__(self, root: Path, contents: Mapping[str, Collection[bytes]]) -> None:
        super().__init__(daemon=True)
        self.root, self.contents = root, contents
        self.wrong, self._ended = "", threading.Event()

    def run(self) -> None:
        while not self._ended.wait(0.002):
            for name, allowed in self.contents.items():
                place = self.root / name
                try:
                    found = place.read_bytes()
                except FileNotFoundError:
                    continue
                if found not in allowed:
                    self.wrong = name

    def end(self) -> str:
        """Stops looking; returns the path that was wrong, or nothing."""
        self._ended.set()
        self.join()
        return self.wrong


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def published(root: Path) -> dict[str, str]:
    """Returns the digests of all files outside of the operator's folder, by path; links as such."""
    return {
        str(path.relative_to(root)): digest(path.read_bytes())
        for path in sorted(root.rglob("*"))
        if not path.is_dir() and path.relative_to(root).parts[0] != _OURS
    }


def owned_by(root: Path, uid: str) -> dict[str, str]:
    """Returns the digests of what a Model's receipt names, by path; nothing where there is no receipt."""
    place = root / _OURS / "receipts" / f"{uid}.json"
    if not place.exists():
        return {}
    receipt = json.loads(place.read_text())
    # What stays wins over an older content of the same path that is about to go.
    return {file["path"]: file["sha256"] for file in receipt["leaving"] + receipt["files"]}


def facts(path: Path) -> tuple[object, ...]:
    """Returns all that must not change of a foreign file (INV5)."""
    found = os.lstat(path)
    return path.read_bytes(), found.st_mode, found.st_uid, found.st_ino, found.st_mtime_ns
