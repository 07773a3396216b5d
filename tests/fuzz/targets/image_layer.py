"""Layers of images: tars of which only a part counts, with names that hide others."""

from __future__ import annotations

from fuzz.targets.guard import allowed, reader
from model_gallery.artifact import imagelayer, tarstream
from model_gallery.artifact.archive import Bounded, Window, decompressed
from model_gallery.artifact.imagelayer import Layer
from support.archivemake import COMPRESSED, tar, tar_block, tar_raw

_FILES = [
    ("models/", b""),
    ("models/a/b", b"b" * 600),
    ("models/a/.wh.c", b""),
    ("models/a/.wh..wh..opq", b""),
    ("./models/.wh.d", b""),
    (".wh.models", b""),
    ("etc/passwd", b"root"),
]
SEEDS = (
    *(COMPRESSED[kind](tar(_FILES)) for kind in ("tar", "tar.gz")),
    tar_raw(
        tar_block(b"bin", kind=b"2", link=b"usr/bin"),
        tar_block(b"l", b"x" * 150, kind=b"K"),
        tar_block(b"models/link", kind=b"1", link=b"../x"),
    ),
    tar([("models/../x", b""), ("models/.wh...", b""), ("models/.wh.a/b", b"")]),
)


def one(data: bytes) -> None:
    """What comes through lies below /models, and what it hides is a path there as well."""
    files, hides = {"a/b": -1, "c": -1}, []
    with allowed():
        stream = Bounded(decompressed(Window(reader(data), len(data)), data[:512]), len(data))
        for member in tarstream.members(stream, lambda name: imagelayer.inner(name) is not None):
            path = imagelayer.inner(member.name) or ""
            size = sum(len(block) for block in member.blocks)
            assert size == member.size_bytes
            hidden = imagelayer.hidden(path)
            if hidden is None:
                assert not {".", ".."} & set(path.split("/"))
                files[path] = size
            else:
                assert not {".", ".."} & set(hidden.split("/"))
                hides.append(hidden)
    merged = imagelayer.merged([Layer({"a/b": 0, "z": 0}), Layer(files, hides)])
    assert merged.items() >= files.items()
    assert merged.keys() <= {*files, "z"}
