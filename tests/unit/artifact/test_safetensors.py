"""Safetensors headers and indexes: what they say, and those that lie."""

from __future__ import annotations

import contextlib
import json
import struct
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_gallery.api.conditions import Reason
from model_gallery.artifact import safetensors
from model_gallery.artifact.safetensors import SafetensorsFacts
from model_gallery.errors import StalledError


def tensor(dtype: str, shape: Any, start: Any, end: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def packed(header: Any, data: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(data)


SMALL = {
    "__metadata__": {"format": "pt", "other": "\u202e"},
    "b": tensor("F32", [2], 24, 32),
    "a": tensor("BF16", [3, 4], 0, 24),
    "none": tensor("F32", [0, 7], 24, 24),
    "one": tensor("U8", [], 32, 33),
}


def test_the_facts_of_a_small_file() -> None:
    data = packed(SMALL, 33)

    facts = safetensors.parse_header(data, len(data))

    assert facts == SafetensorsFacts(parameters=15, dtype="BF16", tensors=4, format="pt")


def test_the_header_says_how_much_of_it_is_needed() -> None:
    data = packed(SMALL, 33)
    needed = len(data) - 33

    assert [safetensors.header_length(data[:n]) for n in (0, 7, 8, 99)] == [8, 8, needed, needed]
    assert not any(safetensors.parse_header(data[:n], len(data)) for n in range(needed))
    assert safetensors.parse_header(data[:needed], len(data))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"{}      ", SafetensorsFacts(0, "", 0, "")),
        (b'{"__metadata__":{"format":"<b>\\n"}}', SafetensorsFacts(0, "", 0, "")),
    ],
)
def test_a_file_may_hold_nothing(header: bytes, expected: SafetensorsFacts) -> None:
    data = packed(header)

    assert safetensors.parse_header(data, len(data)) == expected


def test_packed_types_fill_whole_bytes() -> None:
    data = packed({"a": tensor("F4", [4], 0, 2), "b": tensor("F6_E2M3", [4], 2, 5)}, 5)

    assert safetensors.parse_header(data, len(data)) == SafetensorsFacts(8, "F6_E2M3", 2, "")


TENSOR = b'{"dtype":"U8","shape":[1],"data_offsets":[0,1]}'
INVALID: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "cut short"),
    "four bytes": (b"\x10\0\0\0", "cut short"),
    "header length 0": (struct.pack("<Q", 0) + b"{}", "has 0 bytes"),
    "header length 2^63": (struct.pack("<Q", 2**63) + b"{}", "bytes, not 1 to"),
    "header over 100 MB": (struct.pack("<Q", 100_000_001) + b"{}", "bytes, not 1 to"),
    "header longer than the file": (struct.pack("<Q", 3) + b"{}", "cut short"),
    "a list": (packed(b"[]"), "does not begin with {"),
    "space first": (packed(b" {}"), "does not begin with {"),
    "half an object": (packed(b'{"a":'), "no JSON"),
    "two objects": (packed(b"{}{}"), "no JSON"),
    "no UTF-8": (packed(b'{"\xff":1}'), "no JSON"),
    "deep lists": (packed(b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}"), "nested too deeply"),
    "deep objects": (packed(b'{"a":' * 10**5 + b"1" + b"}" * 10**5), "nested too deeply"),
    "deep lists without end": (packed(b'{"a":' + b"[" * 10**7), "values"),
    "wide lists": (packed(b'{"a":[' + b"[]," * 10**6 + b"[]]}"), "values"),
    "long number": (packed(b'{"a":' + b"9" * 10**5 + b"}"), "no JSON"),
    "deep dtype": (packed(b'{"a":{"dtype":' + b"[" * 500 + b"]" * 500 + b"}}"), "unknown dtype"),
    "tensor twice": (packed(b'{"a":' + TENSOR + b',"a":' + TENSOR + b"}", 1), "is there twice"),
    "field twice": (packed(b'{"a":{"dtype":"U8","dtype":"U8"}}'), "is there twice"),
    "no object": (packed({"a": 1}), "no JSON object"),
    "unknown dtype": (packed({"a": tensor("F3", [1], 0, 1)}, 1), "unknown dtype 'F3'"),
    "no offsets": (packed({"a": {"dtype": "U8", "shape": [1]}}), "data_offsets"),
    "three offsets": (
        packed({"a": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1, 2]}}),
        "data_offsets",
    ),
    "negative offset": (packed({"a": tensor("U8", [1], -1, 0)}, 1), "data_offsets"),
    "offset as text": (packed({"a": tensor("U8", [1], "0", 1)}, 1), "data_offsets"),
    "offset as truth": (packed({"a": tensor("U8", [1], False, True)}, 1), "data_offsets"),
    "offset as fraction": (packed({"a": tensor("U8", [1], 0.0, 1.0)}, 1), "data_offsets"),
    "offset 2^63": (packed({"a": tensor("U8", [1], 2**63, 2**63 + 1)}, 1), "data_offsets"),
    "end before start": (packed({"a": tensor("U8", [1], 1, 0)}, 1), "1 elements"),
    "no shape": (packed({"a": {"dtype": "U8", "data_offsets": [0, 1]}}, 1), "shape"),
    "negative shape": (packed({"a": tensor("U8", [-1, -1], 0, 1)}, 1), "shape"),
    "endless shape": (packed({"a": tensor("U8", [2**62] * 9, 0, 1)}, 1), "more than"),
    "shape unlike offsets": (packed({"a": tensor("F32", [2], 0, 4)}, 4), "2 elements of F32"),
    "half a byte": (packed({"a": tensor("F4", [1], 0, 1)}, 1), "1 elements of F4"),
    "overlap": (
        packed({"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 2, 6)}, 6),
        "overlap",
    ),
    "same place": (
        packed({"a": tensor("U8", [4], 0, 4), "b": tensor("U8", [4], 0, 4)}, 4),
        "overlap",
    ),
    "gap": (packed({"a": tensor("U8", [1], 0, 1), "b": tensor("U8", [1], 2, 3)}, 3), "gap"),
    "gap at the beginning": (packed({"a": tensor("U8", [1], 1, 2)}, 2), "gap"),
    "data after the end": (packed({"a": tensor("U8", [1], 0, 1)}, 2), "end at byte 1"),
    "data cut": (packed({"a": tensor("U8", [2], 0, 2)}, 1), "end at byte 2"),
    "metadata as text": (packed({"__metadata__": "pt"}), "__metadata__"),
    "metadata with a number": (packed({"__metadata__": {"format": 1}}), "__metadata__"),
    "too many tensors": (packed({str(n): 1 for n in range(100_001)}), "at most 100000"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_files_are_refused(case: str) -> None:
    data, expected = INVALID[case]

    started = time.process_time()
    with pytest.raises(StalledError) as caught:
        safetensors.parse_header(data, len(data))

    assert time.process_time() - started < 1
    assert caught.value.reason is Reason.INVALID_FORMAT
    assert expected in caught.value.message


def test_the_index_names_its_files() -> None:
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    index = {"metadata": {"total_size": 9}, "weight_map": {"a": first, "b": second, "c": first}}

    assert safetensors.parse_index(json.dumps(index).encode()) == {first, second}


@pytest.mark.parametrize(
    "name",
    [
        "../x.safetensors",
        "sub/x.safetensors",
        "/x.safetensors",
        "a..b.safetensors",
        "..\\x.safetensors",
        "C:x.safetensors",
        "x\n.safetensors",
        "\ud800.safetensors",
        "x.bin",
        "x.safetensors.py",
        "",
        "x" * 300 + ".safetensors",
    ],
)
def test_names_in_the_index_that_lead_elsewhere_are_refused(name: str) -> None:
    index = {"weight_map": {"a": "good.safetensors", "b": name}}

    with pytest.raises(StalledError) as caught:
        safetensors.parse_index(json.dumps(index).encode())

    assert caught.value.reason is Reason.UNSAFE_PATH


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"weight_map":[]}',
        b'{"weight_map":{}}',
        b'{"weight_map":{"a":1}}',
        b'{"weight_map":{"a":["x.safetensors"]}}',
        b'{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}',
        json.dumps({"weight_map": {str(n): f"{n}.safetensors" for n in range(10_001)}}).encode(),
        b'{"weight_map":{}}' + b" " * 32 * 2**20,
    ],
)
def test_what_is_no_index_is_refused(text: bytes) -> None:
    with pytest.raises(StalledError) as caught:
        safetensors.parse_index(text)

    assert caught.value.reason is Reason.INVALID_FORMAT


def _tried(data: bytes, file_size: int) -> None:
    for read in (
        safetensors.header_length,
        safetensors.parse_index,
        lambda head: safetensors.parse_header(head, file_size),
    ):
        with contextlib.suppress(StalledError):
            read(data)


@settings(deadline=1000)
@given(st.binary(max_size=200), st.integers(-1, 300))
def test_any_bytes_give_a_result_or_a_refusal(data: bytes, file_size: int) -> None:
    _tried(data, file_size)
    _tried(packed(data), len(data) + 8)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    | st.sampled_from(["U8", "F32", "x.safetensors"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__", "weight_map", "a"]),
        inner,
        max_size=4,
    ),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=1000)
@given(st.dictionaries(st.sampled_from(["a", "b", "__metadata__", "weight_map"]), VALUES))
def test_any_json_gives_a_result_or_a_refusal(header: dict[str, Any]) -> None:
    data = packed(header)

    _tried(data, len(data))
    _tried(data[8:], len(data))
