"""Marks along a content."""

from __future__ import annotations

import json

from fuzz.targets.guard import volume
from model_gallery.protocol.report import Problem
from model_gallery.storage import layout, marks
from model_gallery.storage.receipts import ReceiptFile
from model_gallery.transport.throttle import Throttle
from model_gallery.worker.compare import Comparer

_SHA256 = "a" * 64
_SIZE = 8
_GOOD = {"size_bytes": _SIZE, "chunk": marks.LEAST_CHUNK, "prefixes": ["0" * 32]}
SEEDS = (
    json.dumps(_GOOD).encode(),
    json.dumps({**_GOOD, "chunk": 1, "prefixes": ["0"] * 8}).encode(),
    json.dumps({**_GOOD, "prefixes": []}).encode(),
    json.dumps({**_GOOD, "prefixes": ["0" * 32] * 1024}).encode(),
)


def one(data: bytes) -> None:
    """What a damaged content is compared by; a stretch that is called good lies within it."""
    with volume() as (opened, root):
        for parts, content in (
            (layout.marks(_SHA256), data),
            (layout.blob(_SHA256), b"damaged!"),
        ):
            place = root.joinpath(*parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        file = ReceiptFile(path="m", size_bytes=_SIZE, sha256=_SHA256)
        verdict = Comparer(opened, Throttle(0)).judge(file)
        assert verdict.content is Problem.DAMAGED
        assert all(0 <= start < end <= _SIZE for start, end in verdict.good)
        marks.remove(opened, _SHA256)
