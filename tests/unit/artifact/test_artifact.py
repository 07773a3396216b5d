"""Paths that cannot escape, and the URI grammar."""

from __future__ import annotations

import contextlib
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_gallery.api.conditions import Reason
from model_gallery.artifact import reference
from model_gallery.artifact.path import ArtifactPath
from model_gallery.errors import StalledError

UNSAFE = [
    "../../../etc/passwd",
    "folder/../../../etc/passwd",
    "..\\..\\Windows\\evil",
    "folder\\..\\..\\evil",
    "/etc/passwd",
    "C:\\Windows\\System32\\evil",
    "C:/Windows/evil",
    "D:relative\\evil",
    "\\\\attacker\\share\\evil",
    "\\evil",
    "folder/C:\\x",
    "folder/\\\\attacker\\x",
    "folder/\\evil",
    "",
    ".",
    "..",
    "a//b",
    "a/",
    "a/./b",
    ".modelgallery/blobs/x",
    "lost+found",
    "a\nb",
    "a\x00b",
    "x" * 256,
    "/".join(["x" * 100] * 11),
]


@pytest.mark.parametrize("text", UNSAFE)
def test_unsafe_paths_are_refused(text: str) -> None:
    with pytest.raises(StalledError) as caught:
        ArtifactPath.parse(text)

    assert caught.value.reason is Reason.UNSAFE_PATH


@pytest.mark.parametrize(
    "text",
    ["a.gguf", "weird but valid/name.txt", "voice-pt_PT-tugão.onnx", "bundled:silero", "x" * 255],
)
def test_odd_but_safe_paths_are_kept(text: str) -> None:
    assert str(ArtifactPath.parse(text)) == text


@given(st.text(max_size=60))
def test_no_text_escapes(text: str) -> None:
    try:
        path = ArtifactPath.parse(text)
    except StalledError:
        return

    joined = posixpath.normpath(posixpath.join("/root", str(path)))
    assert joined == f"/root/{path}"


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("https://e.org/a%20b?x=1", "https://e.org/a%20b?x=1"),
        ("huggingface://o/r/d/f.gguf", "https://huggingface.co/o/r/resolve/main/d/f.gguf"),
        ("hf://o/r@v1/f", "https://huggingface.co/o/r/resolve/v1/f"),
        ("hf://o/r/f@v1", "https://huggingface.co/o/r/resolve/v1/f"),
        ("github:o/r/p/f.yaml@b", "https://raw.githubusercontent.com/o/r/b/p/f.yaml"),
        ("github://o/r/f", "https://raw.githubusercontent.com/o/r/main/f"),
    ],
)
def test_forms_of_references(uri: str, url: str) -> None:
    assert reference.parse(uri).url == url


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "file:///etc/passwd",
        "ftp://e/x",
        "gopher://e",
        "data:,x",
        "https://user:pass@e/x",
        "https://e\\@127.0.0.1/",
        "https://e/a b",
        "https://e/a\tb",
        "https:///x",
        "https://e:0/x",
        "https://e:99999999/x",
        "https://e/x#frag",
        "hf://o/r",
        "hf://o/../f",
        "hf://o/r/a/../../f",
        "https://e/" + "x" * 2048,
    ],
)
def test_what_is_no_reference_is_refused(uri: str) -> None:
    with pytest.raises(StalledError) as caught:
        reference.parse(uri)

    assert caught.value.reason is Reason.INVALID_SPEC
    assert "user:pass" not in caught.value.message


@pytest.mark.parametrize("read", [reference.parse, reference.repository, reference.redirect_target])
@pytest.mark.parametrize("scheme", ["hf://o/r/", "https://e.x/", "oci://e.x/"])
def test_a_uri_that_is_no_text_is_refused(read, scheme: str) -> None:
    """Half of a pair of surrogates cannot be sent; no parser may fall over it."""
    with contextlib.suppress(StalledError):
        assert read(f"{scheme}\ud800") is None
