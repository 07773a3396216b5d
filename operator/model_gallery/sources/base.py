"""What every source can do: say what a file is now, and hand out its bytes from an offset on."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

__all__ = ["Content", "Resolved", "Source"]


@dataclass(frozen=True, slots=True)
class Resolved:
    """One file at one moment.

    Attributes:
        size_bytes: None where the source does not tell.
        validator: changes with the content; None where there is none.
        ranges: whether the source can begin in the middle.
    """

    url: str
    size_bytes: int | None
    validator: str | None
    ranges: bool


class Content(Protocol):
    """Bytes on their way."""

    def readinto(self, buffer: memoryview) -> int:
        """Fills the buffer with the next bytes; returns how many, 0 at the end."""
        ...


class Source(Protocol):
    """One kind of source."""

    def resolve(self, url: str) -> Resolved:
        """Returns what the file is now."""
        ...

    def read(self, resolved: Resolved, offset: int) -> AbstractContextManager[Content]:
        """Hands out the bytes from the offset on, of just that state of the file."""
        ...
