"""Models as the command line asks for them, and what it may not ask for."""

from __future__ import annotations

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from model_gallery.api.v1alpha1.model import ModelSpec
from model_gallery.catalog import index
from model_gallery.plugin import manifests
from model_gallery.plugin.manifests import Wish
from model_gallery.plugin.problem import Exit, Problem

DATA = Path(
    os.environ.get("MODEL_GALLERY_DATA")
    or Path(__file__).parents[4] / "shared" / "data" / "localai-gallery"
)
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
SHA = "ab" * 32

SOURCES = {
    "an entry": ("tiny-llama", "", {"entry": {"name": "tiny-llama"}}, "tiny-llama"),
    "an entry whose name is no object's": (
        "Llama-3.2:Q4_K_M",
        "",
        {"entry": {"name": "Llama-3.2:Q4_K_M"}},
        "llama-3.2-q4-k-m",
    ),
    "a URL": (
        "https://e.x/a/M.gguf?x=1",
        "",
        {"uri": "https://e.x/a/M.gguf?x=1"},
        "m",
    ),
    "a URL with a digest": (
        "https://e.x/a/m.GGUF",
        SHA.upper(),
        {"files": [{"path": "m.GGUF", "uri": "https://e.x/a/m.GGUF", "sha256": SHA}]},
        "m",
    ),
    "a digest in the form of OCI": (
        "hf://o/r/m.gguf",
        f"sha256:{SHA}",
        {"files": [{"path": "m.gguf", "uri": "hf://o/r/m.gguf", "sha256": SHA}]},
        "m",
    ),
    "a repository": ("hf://o/Repo-1@main", "", {"uri": "hf://o/Repo-1@main"}, "repo-1"),
    "an Ollama model": ("ollama://qwen3:0.6b", "", {"uri": "ollama://qwen3:0.6b"}, "qwen3-0.6b"),
    "a file of GitHub": (
        "github:o/r/x.bin@v1",
        "",
        {"uri": "github:o/r/x.bin@v1"},
        "x",
    ),
    "a repository of GitHub": ("github://o/Repo@v1", "", {"uri": "github://o/Repo@v1"}, "repo"),
    "a file of GitHub with a digest": (
        "github://o/r/x.gguf@v1",
        SHA,
        {"files": [{"path": "x.gguf", "uri": "github://o/r/x.gguf@v1", "sha256": SHA}]},
        "x",
    ),
}


@pytest.mark.parametrize(("what", "sha256", "source", "name"), SOURCES.values(), ids=SOURCES)
def test_model(what: str, sha256: str, source, name: str) -> None:
    made = manifests.model(Wish(what, "demo", "models", sha256=sha256))

    assert made["metadata"] == {"name": name, "namespace": "models"}
    assert made["spec"] == {"galleryName": "demo", "source": source}
    ModelSpec.model_validate(made["spec"])


def test_a_name_that_is_cut_keeps_what_tells_it_from_others() -> None:
    stem = "qwen3.6-35b-a3b-claude-4.6-opus-reasoning-distilled-apex-mtp-i"
    balanced, compact = (
        manifests.object_name(f"{stem}-{tail}") for tail in ("balanced", "compact")
    )

    assert balanced != compact
    assert len(balanced) == len(compact) == 63
    assert balanced[:56] == compact[:56] == stem[:56]
    assert manifests.object_name("x" * 63) == "x" * 63
    assert manifests.object_name("x" * 99 + "\udcff")[:56] == "x" * 56
    assert manifests.object_name("A" * 55 + "_-." + "b" * 9).startswith("a" * 55 + "-")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no gallery in {DATA}")
def test_names_after_the_whole_real_gallery() -> None:
    """Two pairs differ in letters that no object's name can have; there the API server refuses."""
    entries = index.parse((DATA / "index.yaml").read_bytes()).names()
    found = Counter(manifests.object_name(entry) for entry in entries)

    assert all(SUBDOMAIN.match(name) and len(name) <= 63 for name in found)
    assert {name: count for name, count in found.items() if count > 1} == {
        "voice-en-us-ryan-high": 2,
        "voice-sv-se-nst-medium": 2,
    }


def test_names_that_are_given_win() -> None:
    made = manifests.model(Wish("x", "demo", "models", name="n.1", served_name="S N"))

    assert made["metadata"]["name"] == "n.1"
    assert made["spec"]["servedName"] == "S N"


WRONG = {
    "a digest for an entry": (Wish("x", "g", "n", sha256=SHA), "--sha256 is for URIs"),
    "a digest for an asset": (
        Wish("github://o/r/releases/tag/v1/m.gguf", "g", "n", sha256=SHA),
        "one file",
    ),
    "a digest for a repository": (Wish("hf://o/r", "g", "n", sha256=SHA), "one file"),
    "a digest that is none": (Wish("https://e.x/m", "g", "n", sha256="12"), "64 hex digits"),
    "a URI that is none": (Wish("ftp://e.x/m", "g", "n"), "ftp://e.x/m"),
    "a name that is none": (Wish("x", "g", "n", name="A_b"), "--name 'A_b'"),
    "a source that gives no name": (Wish("???", "g", "n"), "give a name with --name"),
}


@pytest.mark.parametrize(("wish", "told"), WRONG.values(), ids=WRONG)
def test_wrong_usage(wish: Wish, told: str) -> None:
    with pytest.raises(Problem) as raised:
        manifests.model(wish)

    assert raised.value.exit_code is Exit.USAGE
    assert told in raised.value.message


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a..b", "a.b"),
        ("-a-.-b-", "a.b"),
        ("Ärger", "rger"),
        ("x" * 99, "x" * 56 + "-d0621f"),
        ("é", ""),
    ],
)
def test_object_names(text: str, name: str) -> None:
    assert manifests.object_name(text) == name


def test_a_loose_file_is_adopted_where_it_lies() -> None:
    made = manifests.adopted(Wish("old/My Model.gguf", "demo", "models", sha256=SHA))

    assert made["metadata"]["name"] == "my-model"
    assert made["spec"]["source"] == {
        "files": [
            {"path": "old/My Model.gguf", "uri": "file:///old/My%20Model.gguf", "sha256": SHA}
        ]
    }


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", ".modelgallery/x", ""])
def test_paths_that_leave_the_volume_are_refused(path: str) -> None:
    with pytest.raises(Problem) as raised:
        manifests.adopted(Wish(path, "demo", "models"))

    assert raised.value.exit_code is Exit.USAGE
