"""The kept copy of an index. Whoever may write ConfigMaps could have put anything there."""

from __future__ import annotations

import contextlib
import zlib

from model_gallery.protocol import indexcopy

_WHOLE = b"".join(indexcopy.packed({"index": {"text": "- name: a\n"}, "bases": {}}))
SEEDS = (_WHOLE, zlib.compress(b"[" * 100_000), zlib.compress(b'{"index": {"text": 3}}'), b"")


def one(data: bytes) -> None:
    """As it lies there, and as what unpacks to it; only the documented errors come out."""
    indexcopy.parts_of({"data": {"format": "1", "parts": data.decode(errors="replace")}})
    for whole in (data, zlib.compress(data)):
        with contextlib.suppress(ValueError, zlib.error, KeyError):
            indexcopy.index_text(indexcopy.unpacked(whole))
