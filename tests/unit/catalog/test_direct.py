"""A Model's own sources: what their URIs may be, and what becomes of them."""

from __future__ import annotations

import pytest

from model_gallery.api.v1alpha1.gallery import Rewrite
from model_gallery.api.v1alpha1.model import FileSource, GitHubSource
from model_gallery.catalog import direct
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Repository, RepositoryKind

TAKEN = {
    "https://example.org/a.gguf": "https://example.org/a.gguf",
    "file:///a.gguf": "file:///a.gguf",
    "file:///llm/with%20space.gguf": "file:///llm/with%20space.gguf",
}
DOWNLOAD = "https://github.com/o/r/releases/download/v1/m.gguf"


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


MIRROR = Rewrite(prefix="https://github.com/", replacement="https://mirror.corp/gh/")
ENTERPRISE = Rewrite(prefix="https://github.com/o/", replacement="https://ghe.corp/o/")


@pytest.mark.parametrize(
    ("uri", "rewrites", "kind", "url", "folder"),
    [
        ("github://o/r/d/m.gguf@v1", (), "GitHub", "https://github.com/o/r", ""),
        ("github://o/r@v1", (), "GitHub", "https://github.com/o/r", "m"),
        ("github://o/r@v1", (ENTERPRISE,), "GitHub", "https://ghe.corp/o/r", "m"),
        ("github://o/r/releases/latest", (), "GitHubRelease", "https://github.com/o/r", "m"),
        (DOWNLOAD, (), "GitHubRelease", "https://github.com/o/r", ""),
    ],
)
def test_repositories_of_github(
    uri: str, *, rewrites: tuple[Rewrite, ...], kind: str, url: str, folder: str
) -> None:
    request = direct.assemble_uri(uri, install_name="m", config={}, rewrites=rewrites)

    found = request.repository
    assert found is not None
    assert (found.kind, found.url, found.folder) == (kind, url, folder)


def test_an_endpoint_of_github_is_no_query() -> None:
    """What is put behind it would be a part of the query."""
    source = GitHubSource(endpoint="https://ghe.corp/user?x=", repo="o/r")

    with pytest.raises(StalledError, match="no query"):
        direct.assemble_git_hub(source, install_name="m", config={}, rewrites=())


def test_a_download_that_a_mirror_serves_is_a_plain_file() -> None:
    request = direct.assemble_uri(DOWNLOAD, install_name="m", config={}, rewrites=(MIRROR,))

    assert request.repository is None
    assert [(file.path, file.url) for file in request.files] == [
        ("m.gguf", "https://mirror.corp/gh/o/r/releases/download/v1/m.gguf")
    ]


def test_the_form_of_localai_stays_a_raw_file() -> None:
    request = direct.assemble_uri(
        "github:o/r/d/m.gguf@v1", install_name="m", config={}, rewrites=()
    )

    assert [file.url for file in request.files] == [
        "https://raw.githubusercontent.com/o/r/v1/d/m.gguf"
    ]
    assert urls("github://o/r/d/m.gguf") == ["https://raw.githubusercontent.com/o/r/main/d/m.gguf"]


def test_a_source_of_github_is_what_its_fields_say() -> None:
    source = GitHubSource(
        endpoint="https://ghe.corp/", repo="o/r", path="d/", revision="a/b", include=("*.gguf",)
    )
    release = GitHubSource(repo="o/r", release="latest", exclude=("*.txt",))

    def repository(given: GitHubSource) -> Repository | None:
        made = direct.assemble_git_hub(given, install_name="m", config={}, rewrites=())
        return made.repository

    assert repository(source) == Repository(
        kind=RepositoryKind.GITHUB,
        url="https://ghe.corp/o/r",
        revision="a/b",
        include=("*.gguf",),
        folder="m",
        path="d/",
    )
    assert repository(release) == Repository(
        kind=RepositoryKind.GITHUB_RELEASE,
        url="https://github.com/o/r",
        exclude=("*.txt",),
        folder="m",
    )
    tagged = repository(GitHubSource(repo="o/r", release="v1"))
    assert tagged is not None
    assert tagged.revision == "v1"


MIRRORED = [
    "https://example.org/a/m.gguf",
    "huggingface://owner/repo",
    "huggingface://owner/repo/m.gguf",
    "oci://ghcr.io/owner/model:v1",
    "ollama://gemma:2b",
    "s3://bucket/prefix/",
]


def asked(uri: str, *rules: Rewrite) -> list[str]:
    request = direct.assemble_uri(uri, install_name="m", config={}, rewrites=rules)
    repository = [request.repository.url] if request.repository else []
    return [file.url for file in request.files] + repository


@pytest.mark.parametrize("uri", MIRRORED)
def test_every_source_may_be_mirrored(uri: str) -> None:
    (url,) = asked(uri)
    scheme, _, rest = url.partition("://")
    host, _, path = rest.partition("/")
    rule = Rewrite(prefix=f"{scheme}://{host}/", replacement="https://mirror.corp/x/")

    assert asked(uri, rule) == [f"https://mirror.corp/x/{path}"]
