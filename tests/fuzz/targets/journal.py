"""Journals of unfinished files."""

from __future__ import annotations

import struct
import zlib

from fuzz.targets.guard import allowed, volume
from model_gallery.artifact.digest import sha256_of_value
from model_gallery.storage.staging import StagedFile

_IDENTITY: list[object] = ["https://example.org/m", 64, '"1"', None]
_HEADER = sha256_of_value(_IDENTITY)
_LENGTH = 64


def _record(start: int, end: int) -> bytes:
    return struct.pack("<QQI", start, end, zlib.crc32(f"{_HEADER} {start} {end}".encode()))


SEEDS = (
    _HEADER.encode() + _record(0, 32) + _record(32, 64),
    _HEADER.encode() + _record(60, 80) + _record(9, 3) + _record(1 << 62, 1 << 63),
    b"x" * 64 + _record(0, 32),
    _record(0, 32),
)


def one(data: bytes) -> None:
    """As the whole journal, and behind a header that fits; no stretch is claimed that is not there."""
    for content in (data, _HEADER.encode() + data):
        with volume() as (opened, root), allowed():
            (root / "0.part").write_bytes(bytes(_LENGTH))
            (root / "0.part.journal").write_bytes(content)
            staged = StagedFile.begin(opened, (), 0, _IDENTITY)
            assert all(0 <= start < end <= _LENGTH for start, end in staged.marked)
            staged.close()
