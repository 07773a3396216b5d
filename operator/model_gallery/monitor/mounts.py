"""Where a path lies inside its file system: the same file has other paths in other containers.

A container may mount a volume anywhere, and a folder of it as a sub-path. The kernel tells for each
mount which folder of which file system stands there, so paths of two containers can be compared after
all. No I/O here; `monitor/usage.py` reads the tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Mount", "Place", "below", "parse", "place"]

_ESCAPED = re.compile(r"\\([0-7]{3})")
_FIELDS = 5
_DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class Place:
    """A path inside a file system.

    Attributes:
        device: `major:minor`, decimal.
        path: from the root of the file system, not of any mount.
    """

    device: str
    path: str


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of /proc/<pid>/mountinfo: what stands at `point`."""

    point: str
    what: Place


def parse(lines: Iterable[str]) -> tuple[Mount, ...]:
    """Returns the mounts that the lines of a mountinfo file tell; others are left out."""
    mounts = []
    for line in lines:
        fields = line.split(" ", _FIELDS)
        if len(fields) > _FIELDS:
            what = Place(fields[2], _plain(fields[3]))
            mounts.append(Mount(_plain(fields[4]), what))
    return tuple(mounts)


def place(path: str, mounts: Sequence[Mount]) -> Place | None:
    """Returns where a path lies, by the mount that is nearest to it; None where no mount holds it.

    Args:
        path: absolute; the mark of a removed file is taken off.
    """
    path = path.removesuffix(_DELETED)
    best: Mount | None = None
    for mount in mounts:
        # Of two mounts at one point the later one hides the earlier.
        nearer = best is None or len(mount.point) >= len(best.point)
        if nearer and _rest(path, mount.point) is not None:
            best = mount
    if best is None:
        return None
    return Place(best.what.device, _join(best.what.path, _rest(path, best.point) or ""))


def below(found: Place, folder: Place) -> str:
    """Returns the path relative to a folder of the same file system; empty where it is not in there."""
    if found.device != folder.device:
        return ""
    return _rest(found.path, folder.path) or ""


def _rest(path: str, folder: str) -> str | None:
    """Returns what follows the folder, without a slash; None where the path is not in it."""
    if path == folder:
        return ""
    start = folder if folder.endswith("/") else folder + "/"
    return path[len(start) :] if path.startswith(start) else None


def _join(folder: str, rest: str) -> str:
    return f"{folder.rstrip('/')}/{rest}" if rest else folder


def _plain(text: str) -> str:
    """Blanks and backslashes are written as octal numbers."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), text)
