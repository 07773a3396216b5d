"""Index text: what is read, what is refused, and with which word (T62)."""

from __future__ import annotations

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.catalog import index
from model_gallery.errors import StalledError

BOMB = b"- &a [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
    f"- &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 10)}]\n".encode() for n in range(8)
)

BROKEN: dict[str, bytes] = {
    "a mapping": b"name: x",
    "a page": b"<!DOCTYPE html><html></html>",
    "text": b"404: not found",
    "no YAML": b"- {name: x",
    "an alias bomb": BOMB,
    "too deep": b"- " + b"[" * 500 + b"]" * 500,
    "too large": b"#" * (16 * 1024 * 1024 + 1),
    "no UTF-8": b"- name: \xff\xfe",
    "nothing": b"",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_what_is_no_index_is_refused(text: bytes) -> None:
    with pytest.raises(StalledError) as caught:
        index.parse(text)

    assert caught.value.reason is Reason.INDEX_INVALID


@pytest.mark.parametrize(
    "text",
    [b"\xef\xbb\xbf- name: x\n", b"- name: x\r\n", b'[{"name": "x"}]', b"---\n- name: x\n"],
    ids=["byte order mark", "CRLF", "JSON", "document start"],
)
def test_forms_that_are_read(text: bytes) -> None:
    assert index.parse(text).names() == ("x",)


def test_merge_keys_are_resolved() -> None:
    text = b"- &base {name: a, license: mit, tags: [x]}\n- !!merge <<: *base\n  name: b\n"

    parsed = index.parse(text)

    assert parsed.names() == ("a", "b")
    assert parsed.entry("b").license == "mit"


def test_one_bad_entry_does_not_spoil_the_others() -> None:
    parsed = index.parse(b"- name: a\n- 7\n- {url: x}\n- name: a\n- name: b\n")

    assert parsed.names() == ("a", "b")
    assert [problem.entry for problem in parsed.problems] == ["#2", "#3", "a"]


def test_tags_make_no_objects() -> None:
    with pytest.raises(StalledError):
        index.parse(b"- name: !!python/object/apply:os.system [id]\n")
