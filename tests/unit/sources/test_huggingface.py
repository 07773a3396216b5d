"""The Hub: pinned to a commit, digests from the listing, tokens for the Hub alone."""

from __future__ import annotations

import contextlib
import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Repository, RepositoryKind
from model_gallery.sources.base import Resolution
from model_gallery.sources.huggingface import HuggingFaceSource, files_of_page
from model_gallery.transport.authorize import nobody
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import NO_CREDENTIALS, Credentials
from support.scripted import SECRET, Answer, Scripted, content

COMMIT = "c" * 40
WEIGHTS = b"weights" * 50
LFS = {
    "type": "file",
    "path": "model.safetensors",
    "size": 130,
    "oid": "d" * 40,
    "lfs": {"oid": hashlib.sha256(WEIGHTS).hexdigest(), "size": len(WEIGHTS), "pointerSize": 130},
}
CONFIG = {"type": "file", "path": "config.json", "size": 2, "oid": "a" * 40}
CODE = {"type": "file", "path": "modeling.py", "size": 2, "oid": "b" * 40}
TREE = f"/api/models/me/tiny/tree/{COMMIT}?recursive=true"


@pytest.fixture
def hub(server: Scripted) -> Scripted:
    server.routes = {
        "/api/models/me/tiny/revision/main": as_json({"sha": COMMIT}),
        TREE: as_json([LFS, CONFIG, CODE, {"type": "directory", "path": "x", "size": 0}]),
    }
    return server


def as_json(value: Any) -> Answer:
    return Answer(json.dumps(value).encode())


def resolve(
    hub: Scripted, client: HttpClient, credentials: Credentials = NO_CREDENTIALS, **more: Any
) -> Resolution:
    url = more.pop("url", f"{hub.url}/me/tiny")
    wanted = Repository(kind=RepositoryKind.HUGGING_FACE, url=url, **more)
    return HuggingFaceSource(client, credentials).resolve(wanted)


def test_a_repository_is_pinned_and_its_digests_are_known(
    hub: Scripted, client: HttpClient
) -> None:
    found = resolve(hub, client)

    assert found.revision == COMMIT
    assert [file.name for file in found.files] == ["config.json", "model.safetensors"]
    config, weights = found.files
    assert (weights.sha256, weights.size_bytes) == (LFS["lfs"]["oid"], len(WEIGHTS))
    assert (config.git_sha1, config.size_bytes, config.sha256) == ("a" * 40, 2, None)
    assert weights.url == f"{hub.url}/me/tiny/resolve/{COMMIT}/model.safetensors"


def test_a_listing_goes_on_over_pages(hub: Scripted, client: HttpClient) -> None:
    first = as_json([LFS])
    first.headers["Link"] = f'<{hub.url}/page/2>; rel="next"'
    hub.routes |= {TREE: first, "/page/2": as_json([CONFIG])}

    assert len(resolve(hub, client).files) == 2


@pytest.mark.parametrize("link", ["http://[", "https://e.x:port/", "//[::1"])
def test_a_listing_that_goes_on_at_no_url(hub: Scripted, client: HttpClient, link: str) -> None:
    first = as_json([LFS])
    first.headers["Link"] = f'<{link}>; rel="next"'
    hub.routes[TREE] = first

    with pytest.raises(StalledError) as caught:
        resolve(hub, client)

    assert caught.value.reason is Reason.SOURCE_INVALID


def test_a_name_that_is_no_text_is_refused(hub: Scripted, client: HttpClient) -> None:
    """JSON can spell half of a pair of surrogates, which no file can be called."""
    hub.routes[TREE] = as_json([CONFIG, {**CONFIG, "path": "\ud800.gguf"}])

    with pytest.raises(StalledError) as caught:
        resolve(hub, client)

    assert caught.value.reason is Reason.UNSAFE_PATH


def test_a_message_can_be_written_whatever_the_listing_says(
    hub: Scripted, client: HttpClient
) -> None:
    hub.routes[TREE] = as_json([{**CONFIG, "size": "\ud800"}])

    with pytest.raises(StalledError) as caught:
        resolve(hub, client)

    assert caught.value.message.encode().endswith(b"is \\ud800")


def test_a_listing_does_not_go_on_elsewhere(
    hub: Scripted, elsewhere: Scripted, client: HttpClient
) -> None:
    first = as_json([LFS])
    first.headers["Link"] = f'<{elsewhere.url}/page/2>; rel="next"'
    hub.routes[TREE] = first

    with pytest.raises(StalledError) as caught:
        resolve(hub, client)

    assert caught.value.reason is Reason.SOURCE_INVALID
    assert elsewhere.asked == []


@pytest.mark.parametrize(
    ("include", "exclude", "names"),
    [
        (("*.py",), (), ["modeling.py"]),
        (("*",), ("*.py",), ["config.json", "model.safetensors"]),
        (("*.safetensors",), (), ["model.safetensors"]),
    ],
)
def test_patterns_choose(
    hub: Scripted, client: HttpClient, include: Any, exclude: Any, names: list[str]
) -> None:
    found = resolve(hub, client, include=include, exclude=exclude)

    assert [file.name for file in found.files] == names


def test_patterns_that_choose_nothing_are_named(hub: Scripted, client: HttpClient) -> None:
    with pytest.raises(StalledError) as caught:
        resolve(hub, client, include=("*.gguf",))

    assert caught.value.reason is Reason.NOT_FOUND
    assert "*.gguf" in caught.value.message


def test_a_mirror_below_a_path(server: Scripted, client: HttpClient) -> None:
    server.routes = {
        "/hf/api/models/me/tiny/revision/v1": as_json({"sha": COMMIT}),
        f"/hf{TREE}": as_json([LFS]),
    }

    found = resolve(server, client, url=f"{server.url}/hf/me/tiny", revision="v1")

    assert found.files[0].url.startswith(f"{server.url}/hf/me/tiny/resolve/")


def test_the_token_stays_with_the_hub(
    hub: Scripted, elsewhere: Scripted, client: HttpClient, credentials: Credentials
) -> None:
    """T31: the store behind the Hub is another origin."""
    path = f"/me/tiny/resolve/{COMMIT}/model.safetensors"
    hub.routes[path] = Answer(status=302, headers={"Location": f"{elsewhere.url}/store/x?sig=1"})
    elsewhere.routes["/store/x?sig=1"] = Answer(WEIGHTS)
    weights = resolve(hub, client, credentials).files[1]

    assert content(client, weights) == WEIGHTS
    assert len(hub.seen(SECRET)) == len(hub.asked)
    assert elsewhere.asked
    assert elsewhere.seen(SECRET) == []


def test_a_secret_that_allows_another_host_is_not_used(hub: Scripted, client: HttpClient) -> None:
    """T33, T34."""
    with pytest.raises(StalledError) as caught:
        resolve(hub, client, Credentials(True, frozenset({"huggingface.co"}), {"token": SECRET}))

    assert caught.value.reason is Reason.SECRET_NOT_ALLOWED
    assert hub.asked == []


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (401, Reason.UNAUTHORIZED, "licence"),
        (403, Reason.UNAUTHORIZED, "licence"),
        (404, Reason.NOT_FOUND, "me/tiny"),
    ],
)
def test_a_refusal_says_what_to_do(
    hub: Scripted, client: HttpClient, status: int, reason: Reason, words: str
) -> None:
    hub.routes["/api/models/me/tiny/revision/main"] = Answer(status=status)

    with pytest.raises(StalledError) as caught:
        resolve(hub, client)

    assert caught.value.reason is reason
    assert words in caught.value.message


@pytest.mark.parametrize("sha", [None, 1, "main", "c" * 39, "../" + "c" * 37])
def test_what_is_no_commit_is_refused(hub: Scripted, client: HttpClient, sha: Any) -> None:
    hub.routes["/api/models/me/tiny/revision/main"] = as_json({"sha": sha})

    with pytest.raises(StalledError) as caught:
        resolve(hub, client)

    assert caught.value.reason is Reason.SOURCE_INVALID


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "folder/../../../etc/passwd",
        "..\\..\\Windows\\evil",
        "folder\\..\\..\\evil",
        "/etc/passwd",
        "C:\\Windows\\System32\\evil",
        "C:/Windows/System32/evil",
        "D:relative\\evil",
        "\\\\attacker\\share\\evil",
        "\\evil",
        "folder/C:\\Windows\\evil",
        "folder/\\\\attacker\\share\\evil",
        "folder/\\evil",
    ],
)
def test_unsafe_names_are_refused(hub: Scripted, client: HttpClient, name: str) -> None:
    """T04: the names of the Hub client's own advisory."""
    hub.routes[TREE] = as_json([LFS, {**CONFIG, "path": name}])

    with pytest.raises(StalledError) as caught:
        resolve(hub, client)

    assert caught.value.reason is Reason.UNSAFE_PATH


@pytest.mark.parametrize(
    ("first", "second"), [("A.json", "a.json"), ("é.json", "e\u0301.json"), ("a", "a/b")]
)
def test_names_that_are_one_file_somewhere_are_refused(
    hub: Scripted, client: HttpClient, first: str, second: str
) -> None:
    hub.routes[TREE] = as_json([{**CONFIG, "path": first}, {**CONFIG, "path": second}])

    with pytest.raises(StalledError) as caught:
        resolve(hub, client)

    assert caught.value.reason is Reason.UNSAFE_PATH


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "path", "size", "oid", "lfs"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@given(JSON | st.lists(st.fixed_dictionaries({"type": st.just("file"), "path": st.text()}) | JSON))
def test_any_listing_gives_files_or_a_refusal(page: Any) -> None:
    files = []
    with contextlib.suppress(StalledError):
        files = list(files_of_page(page, "https://hub/x", nobody))
    assert all(file.size_bytes is not None and file.size_bytes >= 0 for file in files)
