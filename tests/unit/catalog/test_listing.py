"""Listings: LocalAI's four policies and three filters, and where we answer otherwise."""

from __future__ import annotations

import time
from typing import Any

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import LooseFilePolicy, ModelKind
from model_gallery.catalog import configuration, listing
from model_gallery.catalog.listing import Configured, Filter, Loose
from model_gallery.errors import StalledError

POLICY = LooseFilePolicy
CONFIGURED, LOOSE = ModelKind.CONFIGURED, ModelKind.LOOSE
ALL_POLICIES = list(LooseFilePolicy)

MODELS = (
    Configured("zebra", "zebra.gguf", "whisper", ("asr", "cpu"), ("transcript",), True, 10),
    Configured("alpha", "shared", "llama-cpp", ("llm", "cpu"), ("chat", "completion")),
)
FILES = (Loose("shared", 7), Loose("free.gguf", 8), Loose("README.md", 9))


def names(*arguments: Any) -> list[str]:
    return [item.name for item in listing.list_models(*arguments)]


def listed(wanted: Filter, policy: LooseFilePolicy = POLICY.ALWAYS_INCLUDE) -> list[str]:
    return names(MODELS, FILES, wanted, policy)


POLICIES: dict[LooseFilePolicy, list[str]] = {
    POLICY.LOOSE_ONLY: ["free.gguf"],
    POLICY.SKIP_IF_CONFIGURED: ["alpha", "free.gguf", "zebra"],
    POLICY.SKIP_ALWAYS: ["alpha", "zebra"],
    POLICY.ALWAYS_INCLUDE: ["alpha", "free.gguf", "shared", "zebra"],
}


@pytest.mark.parametrize(("policy", "want"), POLICIES.items(), ids=POLICIES.keys())
def test_the_four_policies(policy: LooseFilePolicy, want: list[str]) -> None:
    assert names(MODELS, FILES, Filter(), policy) == want


def test_every_policy_has_its_row() -> None:
    assert set(POLICIES) == set(ALL_POLICIES)


EMPTY: dict[str, tuple[tuple[Configured, ...], tuple[Loose, ...], dict[LooseFilePolicy, int]]] = {
    "nothing at all": ((), (), dict.fromkeys(ALL_POLICIES, 0)),
    "no files": ((Configured("m"),), (), {**dict.fromkeys(ALL_POLICIES, 1), POLICY.LOOSE_ONLY: 0}),
    "no Models": ((), (Loose("m", 1),), {**dict.fromkeys(ALL_POLICIES, 1), POLICY.SKIP_ALWAYS: 0}),
}


@pytest.mark.parametrize(("models", "files", "want"), EMPTY.values(), ids=EMPTY.keys())
def test_an_empty_side(
    models: tuple[Configured, ...], files: tuple[Loose, ...], want: dict[LooseFilePolicy, int]
) -> None:
    found = {policy: len(names(models, files, Filter(), policy)) for policy in ALL_POLICIES}

    assert found == want


def test_the_same_name_stands_twice_where_everything_is_included() -> None:
    models = (Configured("m", "m", ready=False, size_bytes=3),)

    found = listing.list_models(models, [Loose("m", 4)], Filter(), POLICY.ALWAYS_INCLUDE)

    assert [(item.name, item.kind, item.ready, item.size_bytes) for item in found] == [
        ("m", CONFIGURED, False, 3),
        ("m", LOOSE, True, 4),
    ]


def test_a_file_with_the_name_of_a_model_that_uses_another_is_shown() -> None:
    """LocalAI hides by the weights that a configuration names, and not by its own name."""
    models = (Configured("m", "other.gguf"),)

    found = listing.list_models(models, [Loose("m", 4)], Filter(), POLICY.SKIP_IF_CONFIGURED)

    assert [item.kind for item in found] == [CONFIGURED, LOOSE]


def test_a_model_that_the_filter_drops_hides_nothing() -> None:
    """As in LocalAI: the files of what is not listed are loose for the listing."""
    found = names(MODELS, FILES, Filter("shared|zebra"), POLICY.SKIP_IF_CONFIGURED)

    assert found == ["shared", "zebra"]


def test_a_model_without_weights_hides_nothing() -> None:
    files = (Loose("a", 1), Loose("b", 2))

    assert names([Configured("m")], files, Filter(), POLICY.LOOSE_ONLY) == ["a", "b"]


def test_names_are_sorted_whatever_order_they_come_in() -> None:
    """LocalAI's order is that of a Go map, another one on each call."""
    models = [Configured(name) for name in ("b", "C", "ä", "a", "10", "9")]
    files = [Loose("bb", 1), Loose("0", 1)]
    want = ["0", "10", "9", "C", "a", "b", "bb", "ä"]

    assert names(models, files, Filter(), POLICY.ALWAYS_INCLUDE) == want
    assert names(models[::-1], files[::-1], Filter(), POLICY.ALWAYS_INCLUDE) == want


# Filters


FILTERS: dict[str, tuple[Filter, list[str]]] = {
    "nothing": (Filter(), ["alpha", "free.gguf", "shared", "zebra"]),
    "a name, found anywhere": (Filter("e"), ["free.gguf", "shared", "zebra"]),
    "a name from its beginning": (Filter("^a"), ["alpha"]),
    "a whole name": (Filter("^zebra$"), ["zebra"]),
    "a name in other letters": (Filter("ALPHA"), []),
    "a name in any letters": (Filter("(?i)ALPHA"), ["alpha"]),
    "either of two names": (Filter("alp|free"), ["alpha", "free.gguf"]),
    "a tag": (Filter(tags=("llm",)), ["alpha"]),
    "a tag of both": (Filter(tags=("cpu",)), ["alpha", "zebra"]),
    "two tags": (Filter(tags=("cpu", "asr")), ["zebra"]),
    "two tags that none has both": (Filter(tags=("llm", "asr")), []),
    "a tag is no part of a tag": (Filter(tags=("cp",)), []),
    "a backend": (Filter(backend="whisper"), ["zebra"]),
    "a backend that none names": (Filter(backend="llama"), []),
    "a use case": (Filter(use_case="chat"), ["alpha"]),
    "a use case in other letters": (Filter(use_case="CHAT"), ["alpha"]),
    "a use case by LocalAI's flag": (Filter(use_case="FLAG_CHAT"), ["alpha"]),
    "a name and a tag": (Filter("e", tags=("cpu",)), ["zebra"]),
    "all of it": (Filter("a", ("cpu",), "llama-cpp", "completion"), ["alpha"]),
    "all of it but one": (Filter("a", ("cpu",), "whisper", "completion"), []),
}


@pytest.mark.parametrize(("wanted", "want"), FILTERS.values(), ids=FILTERS.keys())
def test_filters(wanted: Filter, want: list[str]) -> None:
    assert listed(wanted) == want


@pytest.mark.parametrize(
    "wanted", [Filter(tags=("x",)), Filter(backend="x"), Filter(use_case="x")], ids=str
)
@pytest.mark.parametrize("policy", ALL_POLICIES)
def test_loose_files_pass_no_filter_but_the_name(wanted: Filter, policy: LooseFilePolicy) -> None:
    assert names((), FILES, wanted, policy) == []


def test_a_broken_expression_is_told() -> None:
    with pytest.raises(StalledError) as caught:
        listed(Filter("a("))

    assert caught.value.reason is Reason.INVALID_SPEC
    assert caught.value.message.startswith("filter is no regular expression: missing")


@pytest.mark.parametrize("expression", ["(?=a)", r"(a)\1", "(?<!a)b"])
def test_what_only_backtracking_can_do_is_no_expression(expression: str) -> None:
    with pytest.raises(StalledError):
        listed(Filter(expression))


@pytest.mark.parametrize("expression", ["(a+)+$", "(a|aa)+$", "(.*a){12}$", "^(([a-z])+.)+[A-Z]"])
def test_no_expression_takes_long(expression: str) -> None:
    """Each of these costs Python's own engine more than the age of the universe."""
    files = [Loose("a" * 4096 + "!", 1)]
    begin = time.process_time()

    found = names((), files, Filter(expression), POLICY.ALWAYS_INCLUDE)

    assert found in ([], [files[0].path])
    assert time.process_time() - begin < 0.5


# What is a model


IS_MODEL = {
    # LocalAI shows these, too.
    "loosefile": True,
    "notes.custom": True,
    "model.onnx.enc": True,
    # It skips these three, although they are models; we do not.
    "a.gguf": True,
    "a.safetensors": True,
    "a.ggml": True,
    "Some Folder/Q4_K_M.GGUF": True,
    # Its list of suffixes, in any letters.
    "a.tmpl": False,
    "a.keep": False,
    "a.yaml": False,
    "a.yml": False,
    "a.json": False,
    "a.txt": False,
    "a.pt": False,
    "a.onnx": False,
    "a.md": False,
    "A.MD": False,
    ".DS_Store": False,
    "x.DS_Store": False,
    "a.": False,
    "a.bin": False,
    "a.BIN": False,
    "a.ckpt": False,
    "a.zip": False,
    "a.tag": False,
    "a.bak": False,
    "a.partial": False,
    "a.gguf.partial": False,
    "a.tar.gz": False,
    # Its names, and anything that was put aside.
    "MODEL_CARD": False,
    "model_card": False,
    "README": False,
    "Readme": False,
    "README.md": False,
    "READMEs": True,
    "a.bak.gguf": False,
    "a.BAK2": False,
    # What it forgot.
    "a.tar.bz2": False,
    "a.tgz": False,
    "a.pth": False,
    "a.nemo": False,
    "a.npz": False,
    "a.lock": False,
    "a.py": False,
    "model.safetensors.index.json": False,
    # Hidden, itself or by its folder.
    ".gitattributes": False,
    "._gallery_a.yaml": False,
    ".hidden.gguf": False,
    ".artifacts/huggingface/0f/snapshot/model.safetensors": False,
    "a/.cache/b.gguf": False,
    "a/b.gguf": True,
}


@pytest.mark.parametrize(("path", "want"), IS_MODEL.items(), ids=IS_MODEL.keys())
def test_what_may_be_a_model(path: str, want: bool) -> None:
    assert listing.is_model_file(path) is want


# A folder as LocalAI leaves it


LOCALAI = [
    "conf1.yaml",
    "._gallery_conf1.yaml",
    "loosefile",
    "loose.gguf",
    "README.md",
    "arch.tar.bz2",
    "notes.custom",
    "sub/weights.gguf",
    "tiny-inline.gguf",
    "tiny-inline.yaml",
    "nope.gguf.partial",
    "chat.tmpl",
    ".artifacts/huggingface/0f/snapshot/model.safetensors",
    ".artifacts/huggingface/0f/manifest.json",
    ".artifacts/.partial/0f.0123456789abcdef/model.safetensors",
    ".artifacts/.locks/0f.lock",
]
SERVED = (Configured("conf1", "loosefile"), Configured("Renamed-Model", "tiny-inline.gguf"))


def test_a_folder_as_localai_leaves_it() -> None:
    """It answers the two, arch.tar.bz2 and notes.custom: no weights, but an archive."""
    files = [Loose(path, 1) for path in LOCALAI]

    assert names(SERVED, files, Filter(), POLICY.SKIP_IF_CONFIGURED) == [
        "Renamed-Model",
        "conf1",
        "loose.gguf",
        "notes.custom",
        "sub/weights.gguf",
    ]
    assert names(SERVED, files, Filter(), POLICY.LOOSE_ONLY) == [
        "loose.gguf",
        "notes.custom",
        "sub/weights.gguf",
    ]


# Whether a model exists


OFFERED = [
    Configured(name, "weights.gguf")
    for name in ("gpt-4", "qwen3x5", "a(b", "a*b", "café", "llama-3.2-1b-instruct:q4_k_m")
]
BESIDE = [Loose("free.gguf", 1), Loose("sub/other.gguf", 1), Loose("notes.txt", 1)]

EXISTS: dict[str, tuple[str, bool, bool]] = {
    "the name": ("gpt-4", True, True),
    "a part of it": ("gpt", False, True),
    "more than it": ("gpt-4o", False, False),
    "in other letters": ("GPT-4", False, False),
    "a dot that is none": ("qwen3.5", False, True),
    "with a colon": ("llama-3.2-1b-instruct:q4_k_m", True, True),
    "beyond ASCII": ("café", True, True),
    "a loose file": ("free.gguf", True, True),
    "a loose file by its path": ("sub/other.gguf", True, True),
    "a loose file without its folder": ("other.gguf", False, True),
    "a file that is no model": ("notes.txt", False, False),
    "the weights of a Model": ("weights.gguf", False, False),
    "a path outside": ("../x", False, False),
    "nothing": ("", False, True),
}


@pytest.mark.parametrize(("name", "exact", "regex"), EXISTS.values(), ids=EXISTS.keys())
def test_whether_a_model_exists(name: str, exact: bool, regex: bool) -> None:
    assert listing.model_exists(name, OFFERED, BESIDE) is exact
    assert listing.model_exists(name, OFFERED, BESIDE, regex=True) is regex


def test_a_name_need_not_be_an_expression() -> None:
    """LocalAI answers such names with an error."""
    assert listing.model_exists("a(b", OFFERED, ())
    assert listing.model_exists("a*b", OFFERED, ())
    with pytest.raises(StalledError) as caught:
        listing.model_exists("a(b", OFFERED, (), regex=True)
    assert caught.value.reason is Reason.INVALID_SPEC


def test_nothing_exists_where_there_is_nothing() -> None:
    assert not listing.model_exists("a", (), ())
    assert not listing.model_exists("", (), (), regex=True)


# What a configuration says


USE_CASES: dict[str, tuple[Any, tuple[str, ...]]] = {
    "no configuration": (None, ()),
    "none": ({}, ()),
    "flags": ({"known_usecases": ["FLAG_CHAT", "chat", "FLAG_Embeddings"]}, ("chat", "embeddings")),
    "no list": ({"known_usecases": "chat"}, ()),
    "no names": ({"known_usecases": [1, None, "chat"]}, ("chat",)),
}


@pytest.mark.parametrize(("config", "want"), USE_CASES.values(), ids=USE_CASES.keys())
def test_use_cases(config: Any, want: tuple[str, ...]) -> None:
    assert configuration.use_cases(config) == want


WEIGHTS: dict[str, tuple[Any, str]] = {
    "no configuration": (None, ""),
    "none": ({}, ""),
    "a file": ({"parameters": {"model": "a/b.gguf"}}, "a/b.gguf"),
    "no mapping": ({"parameters": ["model"]}, ""),
    "no text": ({"parameters": {"model": 3}}, ""),
}


@pytest.mark.parametrize(("config", "want"), WEIGHTS.values(), ids=WEIGHTS.keys())
def test_weights(config: Any, want: str) -> None:
    assert configuration.weights(config) == want
