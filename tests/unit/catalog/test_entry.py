"""How an entry becomes an install request: each rule of LocalAI's installer, and where ours differs."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import Rewrite
from model_gallery.catalog import baseconfig, entry, index
from model_gallery.errors import StalledError

SHA = "a" * 64
BASE = baseconfig.parse(
    b"""
name: chatml
config_file: |
  backend: llama-cpp
  context_size: 4096
  template: {chat: "{{.Input}}", completion: "{{.Input}}"}
prompt_templates:
  - {name: chatml, content: "<|{{.Role}}|>"}
""",
    "github:x/y/z.yaml",
)
ENTRY: dict[str, Any] = {
    "name": "Tiny:q4_k_m",
    "url": "github:x/y/z.yaml",
    "description": "small",
    "files": [
        {"filename": "llama-cpp/t.gguf", "sha256": SHA, "uri": "huggingface://o/r/t.gguf"},
    ],
    "overrides": {"parameters": {"model": "llama-cpp/t.gguf"}, "template": {"chat": "x"}},
}


def assemble(values: dict[str, Any] | None = None, **wish: Any) -> Any:
    text = yaml.safe_dump([ENTRY if values is None else values])
    parsed = index.parse(text.encode())
    (name,) = parsed.names()
    one = parsed.entry(name)
    start = {
        "overrides": {},
        "install_name": name,
        "served_name": "",
        "config": {},
        "rewrites": (),
    }
    return entry.assemble(one, BASE if one.url else None, **{**start, **wish})


def config_of(request: Any) -> dict[str, Any]:
    return yaml.safe_load(request.documents[-1].content)


def test_base_overrides_and_name_come_together() -> None:
    request = assemble()

    assert config_of(request) == {
        "name": "Tiny:q4_k_m",
        "backend": "llama-cpp",
        "context_size": 4096,
        "template": {"chat": "x", "completion": "{{.Input}}"},
        "parameters": {"model": "llama-cpp/t.gguf"},
    }
    assert request.backend == "llama-cpp"
    assert [file.path for file in request.files] == ["llama-cpp/t.gguf"]
    assert request.files[0].url == "https://huggingface.co/o/r/resolve/main/t.gguf"


def test_documents_come_in_order_and_the_configuration_last() -> None:
    assert [document.path for document in assemble().documents] == [
        "chatml.tmpl",
        "._gallery_Tiny:q4_k_m.yaml",
        "Tiny:q4_k_m.yaml",
    ]


def test_the_record_is_what_localai_deletes_by() -> None:
    record = yaml.safe_load(assemble().documents[-2].content)

    assert record["files"] == ENTRY["files"]
    assert record["description"] == "small"


def test_overrides_name_beats_the_installs_but_not_the_users() -> None:
    values = {**ENTRY, "overrides": {**ENTRY["overrides"], "name": "GLM"}}

    request = assemble(values)
    explicit = assemble(values, install_name="mine", served_name="mine")

    assert (config_of(request)["name"], request.served_name) == ("GLM", "GLM")
    assert request.documents[-1].path == "Tiny:q4_k_m.yaml"
    assert (config_of(explicit)["name"], explicit.served_name) == ("mine", "mine")
    assert explicit.documents[-1].path == "mine.yaml"


def test_the_models_config_comes_last_and_deep() -> None:
    request = assemble(overrides={"context_size": 1}, config={"template": {"chat": "mine"}})

    assert config_of(request)["context_size"] == 1
    assert config_of(request)["template"] == {"chat": "mine", "completion": "{{.Input}}"}


def test_the_first_rewrite_that_fits_counts() -> None:
    rules = (
        Rewrite(prefix="https://example.org/", replacement="https://no/"),
        Rewrite(prefix="https://huggingface.co/", replacement="https://hub.corp/hf/"),
        Rewrite(prefix="https://huggingface.co/o/", replacement="https://late/"),
    )

    assert assemble(rewrites=rules).files[0].url == "https://hub.corp/hf/o/r/resolve/main/t.gguf"


def test_a_slash_in_the_name_becomes_two_underscores_in_files() -> None:
    request = assemble({**ENTRY, "name": "a/b"})

    assert request.documents[-1].path == "a__b.yaml"


REFUSED: dict[str, tuple[dict[str, Any], Reason]] = {
    "a path out of the volume": (
        {"files": [{"filename": "../x", "uri": "https://e/x", "sha256": SHA}]},
        Reason.UNSAFE_PATH,
    ),
    "a path to the root": (
        {"files": [{"filename": "/etc/x", "uri": "https://e/x", "sha256": SHA}]},
        Reason.UNSAFE_PATH,
    ),
    "a model path that leaves": (
        {"overrides": {"parameters": {"model": "../../x"}}},
        Reason.UNSAFE_PATH,
    ),
    "no sha256": (
        {"files": [{"filename": "x", "uri": "https://e/x", "sha256": "abc"}]},
        Reason.ENTRY_INVALID,
    ),
    "an unusable backend": ({"overrides": {"backend": "a b"}}, Reason.ENTRY_INVALID),
    "a snapshot": ({"overrides": {"artifacts": [{"name": "model"}]}}, Reason.ENTRY_UNSUPPORTED),
    "an archive that nothing here unpacks": (
        {"files": [{"filename": "v.tar.zst", "uri": "https://e/v.tar.zst", "sha256": SHA}]},
        Reason.ENTRY_UNSUPPORTED,
    ),
    "one path with two contents": (
        {
            "files": [
                {"filename": "x", "uri": "https://e/x", "sha256": SHA},
                {"filename": "x", "uri": "https://e/y", "sha256": "b" * 64},
            ]
        },
        Reason.ENTRY_INVALID,
    ),
    "nothing at all": (
        {"files": [], "overrides": {}, "url": ""},
        Reason.ENTRY_INVALID,
    ),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_installed_is_named(changes: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(StalledError) as caught:
        assemble({**ENTRY, **changes})

    assert caught.value.reason is reason
    assert "Tiny:q4_k_m" in caught.value.message


def test_without_files_the_configuration_alone_is_published() -> None:
    request = assemble({**ENTRY, "files": []})

    assert request.files == ()
    assert request.documents[-1].path == "Tiny:q4_k_m.yaml"


def test_archives_are_marked_to_be_unpacked() -> None:
    names = ["v.tar.gz", "V.ZIP", "d/v.tar.bz2", "v.gguf", "v.gz"]
    files = [
        {"filename": name, "uri": f"https://e/{n}", "sha256": SHA} for n, name in enumerate(names)
    ]

    request = assemble({"name": "voice", "files": files})

    assert [file.unpack for file in request.files] == [True, True, True, False, False]
