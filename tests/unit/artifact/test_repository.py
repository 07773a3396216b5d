"""References to repositories: each form of the grammar, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_gallery.api.conditions import Reason
from model_gallery.artifact import reference
from model_gallery.artifact.reference import RepositoryRef
from model_gallery.errors import StalledError

HUB = "https://huggingface.co"
GITHUB = "https://github.com"
OLLAMA = "https://registry.ollama.ai"
DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("hf://owner/repo", RepositoryRef("HuggingFace", f"{HUB}/owner/repo")),
        ("huggingface://o/r@v1.0", RepositoryRef("HuggingFace", f"{HUB}/o/r", "v1.0")),
        ("ollama://llama3.2", RepositoryRef("Ollama", f"{OLLAMA}/library/llama3.2")),
        ("ollama://llama3.2:1b", RepositoryRef("Ollama", f"{OLLAMA}/library/llama3.2", "1b")),
        ("ollama://me/model:x", RepositoryRef("Ollama", f"{OLLAMA}/me/model", "x")),
        (
            "ollama://reg.corp:5000/me/model:x",
            RepositoryRef("Ollama", "https://reg.corp:5000/me/model", "x"),
        ),
        ("oci://ghcr.io/a/b/c", RepositoryRef("OCI", "https://ghcr.io/a/b/c")),
        ("oci://docker.io/a/b", RepositoryRef("OCI", "https://registry-1.docker.io/a/b")),
        ("oci://ghcr.io/a/b:tag", RepositoryRef("OCI", "https://ghcr.io/a/b", "tag")),
        (
            f"oci://localhost:5000/a:tag@{DIGEST}",
            RepositoryRef("OCI", "https://localhost:5000/a", DIGEST),
        ),
        (
            "s3://bucket/a/b.gguf",
            RepositoryRef("S3", "https://s3.us-east-1.amazonaws.com/bucket/a/b.gguf", single=True),
        ),
        ("s3://bucket/a/", RepositoryRef("S3", "https://s3.us-east-1.amazonaws.com/bucket/a/")),
        ("pvc://claim/a/b.gguf", RepositoryRef("Claim", "pvc://claim/a/b.gguf", single=True)),
        ("pvc://claim/a/", RepositoryRef("Claim", "pvc://claim/a/")),
        ("file:///a/b.gguf", RepositoryRef("Volume", "file:///a/b.gguf", single=True)),
        ("github://o/r", RepositoryRef("GitHub", f"{GITHUB}/o/r")),
        ("github://o/r@v1", RepositoryRef("GitHub", f"{GITHUB}/o/r", "v1")),
        ("github://o/r@a%2Fb", RepositoryRef("GitHub", f"{GITHUB}/o/r", "a/b")),
        ("github://o/r/d/@v1", RepositoryRef("GitHub", f"{GITHUB}/o/r", "v1", path="d/")),
        ("github://o/r@v1/d/", RepositoryRef("GitHub", f"{GITHUB}/o/r", "v1", path="d/")),
        (
            "github://o/r/d/a%20b.gguf@v1",
            RepositoryRef("GitHub", f"{GITHUB}/o/r", "v1", single=True, path="d/a b.gguf"),
        ),
        ("github://o/r/releases/latest", RepositoryRef("GitHubRelease", f"{GITHUB}/o/r")),
        (
            "github://o/r/releases/latest/m.gguf",
            RepositoryRef("GitHubRelease", f"{GITHUB}/o/r", "", single=True, path="m.gguf"),
        ),
        (
            "github://o/r/releases/tag/p@1.0%2Fx",
            RepositoryRef("GitHubRelease", f"{GITHUB}/o/r", "p@1.0/x"),
        ),
        (
            "github://o/r/releases/tag/v1/m.gguf",
            RepositoryRef("GitHubRelease", f"{GITHUB}/o/r", "v1", single=True, path="m.gguf"),
        ),
    ],
)
def test_forms(uri: str, found: RepositoryRef) -> None:
    assert reference.repository(uri) == found


@pytest.mark.parametrize(
    "uri", ["https://x/y", "http://x/y", "hf://owner/repo/file.gguf", "github:o/r/p", "nothing"]
)
def test_single_files_are_none(uri: str) -> None:
    assert reference.repository(uri) is None


@pytest.mark.parametrize(
    "uri",
    [
        "hf://../repo",
        "hf://owner/..",
        "hf://owner/repo@a/../b",
        "ollama://",
        "ollama://a/b/c/d",
        "ollama://169.254.169.254/../x",
        "ollama://x:y:z",
        "ollama://user@host/a/b",
        "oci://ghcr.io",
        "oci://ghcr.io/",
        "oci://ghcr.io/a/../b",
        "oci://ghcr.io/a@sha256:abc",
        f"oci://ghcr.io/a@md5:{'a' * 32}",
        "oci://user:pw@ghcr.io/a",
        "github://",
        "github://o",
        "github:///r",
        "github://o/r/a/../b",
        "github://o/r/a//b",
        "github://o/r/%2e%2e/b",
        "github://o/r/a%00b",
        "github://../r",
        "github://o/r@a..b",
        "github://o/r@%2Fa",
        "github://o/r@a:b",
        "github://o/r/releases/tag/a:b",
        "github://o/r/releases/tag/v1/%2e%2e",
        "github://o/r/releases/tag/v1/a%2Fb",
        "s3://B/x",
        "s3://-b/x",
        "s3://bucket/x?versionId=1",
        "pvc://UPPER/x",
        "pvc://../x",
        "file://host/x",
        "file:x",
        "oci://ghcr.io/a b",
        "oci://ghcr.io/" + "a" * 3000,
    ],
)
def test_refused(uri: str) -> None:
    with pytest.raises(StalledError) as caught:
        reference.repository(uri)

    assert caught.value.reason is Reason.INVALID_SPEC
    assert len(caught.value.message) < 400


@given(
    st.sampled_from(["github", "hf", "ollama", "oci", "s3", "pvc", "file"]), st.text(max_size=60)
)
def test_nothing_but_a_repository_or_a_refusal(scheme: str, rest: str) -> None:
    try:
        found = reference.repository(f"{scheme}://{rest}")
    except StalledError:
        return
    if found is not None:
        assert ".." not in found.url.split("/")[3:5] or found.kind in {"Claim", "Volume", "S3"}


@pytest.mark.parametrize(
    ("url", "tag", "asset"),
    [
        (f"{GITHUB}/o/r/releases/download/v1/m.gguf", "v1", "m.gguf"),
        (f"{GITHUB}/o/r/releases/download/a/b/m.gguf", "a/b", "m.gguf"),
        (f"{GITHUB}/o/r/releases/download/a%2Fb/m%2B1.gguf", "a/b", "m+1.gguf"),
        (f"{GITHUB}/o/r/releases/latest/download/m.gguf", "", "m.gguf"),
    ],
)
def test_downloads_are_assets(url: str, tag: str, asset: str) -> None:
    wanted = RepositoryRef("GitHubRelease", f"{GITHUB}/o/r", tag, single=True, path=asset)

    assert reference.release_asset(url) == wanted


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com.evil.org/o/r/releases/download/v1/m.gguf",
        "https://mirror.corp/o/r/releases/download/v1/m.gguf",
        f"{GITHUB}/o/r/releases/download/v1/m.gguf?x=1",
        f"{GITHUB}/o/r/archive/v1.tar.gz",
        f"{GITHUB}/o/r/releases/download/m.gguf",
        f"{GITHUB}/o/r/releases/download/{'v' * 3000}/m.gguf",
    ],
)
def test_other_urls_are_no_assets(url: str) -> None:
    assert reference.release_asset(url) is None
