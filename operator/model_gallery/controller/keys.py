"""Keys for backends: files that the chart mounts from a Secret, read whenever one is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Keys"]

_MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Keys:
    """A folder of keys.

    Attributes:
        folder: holds a file `<namespace>.<gallery>.<backend>` for each key; empty: there are none.
    """

    folder: str

    def __call__(self, namespace: str, gallery: str, backend: str) -> str:
        """Returns the key for a backend; empty without one."""
        if not self.folder:
            return ""
        path = Path(self.folder) / f"{namespace}.{gallery}.{backend}"
        try:
            with path.open("rb") as file:
                return file.read(_MAX_BYTES).decode("ascii", "ignore").strip()
        except OSError:
            return ""
