"""What may be published: contents decide, and what they are is told."""

from __future__ import annotations

import json
import pickle
import random

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.report import ModelFacts
from model_gallery.worker.contents import Contents, check_complete
from support import ggufmake


def look(contents: Contents, path: str, data: bytes) -> None:
    def read_at(offset: int, buffer: memoryview) -> int:
        piece = data[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)

    contents.look(path, len(data), read_at)


def safetensors(count: int = 4) -> bytes:
    tensor = {"dtype": "F16", "shape": [count], "data_offsets": [0, 2 * count]}
    header = json.dumps({"w": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(2 * count)


UNSAFE = {
    "a pickle by another name": ("weights.txt.bin", pickle.dumps([random.random])),
    "an archive": ("a.tar.gz", b"\x1f\x8b\x08" + bytes(100)),
    "a program": ("m.gguf", b"\x7fELF" + bytes(100)),
    "a script": ("m.gguf", b"#!/bin/sh\nrm -rf /\n"),
    "python": ("modeling.py", b"import os\n"),
    "custom code": ("config.json", b'{"auto_map": {"AutoModel": "x.Y"}}'),
    "no weights under an unpickled name": ("pytorch_model.bin", bytes(range(256))),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_what_can_carry_code_is_refused_and_named(name: str) -> None:
    path, data = UNSAFE[name]

    with pytest.raises(StalledError) as caught:
        look(Contents(safe=True), path, data)

    assert caught.value.reason is Reason.UNSAFE_FORMAT
    assert caught.value.message.startswith(path)
    assert "policy.formats" in caught.value.message


@pytest.mark.parametrize("name", UNSAFE)
def test_any_takes_everything(name: str) -> None:
    look(Contents(safe=False), *UNSAFE[name])


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("m.gguf", b"GGUF\x03\0\0\0" + b"\xff" * 64),
        ("m.gguf", b"no gguf at all"),
        ("m.safetensors", b"\xff" * 64),
        ("m.safetensors", safetensors()[:-1]),
    ],
)
def test_broken_weights_are_refused(path: str, data: bytes) -> None:
    with pytest.raises(StalledError) as caught:
        look(Contents(safe=True), path, data)

    assert caught.value.reason is Reason.INVALID_FORMAT
    assert caught.value.message.startswith(path)
    look(Contents(safe=False), path, data)


def test_a_gguf_tells_what_it_is() -> None:
    contents = Contents(safe=True)
    architecture = ggufmake.pair("general.architecture", "clip")
    look(contents, "small.gguf", ggufmake.Gguf([architecture]).build())
    pairs = [
        ggufmake.pair("general.architecture", "llama"),
        ggufmake.pair("general.file_type", 15),
        ggufmake.pair("llama.context_length", 4096),
    ]
    tensor = ggufmake.tensor("w", 256, 8, kind=12)
    look(contents, "large.gguf", ggufmake.Gguf(pairs, [tensor], data=8 * 144).build())

    assert contents.facts() == ModelFacts(
        format="GGUF",
        architecture="llama",
        quantisation="Q4_K_M",
        parameters=2048,
        context_length=4096,
    )


def test_safetensors_are_counted_together_and_described_by_their_configuration() -> None:
    contents = Contents(safe=True)
    look(contents, "m/1.safetensors", safetensors(4))
    look(contents, "m/2.safetensors", safetensors(6))
    config = {"model_type": "llama", "max_position_embeddings": 2048}
    look(contents, "m/config.json", json.dumps(config).encode())

    assert contents.facts() == ModelFacts(
        format="Safetensors",
        architecture="llama",
        quantisation="F16",
        parameters=10,
        context_length=2048,
    )


def test_without_weights_nothing_is_told() -> None:
    contents = Contents(safe=True)
    look(contents, "README.md", b"# read me\n")

    assert contents.facts() is None


def test_a_split_set_must_be_whole() -> None:
    check_complete(["a-00001-of-00002.gguf", "a-00002-of-00002.gguf"])
    with pytest.raises(StalledError) as caught:
        check_complete(["a-00001-of-00003.gguf", "a-00003-of-00003.gguf"])

    assert caught.value.reason is Reason.INVALID_FORMAT
    assert "a-00002-of-00003.gguf" in caught.value.message


def test_an_index_must_find_its_files() -> None:
    contents = Contents(safe=True)
    index = {"weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
    look(contents, "m/model.safetensors.index.json", json.dumps(index).encode())

    contents.check_indexes(["m/m-1.safetensors", "m/m-2.safetensors"])
    with pytest.raises(StalledError) as caught:
        contents.check_indexes(["m/m-1.safetensors", "m-2.safetensors"])

    assert "m/m-2.safetensors" in caught.value.message


def test_an_index_that_leaves_its_folder_is_refused() -> None:
    """T05."""
    index = {"weight_map": {"a": "../evil.safetensors"}}

    with pytest.raises(StalledError) as caught:
        look(Contents(safe=True), "model.safetensors.index.json", json.dumps(index).encode())

    assert caught.value.reason is Reason.UNSAFE_PATH
