"""GGUF headers of any kind, wrong ones too; a right one that backends load is in hack/origin."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

__all__ = [
    "F32",
    "INT32",
    "LIST",
    "TEXT",
    "U32",
    "Gguf",
    "array",
    "pair",
    "tensor",
    "text",
    "texts",
]

U32, INT32, F32, TEXT, LIST = 4, 5, 6, 8, 9
_CODES = {U32: "I", INT32: "i", F32: "f", 10: "Q"}


def text(value: str | bytes) -> bytes:
    encoded = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(encoded)) + encoded


def pair(key: str, value: int | str, kind: int | None = None) -> bytes:
    """Returns a pair with a number or a text."""
    if isinstance(value, str):
        return text(key) + struct.pack("<I", TEXT) + text(value)
    kind = U32 if kind is None else kind
    return text(key) + struct.pack("<I" + _CODES[kind], kind, value)


def array(key: str, kind: int, count: int, items: bytes) -> bytes:
    """Returns a pair with a list, whose items are as they are given."""
    return text(key) + struct.pack("<IIQ", LIST, kind, count) + items


def texts(key: str, count: int) -> bytes:
    """Returns a pair with a list of empty texts."""
    return array(key, TEXT, count, bytes(8 * count))


def tensor(name: str, *shape: int, kind: int = 0, offset: int = 0) -> bytes:
    dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + dimensions + struct.pack("<IQ", kind, offset)


@dataclass
class Gguf:
    """A file; the counts are right unless given."""

    pairs: list[bytes] = field(default_factory=list)
    tensors: list[bytes] = field(default_factory=list)
    data: int = 0
    version: int = 3
    n_tensors: int | None = None
    n_pairs: int | None = None

    def header(self) -> bytes:
        n_tensors = len(self.tensors) if self.n_tensors is None else self.n_tensors
        n_pairs = len(self.pairs) if self.n_pairs is None else self.n_pairs
        counts = struct.pack("<IQQ", self.version, n_tensors, n_pairs)
        head = b"".join([b"GGUF", counts, *self.pairs, *self.tensors])
        return head + bytes(-len(head) % 32)

    def build(self) -> bytes:
        return self.header() + bytes(self.data)
