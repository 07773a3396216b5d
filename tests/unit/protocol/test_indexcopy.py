"""The copy of an index: what was packed comes back, in as many parts as it needs, within bounds."""

from __future__ import annotations

import base64
import os
import zlib

import pytest

from model_gallery.protocol import indexcopy


def config_map(part: bytes, parts: int) -> dict:
    return {
        "data": indexcopy.header(parts),
        "binaryData": {"index": base64.b64encode(part).decode()},
    }


def test_a_copy_of_several_parts_comes_back() -> None:
    text = os.urandom(1 << 20).hex()
    parts = indexcopy.packed({"index": {"text": text}})
    maps = [config_map(part, len(parts)) for part in parts]

    assert len(maps) > 1
    assert indexcopy.parts_of(maps[0]) == len(maps)
    found = indexcopy.unpacked(b"".join(map(indexcopy.part_of, maps)))
    assert indexcopy.index_text(found) == text.encode()


def test_a_format_of_another_version_is_not_read() -> None:
    assert indexcopy.parts_of({"data": {"format": "2", "parts": "1"}}) is None
    assert indexcopy.parts_of({}) is None
    assert indexcopy.parts_of({"data": {"format": "1", "parts": "x"}}) is None


def test_a_number_of_parts_is_bounded() -> None:
    assert indexcopy.parts_of({"data": indexcopy.header(10**6)}) == indexcopy.MAX_PARTS


def test_what_unpacks_to_too_much_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        indexcopy.unpacked(zlib.compress(b" " * (65 << 20)))


@pytest.mark.parametrize("text", [b"null", b"3", b"[" * 100_000, b"{"])
def test_what_is_no_document_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is for the log
        indexcopy.unpacked(zlib.compress(text))


@pytest.mark.parametrize("document", [{}, {"index": 3}, {"index": {"text": 3}}, {"index": {}}])
def test_a_document_without_an_index(document: dict) -> None:
    with pytest.raises(KeyError):
        indexcopy.index_text(document)
