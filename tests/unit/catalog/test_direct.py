"""A Model's own list of files: what their URIs may be."""

from __future__ import annotations

import pytest

from model_gallery.api.v1alpha1.model import FileSource
from model_gallery.catalog import direct
from model_gallery.errors import StalledError

TAKEN = {
    "https://example.org/a.gguf": "https://example.org/a.gguf",
    "file:///a.gguf": "file:///a.gguf",
    "file:///llm/with%20space.gguf": "file:///llm/with%20space.gguf",
}


def urls(uri: str) -> list[str]:
    request = direct.assemble_files(
        [FileSource(path="a.gguf", uri=uri)], install_name="m", config={}, rewrites=()
    )
    return [file.url for file in request.files]


@pytest.mark.parametrize("uri", TAKEN)
def test_taken(uri: str) -> None:
    assert urls(uri) == [TAKEN[uri]]


REFUSED = {
    "file://a.gguf": r"source\.files\[0\]\.uri: .*file:///path",
    "file:a.gguf": r"source\.files\[0\]\.uri: .*file:///path",
    "file:///llm/": r"source\.files\[0\]\.uri: .*must name a file",
    "oci://ghcr.io/a/b": r"source\.files\[0\]\.uri: oci: names no single file; set spec\.source\.uri",
    "s3://bucket/key": r"source\.files\[0\]\.uri: s3: names no single file",
}


@pytest.mark.parametrize("uri", REFUSED)
def test_refused(uri: str) -> None:
    with pytest.raises(StalledError, match=REFUSED[uri]):
        urls(uri)
