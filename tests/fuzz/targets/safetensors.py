"""Headers of safetensors files, and the index of a set of them."""

from __future__ import annotations

import json
import struct

from fuzz.targets.guard import allowed
from model_gallery.artifact import safetensors

_HEADER = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
    "b": {"dtype": "BF16", "shape": [4], "data_offsets": [16, 24]},
}
_TEXT = json.dumps(_HEADER).encode()
_INDEX = {"metadata": {"total_size": 24}, "weight_map": {"a": "model-1.safetensors", "b": "b"}}
SEEDS = (
    struct.pack("<Q", len(_TEXT)) + _TEXT + bytes(24),
    _TEXT,
    json.dumps(_INDEX).encode(),
    struct.pack("<Q", 1 << 60) + _TEXT,
)


def one(data: bytes) -> None:
    """The bytes as a file, as a header without its length, and as an index."""
    for head in (data, struct.pack("<Q", len(data)) + data):
        with allowed():
            safetensors.header_length(head)
        with allowed():
            safetensors.parse_header(head, len(head))
    with allowed():
        safetensors.parse_index(data)
