"""Which entries a Gallery keeps installed, by name and by what they say of themselves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import Install
from model_gallery.catalog import index, selection
from model_gallery.catalog.index import Index
from model_gallery.catalog.selection import Selection
from model_gallery.errors import StalledError

DATA = Path(
    os.environ.get("MODEL_GALLERY_DATA")
    or Path(__file__).parents[4] / "shared" / "data" / "localai-gallery"
)


def entry(name: str, *tags: str, backend: str = "", **more: Any) -> dict[str, Any]:
    overrides = {"backend": backend} if backend else {"f16": True}
    return {"name": name, "tags": list(tags), "overrides": overrides, **more}


ENTRIES = [
    entry("qwen3-8b", "llm", "cpu", backend="llama-cpp"),
    entry("qwen3-0.6b", "llm", backend="llama-cpp"),
    entry("whisper-base", "asr", "cpu", backend="whisper"),
    entry("Whisper-Large", "asr", backend="whisper"),
    entry("broken", "llm", overrides="none"),
    entry("bare"),
]
INDEX = index.parse(json.dumps(ENTRIES).encode())


def select(there: Index = INDEX, **wanted: Any) -> Selection:
    return selection.select(Install.model_validate(wanted), there)


def matching(**wanted: Any) -> tuple[str, ...]:
    return select(matching=wanted).matched


def test_nothing_is_asked_for() -> None:
    assert select() == Selection()


def test_names_in_the_order_of_the_wish() -> None:
    assert select(entries=["whisper-base", "qwen3-8b"]).named == ("whisper-base", "qwen3-8b")


def test_names_that_the_index_does_not_hold() -> None:
    found = select(entries=["gone", "bare", "QWEN3-8B", "qwen3"])

    assert found == Selection(named=("bare",), missing=("gone", "QWEN3-8B", "qwen3"))


def test_a_broken_entry_that_is_named_is_there() -> None:
    """Its Model says what is wrong with it; nobody would, were it passed by."""
    assert select(entries=["broken"]) == Selection(named=("broken",))


MATCHES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a tag, in the index's order": ({"tags": ["llm"]}, ("qwen3-8b", "qwen3-0.6b")),
    "all of the tags": ({"tags": ["asr", "cpu"]}, ("whisper-base",)),
    "tags that none has together": ({"tags": ["asr", "llm"]}, ()),
    "a tag in other letters": ({"tags": ["LLM"]}, ()),
    "a part of a tag": ({"tags": ["ll"]}, ()),
    "a backend": ({"backend": "whisper"}, ("whisper-base", "Whisper-Large")),
    "a part of a backend": ({"backend": "llama"}, ()),
    "a tag and a backend": ({"tags": ["cpu"], "backend": "whisper"}, ("whisper-base",)),
    "a name": ({"nameRegex": "qwen3-8b"}, ("qwen3-8b",)),
    "a part of a name is none": ({"nameRegex": "qwen3"}, ()),
    "the end of a name is none": ({"nameRegex": "8b|base"}, ()),
    "names that begin alike": ({"nameRegex": "qwen3.*"}, ("qwen3-8b", "qwen3-0.6b")),
    "a dot is a letter, escaped it is a dot": ({"nameRegex": r"qwen3-0\.6b"}, ("qwen3-0.6b",)),
    "either of two names": ({"nameRegex": "bare|qwen3-8b"}, ("qwen3-8b", "bare")),
    "names in any letters": (
        {"nameRegex": "(?i)WHISPER.*"},
        ("whisper-base", "Whisper-Large"),
    ),
    "a name and a backend": (
        {"nameRegex": ".*-.*b", "backend": "llama-cpp"},
        ("qwen3-8b", "qwen3-0.6b"),
    ),
    "everything that can be read": (
        {"nameRegex": ".*"},
        ("qwen3-8b", "qwen3-0.6b", "whisper-base", "Whisper-Large", "bare"),
    ),
}


@pytest.mark.parametrize(("wanted", "want"), MATCHES.values(), ids=MATCHES.keys())
def test_what_is_selected(wanted: dict[str, Any], want: tuple[str, ...]) -> None:
    assert matching(**wanted) == want


def test_what_is_named_is_not_selected_too() -> None:
    found = select(entries=["qwen3-0.6b"], matching={"tags": ["llm"]})

    assert found == Selection(named=("qwen3-0.6b",), matched=("qwen3-8b",))


@pytest.mark.parametrize(
    ("most", "matched", "omitted"),
    [(1, 1, 4), (4, 4, 1), (5, 5, 0), (100, 5, 0)],
    ids=["one", "one less", "just enough", "the default"],
)
def test_no_more_than_may_be(most: int, matched: int, omitted: int) -> None:
    found = select(matching={"nameRegex": ".*"}, maxModels=most)

    assert (len(found.matched), found.omitted) == (matched, omitted)


def test_what_is_named_does_not_count_against_the_most() -> None:
    names = [item["name"] for item in ENTRIES[:3]]

    found = select(entries=names, matching={"nameRegex": ".*"}, maxModels=1)

    assert (found.named, found.matched, found.omitted) == (tuple(names), ("Whisper-Large",), 1)


@pytest.mark.parametrize("expression", ["a(", "(?=a)", "["])
def test_an_expression_that_is_none(expression: str) -> None:
    with pytest.raises(StalledError) as caught:
        matching(nameRegex=expression)

    assert caught.value.reason is Reason.INVALID_SPEC
    assert "spec.install.matching.nameRegex" in caught.value.message


def test_an_empty_index() -> None:
    empty = index.parse(b"[]")

    assert select(empty, entries=["a"], matching={"nameRegex": ".*"}) == Selection(missing=("a",))


# LocalAI's public gallery, by figures that were counted by other means


@pytest.fixture(scope="module")
def real() -> Index:
    if not DATA.is_dir():
        pytest.skip(f"no gallery in {DATA}")
    return index.parse((DATA / "index.yaml").read_bytes())


def test_all_of_the_real_gallery(real: Index) -> None:
    found = select(real, matching={"nameRegex": ".*"}, maxModels=2000)

    assert (len(found.matched), found.omitted) == (1709, 0)


def test_names_of_the_real_gallery(real: Index) -> None:
    """15 names hold a colon; 2 are not ASCII."""
    colon = select(real, matching={"nameRegex": ".*:.*"})
    other = select(real, matching={"nameRegex": r".*[^\x00-\x7f].*"})

    assert len(colon.matched) == 15
    assert len(other.matched) == 2
    assert "voice-pt_PT-tugão-medium" in other.matched


def test_tags_of_the_real_gallery(real: Index) -> None:
    found = select(real, matching={"tags": ["llm"]}, maxModels=2000)

    assert len(found.matched) == 1129
    assert select(real, matching={"tags": ["llm"]}).omitted == 1029


def test_backends_that_entries_of_the_real_gallery_name_themselves(real: Index) -> None:
    """Of 1,151 entries for llama-cpp 498 say so; the others' base configuration does, unseen here."""
    assert len(select(real, matching={"backend": "llama-cpp"}, maxModels=2000).matched) == 498
    assert select(real, matching={"backend": "piper"}).matched == ()
