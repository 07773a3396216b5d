"""Tars, plain and compressed."""

from __future__ import annotations

import io
import tarfile

from fuzz.targets.guard import allowed, reader
from model_gallery.artifact import tarstream
from model_gallery.artifact.archive import Bounded, Names, Window, decompressed
from support.archivemake import COMPRESSED, pax_record, tar, tar_block

_FILES = [("a/", b""), ("a/b", b"b" * 600), ("c" * 120, b"c"), ("é", b"")]
SEEDS = (
    *(pack(tar(_FILES)) for pack in COMPRESSED.values()),
    tar(_FILES, form=tarfile.GNU_FORMAT),
    tar(_FILES[:2], form=tarfile.USTAR_FORMAT),
    tar_block(b"h", pax_record("path", "../x") + pax_record("size", "9"), kind=b"x")
    + tar_block(b"f", b"x")
    + bytes(1024),
    tar_block(b"link", kind=b"2", link=b"/etc") + bytes(1024),
)


def one(data: bytes) -> None:
    """Every member to its end; names that come through stay below their folder."""
    names = Names()
    names.begin()
    with allowed():
        stream = Bounded(decompressed(Window(reader(data), len(data)), data[:512]), len(data))
        for member in tarstream.members(stream):
            name = names.take(member)
            content = io.BytesIO(b"".join(member.blocks))
            assert len(content.getbuffer()) == member.size_bytes
            assert name is None or not {"", ".", ".."} & set(name.split("/"))
