"""ArtifactPath: a relative path that cannot escape.

The rules are lexical and come first; the volume itself is walked by directory descriptors with
O_NOFOLLOW (`storage/volume.py`), since links on the volume are out of reach of any string check.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError

__all__ = ["MAX_COMPONENT_BYTES", "MAX_PATH_BYTES", "RESERVED_ROOT", "ArtifactPath"]

MAX_PATH_BYTES = 1024
MAX_COMPONENT_BYTES = 255
RESERVED_ROOT = ".modelgallery"
"""The folder on a volume that is ours; no published path may lie in it."""

_DRIVE = re.compile(r"(?:^|/)[A-Za-z]:")
_RESERVED_COMPONENTS = frozenset({"lost+found"})


@dataclass(frozen=True, slots=True)
class ArtifactPath:
    """A checked relative path below a volume's root, with `/` between its parts.

    Attributes:
        parts: the components; at least one, none empty, `.` or `..`.
    """

    parts: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> ArtifactPath:
        """Returns the path that the text names.

        Raises:
            StalledError: UnsafePath, naming the text and the rule that it breaks.
        """
        problem = _problem(text)
        if problem:
            raise StalledError(Reason.UNSAFE_PATH, f"path {text[:200]!r} {problem}")
        return cls(tuple(text.split("/")))

    def __str__(self) -> str:
        return "/".join(self.parts)

    @property
    def name(self) -> str:
        """The last component."""
        return self.parts[-1]

    @property
    def parents(self) -> tuple[str, ...]:
        """The folders above, outermost first; empty for a file at the root."""
        return self.parts[:-1]


def _problem(text: str) -> str | None:  # noqa: PLR0911 - one return per rule reads as a list
    if not text or text.startswith("/"):
        return "must be relative and not empty"
    if "\\" in text or _DRIVE.search(text):
        return "must not contain a backslash or a drive letter"
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        return "must not contain control characters"
    if len(text.encode("utf-8", "surrogatepass")) > MAX_PATH_BYTES:
        return f"must be at most {MAX_PATH_BYTES} bytes long"
    parts = text.split("/")
    if parts[0] == RESERVED_ROOT:
        return f"must not lie in {RESERVED_ROOT}, which belongs to the operator"
    for part in parts:
        if part in {"", ".", ".."}:
            return "must not contain empty, `.` or `..` components"
        if part in _RESERVED_COMPONENTS:
            return f"must not use the reserved name {part}"
        if len(part.encode()) > MAX_COMPONENT_BYTES:
            return f"must have components of at most {MAX_COMPONENT_BYTES} bytes"
    return None
