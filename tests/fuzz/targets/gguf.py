"""Headers of GGUF files."""

from __future__ import annotations

from fuzz.targets.guard import allowed
from model_gallery.artifact import gguf
from support.ggufmake import TEXT, Gguf, array, pair, tensor, text, texts

_WHOLE = Gguf(
    pairs=[
        pair("general.architecture", "llama"),
        pair("general.alignment", 32),
        pair("llama.context_length", 4096),
        texts("tokenizer.ggml.tokens", 3),
        array("tokenizer.ggml.scores", 6, 3, bytes(12)),
        array("nested", 9, 1, b"\x08\0\0\0" + b"\1\0\0\0\0\0\0\0" + text("x")),
        array("words", TEXT, 1, text("word")),
    ],
    tensors=[tensor("a", 32, 2), tensor("b", 64, kind=8, offset=256)],
    data=512,
).build()
SEEDS = (_WHOLE, _WHOLE[:100], Gguf().build(), Gguf(version=2, n_tensors=1 << 40).build())


def one(data: bytes) -> None:
    """The header of a file that ends where the bytes do, and of one that goes on."""
    for size in (len(data), 1 << 40):
        with allowed():
            gguf.parse(data, size)
