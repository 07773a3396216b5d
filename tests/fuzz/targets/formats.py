"""What a file is by its first bytes and its name, and whether it carries code."""

from __future__ import annotations

import json
import pickle

from fuzz.targets.guard import allowed
from model_gallery.artifact import formats
from support.archivemake import tar, zipped

SEEDS = (
    pickle.dumps({"weights": [1, 2]}, protocol=2),
    b"cos\nsystem\n(S'true'\ntR.",
    b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    json.dumps({"auto_map": {"AutoModel": "code.Model"}, "a": [1, {"b": None}]}).encode(),
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 1\n",
    b"<!DOCTYPE html><html></html>",
    b"\x93NUMPY\x01\0v\0{'descr': '|O'}",
    zipped([("data.pkl", b"\x80\x02.")]),
    tar([("a", b"b")])[:600],
    b"x-00001-of-00003.gguf\nx-00002-of-99999.gguf",
)
_NAMES = ("a.gguf", "a.bin", "a.json", "config.json", "A.SAFETENSORS", "a.pt", "a.py", "a")


def one(data: bytes) -> None:
    """The bytes under names of every kind, and as names themselves."""
    for name in (*_NAMES, data.decode(errors="replace")[:300]):
        kind = formats.sniff(data, name)
        formats.carries_code(kind, name)
        formats.custom_code(name, data)
    with allowed():
        formats.split_set(data.decode(errors="surrogateescape").split("\n"))
    with allowed():
        formats.bounded_json(data, "the text")
