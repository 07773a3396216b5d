"""What files are by their content, and which of them run code."""

from __future__ import annotations

import collections
import io
import json
import pickle
import struct
import tarfile
import zipfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_gallery.api.conditions import Reason
from model_gallery.artifact import formats
from model_gallery.artifact.formats import Format
from model_gallery.errors import StalledError
from support.ggufmake import Gguf


class Call:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("called",)


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return buffer.getvalue()


def tarred(kind: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return buffer.getvalue()


def npy(header: str, version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + bytes(16)


def v7_tar() -> bytes:
    """A header as tar wrote it before there was a magic."""
    header = bytearray(tarred(tarfile.USTAR_FORMAT))
    header[257:512] = bytes(255)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header)


ARRAY = "{'descr': '%s', 'fortran_order': False, 'shape': (3, 4), }          \n"
HTML = b"\n<!DOCTYPE html><html><title>caf\xe9</title>"

SNIFFED: list[tuple[bytes, str, Format]] = [
    (b"", "a.gguf", Format.EMPTY),
    (Gguf().build(), "model.txt", Format.GGUF),
    (b"GGUF", "model.gguf", Format.GGUF),
    (b"GGUF files of the model", "README.md", Format.TEXT),
    (b"lmgg\x99\xca\0\0", "ggml-base.bin", Format.GGML),
    (struct.pack("<Q", 640) + b'{"a":{}', "a.safetensors", Format.SAFETENSORS),
    (struct.pack("<Q", 8) + b"{}      ", "a.bin", Format.SAFETENSORS),
    (b"\x08\x07\x12\x07pytorch", "a.onnx", Format.ONNX),
    (npy(ARRAY % "<f4"), "a.npy", Format.NUMPY),
    (npy(ARRAY % "<f4", version=2), "a.npy", Format.NUMPY),
    (npy(ARRAY % "|O"), "a.npy", Format.PICKLE),
    (npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }"), "a", Format.PICKLE),
    (npy((ARRAY % "<f4").replace("(3", "(3" + " " * 10))[:60], "a.npy", Format.PICKLE),
    (zipped("archive/data.pkl", "archive/data/0"), "model.bin", Format.TORCH_ZIP),
    (zipped("a.txt"), "model.txt", Format.ZIP),
    (zipped(), "model.txt", Format.ZIP),
    (tarred(tarfile.GNU_FORMAT), "a.txt", Format.TAR),
    (v7_tar(), "a", Format.TAR),
    (b"\x1f\x8b\x08\0", "a.json", Format.GZIP),
    (b"7z\xbc\xaf\x27\x1c", "a", Format.SEVEN_ZIP),
    (b"\xfd7zXZ\0\0", "a", Format.ARCHIVE),
    (b"\x28\xb5\x2f\xfd\0", "a", Format.ARCHIVE),
    (b"\x7fELF\x02\x01\x01\0", "a.gguf", Format.ELF),
    (b"\xcf\xfa\xed\xfe\x07\0\0\x01", "a", Format.MACH_O),
    (b"\xca\xfe\xba\xbe\0\0\0\x02", "a", Format.MACH_O),
    (b"MZ\x90\0\x03\0\0\0", "a.txt", Format.PE),
    (b"MZqFpD='\n\n\0\x10\0\xf8", "a.llamafile", Format.PE),
    (b"#!/bin/sh\nid\n", "a.txt", Format.SCRIPT),
    (HTML, "a.gguf", Format.HTML),
    (b"\xef\xbb\xbf<HTML>", "a.json", Format.HTML),
    (b"version https://git-lfs.github.com/spec/v1\noid", "a.gguf", Format.LFS_POINTER),
    (b'\n{"a": 1}', "a.JSON", Format.JSON),
    (b"a: 1\n", "a.yaml", Format.YAML),
    (b"{% for m in messages %}", "chat_template.jinja", Format.TEXT),
    (b'{"a": 1}', "a.txt", Format.TEXT),
    (b"hello", "a.json", Format.TEXT),
    ("\u00e9".encode() * 10 + b"\xc3", "vocab", Format.TEXT),
    (b"cat\ndog\ncow\nduck\nbird\n", "labels.txt", Format.TEXT),
    (b"cat\ndog\nbird\n", "labels", Format.TEXT),
    (b"cmake is\na tool\nIt\nRuns", "about.rst", Format.TEXT),
    (b"\x80\x04\0\0", "a", Format.UNKNOWN),
    (b"\x80\x04]\x94.", "a", Format.PICKLE),
    (b"\x89PNG\r\n\x1a\n\0\0", "a.png", Format.IMAGE),
    (b"\xff\xd8\xff\xe0\0\x10JFIF", "a.jpg", Format.IMAGE),
    (b"GIF89a\x01\0\x01\0", "a.gif", Format.IMAGE),
    (b"RIFF\0\0\0\0WEBPVP8 ", "a.webp", Format.IMAGE),
    (b"RIFF\0\0\0\0WAVEfmt ", "a.wav", Format.UNKNOWN),
    (b"\0\x01\x02", "a.txt", Format.UNKNOWN),
    (b"\xff\xfea\0b\0", "a.txt", Format.UNKNOWN),
]


@pytest.mark.parametrize(("head", "name", "expected"), SNIFFED)
def test_content_decides(head: bytes, name: str, expected: Format) -> None:
    assert formats.sniff(head, name) is expected


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [Call(), [1, Call()], {"a": ["b" * 300, Call()]}, collections.OrderedDict(a=1)],
)
@pytest.mark.parametrize("name", ["model.bin", "model.gguf", "model"])
def test_pickles_of_all_protocols_are_found(protocol: int, value: Any, name: str) -> None:
    assert formats.sniff(pickle.dumps(value, protocol), name) is Format.PICKLE


@pytest.mark.parametrize(
    "head",
    [
        b"cos\nsystem\n(S'id'\ntR.",
        b"cos\nsystem\n)R.",
        b"(S'id'\nios\nsystem\n.",
        b"(cos\nsystem\nS'id'\no.",
        b"\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
        b"N0\x8c\x05posix\x8c\x06system\x93\x8c\x02id\x85R.",
        b"cbuiltins\nobject\n}b.",
        b"GGUF\x03\0\0\0\x01" + b"cos\nsystem\n(S'id'\ntR.",
        b"GIF89a\x01\0\x01" + b"cos\nsystem\n(S'id'\ntR.",
    ],
)
def test_pickles_without_their_magic_are_found(head: bytes) -> None:
    assert formats.sniff(head, "model.bin") is Format.PICKLE
    assert formats.carries_code(Format.PICKLE, "model.bin")


CODE = [
    *[
        (kind, "model.gguf")
        for kind in (
            Format.PICKLE,
            Format.TORCH_ZIP,
            Format.ZIP,
            Format.TAR,
            Format.GZIP,
            Format.SEVEN_ZIP,
            Format.ARCHIVE,
            Format.ELF,
            Format.MACH_O,
            Format.PE,
            Format.SCRIPT,
        )
    ],
    (Format.TEXT, "sub/modeling_x.py"),
    (Format.EMPTY, "__init__.py"),
    (Format.UNKNOWN, "lib.so"),
    (Format.UNKNOWN, "lib.SO.1.2"),
    (Format.TEXT, "run.sh"),
    (Format.GGUF, "x.llamafile"),
    *[
        (Format.UNKNOWN, "a/model" + suffix)
        for suffix in (
            ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".joblib", ".h5", ".keras", ".npy", ".PT",
        )
    ],
    (Format.TEXT, "model.pkl"),
    (Format.IMAGE, "model.bin"),
    (Format.SAFETENSORS, "model.bin"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), CODE)
def test_what_runs_code_is_told(kind: Format, name: str) -> None:
    assert formats.carries_code(kind, name)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (Format.GGUF, "model.gguf"),
        (Format.GGUF, "model-q4_k_m.bin"),
        (Format.GGML, "ggml-base.bin"),
        (Format.SAFETENSORS, "model.safetensors"),
        (Format.ONNX, "model.onnx"),
        (Format.NUMPY, "voice.npy"),
        (Format.JSON, "config.json"),
        (Format.YAML, "a.yaml"),
        (Format.TEXT, "README.md"),
        (Format.TEXT, "LICENSE"),
        (Format.IMAGE, "logo.png"),
        (Format.UNKNOWN, "tokenizer.model"),
        (Format.UNKNOWN, "voice.wav"),
        (Format.HTML, "model.bin"),
        (Format.LFS_POINTER, "model.bin"),
        (Format.EMPTY, "model.bin"),
    ],
)
def test_what_runs_no_code_passes(kind: Format, name: str) -> None:
    assert formats.carries_code(kind, name) == ""


AUTO_MAP = b'{"auto_map": {"AutoModel": "modeling_x.X"}}'


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("config.json", AUTO_MAP, True),
        ("sub/tokenizer_config.json", AUTO_MAP, True),
        ("config.json", b'{"a": {"auto_map" \n: ["x.X", null]}}', True),
        ("config.json", b'{"\\u0061uto\\u005Fmap": {"a": "b"}}', True),
        ("config.json", b'{"auto_map": {}, "auto_map": {"a": "b"}}', True),
        ("config.json", b"[" * 10**6 + AUTO_MAP, True),
        ("config.json", b'{"auto_map": { }}', False),
        ("config.json", b'{"auto_map": null}', False),
        ("config.json", b'{"architectures": ["auto_map"]}', False),
        ("config.json", json.dumps({"a": AUTO_MAP.decode()}).encode(), False),
        ("config.json", b"", False),
        ("notes.json", AUTO_MAP, False),
    ],
)
def test_configurations_with_custom_code_are_told(name: str, content: bytes, found: bool) -> None:
    assert bool(formats.custom_code(name, content)) is found


@pytest.mark.parametrize(
    ("names", "missing"),
    [
        ([], []),
        (["x.gguf", "y-00001-of-00002.bin"], []),
        (["x-00001-of-00003.gguf"], ["x-00002-of-00003.gguf", "x-00003-of-00003.gguf"]),
        (["x-00002-of-00002.gguf", "x-00001-of-00002.gguf"], []),
        (["a/x-00001-of-00002.GGUF"], ["a/x-00002-of-00002.GGUF"]),
        (
            ["x-00001-of-00002.gguf", "y-00002-of-00002.gguf"],
            ["x-00002-of-00002.gguf", "y-00001-of-00002.gguf"],
        ),
        (["x-00001-of-00001.gguf"], []),
    ],
)
def test_the_missing_files_of_split_sets_are_named(names: list[str], missing: list[str]) -> None:
    assert formats.split_set(names) == missing


def test_a_split_set_of_very_many_files_is_refused() -> None:
    with pytest.raises(StalledError) as caught:
        formats.split_set(["x-00001-of-99999.gguf"])

    assert caught.value.reason is Reason.INVALID_FORMAT


@settings(deadline=1000, max_examples=300)
@given(
    st.sampled_from([head[:12] for head, _, _ in SNIFFED] + [b"(", b"\x8c", b"c"]),
    st.binary(max_size=600),
    st.sampled_from(["a.gguf", "a.json", "a.yaml", "config.json", "a"]),
)
def test_any_content_is_something(start: bytes, rest: bytes, name: str) -> None:
    kind = formats.sniff(start + rest, name)

    formats.carries_code(kind, name)
    formats.custom_code(name, start + rest)


@pytest.mark.parametrize(
    "unit", [b"N", b"c\n\n", b"I1\n", b" ", b"{", b"\\u0061", b'"auto_map":', b"\x88"]
)
def test_repeated_content_takes_no_time(unit: bytes) -> None:
    test_any_content_is_something.hypothesis.inner_test(b"", unit * 50_000, "config.json")


@given(st.lists(st.from_regex(r"[a-b]-0000[0-4]-of-0000[0-4]\.gguf", fullmatch=True)))
def test_with_the_missing_files_every_set_is_whole(names: list[str]) -> None:
    missing = formats.split_set(names)

    assert not set(missing) & set(names)
    assert formats.split_set([*names, *missing]) == []
