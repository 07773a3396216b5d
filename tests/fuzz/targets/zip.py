"""Zips."""

from __future__ import annotations

from fuzz.targets.guard import allowed, reader
from model_gallery.artifact import zipfolder
from model_gallery.artifact.archive import Names, Window
from support.archivemake import zipped

_FILES = [("a/", b""), ("a/b", b"b" * 600), ("c" * 120, b"c"), ("é", b"")]
SEEDS = (zipped(_FILES), zipped(_FILES[:1]), b"junk" + zipped(_FILES), zipped([("../x", b"x")]))


def one(data: bytes) -> None:
    """Every member to its end; names that come through stay below their folder."""
    names = Names()
    names.begin()
    with allowed():
        for member in zipfolder.members(Window(reader(data), len(data)), len(data)):
            name = names.take(member)
            assert sum(map(len, member.blocks)) == member.size_bytes
            assert name is None or not {"", ".", ".."} & set(name.split("/"))
