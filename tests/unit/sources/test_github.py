"""GitHub: files at a commit with what LFS keeps of them, releases, and tokens for GitHub alone."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_gallery.api.conditions import Reason
from model_gallery.errors import GalleryError, StalledError, TransientError
from model_gallery.protocol.operation import Repository, RepositoryKind
from model_gallery.sources import github, githubrelease, gitlfs
from model_gallery.sources.base import Resolution
from model_gallery.sources.github import GitHubSource
from model_gallery.sources.githubapi import GitHubApi
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import NO_CREDENTIALS, Credentials
from support.github import API, COMMIT, REPO, GitHub, as_json, blob_id, pointer, sha256
from support.scripted import SECRET, Answer, Scripted, content

WEIGHTS = b"weights" * 50
CONFIG = b'{"a": 1}'
TREE = f"{API}/git/trees/{COMMIT}"
BASIC = base64.b64encode(f"x-access-token:{SECRET}".encode()).decode()


@pytest.fixture
def hub(server: Scripted, elsewhere: Scripted) -> GitHub:
    made = GitHub(server, elsewhere)
    made.files = {"config.json": CONFIG, "load.py": b"import os", "sub/deep/a.txt": b"a"}
    made.add_large("sub/model.gguf", WEIGHTS)
    made.add_asset(4, "model.gguf", WEIGHTS)
    made.add_asset(5, "old.bin", b"old", digest=None)
    return made


def resolve(
    hub: GitHub,
    client: HttpClient,
    credentials: Credentials = NO_CREDENTIALS,
    *,
    release: bool = False,
    **more: Any,
) -> Resolution:
    kind = RepositoryKind.GITHUB_RELEASE if release else RepositoryKind.GITHUB
    wanted = Repository(kind=kind, url=hub.url, **more)
    return GitHubSource(client, credentials).resolve(wanted)


def refused(hub: GitHub, client: HttpClient, *given: Any, **more: Any) -> GalleryError:
    with pytest.raises(GalleryError) as caught:
        resolve(hub, client, *given, **more)
    return caught.value


def test_a_repository_is_pinned_and_its_digests_are_known(hub: GitHub, client: HttpClient) -> None:
    found = resolve(hub, client)

    assert found.revision == COMMIT
    names = ["config.json", "sub/deep/a.txt", "sub/model.gguf"]
    assert [file.name for file in found.files] == names
    config, _, model = found.files
    assert (config.git_sha1, config.size_bytes, config.sha256) == (blob_id(CONFIG), 8, None)
    assert (model.sha256, model.size_bytes) == (sha256(WEIGHTS), len(WEIGHTS))
    assert content(client, config) == CONFIG
    assert content(client, model) == WEIGHTS


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("sub/", ["deep/a.txt", "model.gguf"]),
        ("sub/deep/", ["a.txt"]),
        ("sub/model.gguf", ["model.gguf"]),
        ("load.py", ["load.py"]),
    ],
)
def test_a_path_chooses(hub: GitHub, client: HttpClient, path: str, names: list[str]) -> None:
    found = resolve(hub, client, path=path)

    assert [file.name for file in found.files] == names
    assert content(client, found.files[-1]) in {b"a", WEIGHTS, b"import os"}


@pytest.mark.parametrize(
    ("path", "words"), [("sub", "slash"), ("none", "not there"), ("x/", "all")]
)
def test_a_path_that_is_none_is_named(
    hub: GitHub, client: HttpClient, path: str, words: str
) -> None:
    hub.tree = [{"path": "sub", "mode": "040000", "type": "tree", "sha": "a" * 40}]

    error = refused(hub, client, path=path)

    assert error.reason is Reason.NOT_FOUND
    assert words in error.message


def test_patterns_choose(hub: GitHub, client: HttpClient) -> None:
    found = resolve(hub, client, include=("*.py", "sub/"), exclude=("*.gguf",))

    assert [file.name for file in found.files] == ["load.py", "sub/deep/a.txt"]


def test_files_of_github_itself_come_from_its_host_for_them(client: HttpClient) -> None:
    api = GitHubApi.of(client, NO_CREDENTIALS, "https://github.com/o/r")

    url, authorize, ranges = api.content(COMMIT, "a b/c#.txt", "b" * 40)

    assert url == f"https://raw.githubusercontent.com/o/r/{COMMIT}/a%20b/c%23.txt"
    assert ranges
    assert not authorize(url)


@pytest.mark.parametrize("allowed", ["github.com", "api.github.com"])
def test_the_token_is_for_the_hosts_of_github(client: HttpClient, allowed: str) -> None:
    secret = Credentials(True, frozenset({allowed}), {"token": SECRET})
    api = GitHubApi.of(client, secret, "https://github.com/o/r")
    url, authorize, _ = api.content(COMMIT, "a", "b" * 40)

    assert authorize(url) == {"Authorization": f"Bearer {SECRET}"}
    assert authorize("https://api.github.com/x")["Authorization"] == f"Bearer {SECRET}"
    assert api.lfs()[1]("https://github.com/o/r.git/info/lfs/objects/batch")
    for other in ("http://api.github.com/x", "https://objects.githubusercontent.com/x"):
        assert not authorize(other)
        assert not api.lfs()[1](other)
        assert not api.asset(1)[1](other)


def test_another_host_in_the_secret_is_refused(hub: GitHub, client: HttpClient) -> None:
    error = refused(hub, client, Credentials(True, frozenset({"github.com"}), {"token": SECRET}))

    assert error.reason is Reason.SECRET_NOT_ALLOWED
    assert hub.server.asked == []


def test_the_token_stays_with_the_github(
    hub: GitHub, client: HttpClient, credentials: Credentials
) -> None:
    """T31: the store behind LFS and assets is another origin."""
    files = resolve(hub, client, credentials).files
    assets = resolve(hub, client, credentials, release=True).files

    assert content(client, files[2]) == content(client, assets[0]) == WEIGHTS
    batch = f"/{REPO}.git/info/lfs/objects/batch"
    assert set(hub.server.seen(SECRET)) == {one.path for one in hub.server.asked} - {batch}
    assert hub.server.seen(BASIC) == [batch]
    assert len(hub.store.asked) == 2
    assert hub.store.seen(SECRET) == hub.store.seen(BASIC) == []


def test_what_a_store_asks_for_goes_to_it_alone(hub: GitHub, client: HttpClient) -> None:
    href = f"{hub.store.url}/{sha256(WEIGHTS)}?sig=1"
    headers = {"Authorization": "RemoteAuth x", "X-Part": "1", "Range": "bytes=5-6", "Host": "a\nb"}
    hub.server.routes[f"/{REPO}.git/info/lfs/objects/batch"] = as_json(
        {
            "objects": [
                {"oid": sha256(WEIGHTS), "actions": {"download": {"href": href, "header": headers}}}
            ]
        }
    )
    model = resolve(hub, client).files[2]

    assert content(client, model) == WEIGHTS
    assert hub.store.seen("RemoteAuth x")
    assert model.authorize(hub.server.url) == {}
    assert model.authorize(href) == {"Authorization": "RemoteAuth x", "X-Part": "1"}


@pytest.mark.parametrize(
    "name",
    ["Authorization\r\nRange: bytes=0-1", "Authorizations", "Authorization ", "x-a\n", "Range"],
)
def test_what_a_store_may_not_ask_for(name: str) -> None:
    header = {name: "x", "authorization": "y", "X-PART": "z"}
    download = {"href": "https://example.org/x", "header": header}

    found = gitlfs.actions_of(
        {"objects": [{"oid": "a" * 64, "actions": {"download": download}}]}, secure=True
    )

    assert found["a" * 64].headers == {"Authorization": "y", "X-Part": "z"}


def test_a_store_at_the_github_itself_gets_one_authorization(
    hub: GitHub, client: HttpClient, credentials: Credentials
) -> None:
    """Two of them are refused, or the other one is believed."""
    hub.server.routes["/content"] = Answer(WEIGHTS)
    download = {"href": f"{hub.server.url}/content", "header": {"authorization": "RemoteAuth x"}}
    hub.server.routes[f"/{REPO}.git/info/lfs/objects/batch"] = as_json(
        {"objects": [{"oid": sha256(WEIGHTS), "actions": {"download": download}}]}
    )
    model = resolve(hub, client, credentials).files[2]

    assert content(client, model) == WEIGHTS
    assert model.authorize(download["href"]) == {"Authorization": "RemoteAuth x"}


def test_an_address_that_got_old_is_asked_for_anew(
    hub: GitHub, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = resolve(hub, client).files[2]
    assert content(client, model) == WEIGHTS
    assert len(hub.batches) == 1
    hub.signed = "sig=2"
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 301)

    assert content(client, model) == WEIGHTS
    assert len(hub.batches) == 2
    assert hub.batches[1]["objects"] == [{"oid": sha256(WEIGHTS), "size": len(WEIGHTS)}]


def test_a_pointer_is_looked_for_only_where_attributes_are(hub: GitHub, client: HttpClient) -> None:
    """Git itself takes the pointer for the file then; the worker refuses it by its content."""
    del hub.files[".gitattributes"]

    assert resolve(hub, client).files[2].git_sha1 == blob_id(pointer(WEIGHTS))
    assert hub.batches == []


def test_a_pointer_of_another_kind_is_refused(hub: GitHub, client: HttpClient) -> None:
    hub.files["sub/model.gguf"] = pointer(WEIGHTS).replace(b"oid", b"ext-0-x sha256:00\noid")

    assert refused(hub, client).reason is Reason.SOURCE_INVALID


def test_a_content_that_the_store_lacks_is_named(hub: GitHub, client: HttpClient) -> None:
    hub.large.clear()

    error = refused(hub, client)

    assert error.reason is Reason.NOT_FOUND
    assert sha256(WEIGHTS) in error.message


def test_a_pointer_with_another_id_is_refused(hub: GitHub, client: HttpClient) -> None:
    lying = hub.listing()
    lying["tree"][-1]["sha"] = "e" * 40
    hub.server.routes[f"{TREE}?recursive=1"] = as_json(lying)
    hub.server.routes[f"{API}/git/blobs/{'e' * 40}"] = Answer(pointer(WEIGHTS))

    error = refused(hub, client)

    assert error.reason is Reason.CHECKSUM_MISMATCH
    assert "e" * 40 in error.message


@pytest.mark.parametrize(("mode", "what"), [("120000", "symbolic link"), ("160000", "submodule")])
def test_what_is_no_file_is_refused_unless_left_out(
    hub: GitHub, client: HttpClient, mode: str, what: str
) -> None:
    kind = "commit" if mode == "160000" else "blob"
    hub.tree = [{"path": "sub/x", "mode": mode, "type": kind, "sha": "a" * 40, "size": 9}]

    error = refused(hub, client)

    assert error.reason is Reason.SOURCE_INVALID
    assert what in error.message
    assert "'sub/x'" in error.message
    assert len(resolve(hub, client, exclude=("sub/x",)).files) == 3


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "a/../../b",
        "..\\evil",
        "/etc/passwd",
        "C:/evil",
        "a//b",
        "a/./b",
        ".modelgallery/x",
        "a\nb",
        "\ud800.gguf",
    ],
)
def test_unsafe_names_are_refused_before_they_are_asked_for(
    hub: GitHub, client: HttpClient, name: str
) -> None:
    """T04. A pointer is looked for by name, so the name is judged first."""
    hub.files[name] = b"x"

    assert refused(hub, client).reason is Reason.UNSAFE_PATH
    assert [one.path for one in hub.server.asked if "blobs" in one.path] == []


@pytest.mark.parametrize(("first", "second"), [("A.json", "a.json"), ("a", "a/b")])
def test_names_that_are_one_file_somewhere_are_refused(
    hub: GitHub, client: HttpClient, first: str, second: str
) -> None:
    hub.files |= {first: b"1", second: b"2"}

    assert refused(hub, client).reason is Reason.UNSAFE_PATH


def cut_tree(hub: GitHub) -> None:
    """The whole is not told at once, nor is the folder `big` in it; the others are."""

    def tree(sha: str, *entries: dict[str, Any], cut: bool = False) -> None:
        told = {"tree": entries[:1] if cut else entries, "truncated": cut}
        hub.server.routes[f"{API}/git/trees/{sha}?recursive=1"] = as_json(told)
        whole = {"tree": entries, "truncated": False}
        hub.server.routes[f"{API}/git/trees/{sha}"] = as_json(whole)

    def folder(path: str, sha: str) -> dict[str, Any]:
        return {"path": path, "mode": "040000", "type": "tree", "sha": sha * 40}

    def file(path: str) -> dict[str, Any]:
        mode, sha = "100644", blob_id(path.encode())
        return {"path": path, "mode": mode, "type": "blob", "sha": sha, "size": 1}

    tree(COMMIT, file("top"), folder("big", "1"), folder("small", "2"), cut=True)
    tree("1" * 40, file("in"), folder("er", "3"), cut=True)
    tree("2" * 40, folder("x", "4"), file("x/y"))
    tree("3" * 40, file("most"))


def test_a_tree_that_is_cut_is_asked_for_folder_by_folder(hub: GitHub, client: HttpClient) -> None:
    cut_tree(hub)

    found = resolve(hub, client)

    assert [file.name for file in found.files] == ["big/er/most", "big/in", "small/x/y", "top"]


def test_only_the_folders_on_the_way_are_asked_for(hub: GitHub, client: HttpClient) -> None:
    cut_tree(hub)

    found = resolve(hub, client, path="small/x/")

    assert [file.name for file in found.files] == ["y"]
    assert not any("1" * 40 in one.path for one in hub.server.asked)


def test_a_folder_that_is_cut_by_itself_is_refused(hub: GitHub, client: HttpClient) -> None:
    for tail in ("", "?recursive=1"):
        hub.server.routes[TREE + tail] = as_json({"tree": [], "truncated": True})

    assert refused(hub, client).reason is Reason.SOURCE_INVALID


def test_a_tree_without_an_end_is_refused(
    hub: GitHub, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that holds itself, as nobody's git would have it."""
    monkeypatch.setattr(github, "_MAX_TREES", 5)
    inner = {"path": "a", "mode": "040000", "type": "tree", "sha": COMMIT}
    hub.server.routes[f"{TREE}?recursive=1"] = as_json({"tree": [], "truncated": True})
    hub.server.routes[TREE] = as_json({"tree": [inner, {**inner, "path": "b"}], "truncated": False})

    error = refused(hub, client)

    assert error.reason is Reason.SOURCE_INVALID
    assert len(hub.server.asked) == 1 + 2 * 5


def test_a_release_is_pinned_by_its_ids(hub: GitHub, client: HttpClient) -> None:
    found = resolve(hub, client, release=True)

    assert found.revision.startswith("release:7:")
    model, old = found.files
    assert (model.name, model.sha256) == ("model.gguf", sha256(WEIGHTS))
    assert (old.name, old.sha256, old.size_bytes) == ("old.bin", None, 3)
    assert content(client, model) == WEIGHTS
    assert content(client, old) == b"old"
    assert resolve(hub, client, release=True, revision="v1").revision == found.revision
    assert resolve(hub, client, release=True, revision=found.revision).revision == found.revision
    hub.assets[1]["id"] = 6
    hub.large["6"] = b"new"
    assert resolve(hub, client, release=True).revision != found.revision
    error = refused(hub, client, release=True, revision=found.revision)
    assert (error.reason, "replaced" in error.message) == (Reason.NOT_FOUND, True)


def test_one_asset_is_chosen_by_its_name(hub: GitHub, client: HttpClient) -> None:
    hub.add_asset(8, "model[1].gguf", b"x")

    found = resolve(hub, client, release=True, path="model[1].gguf")

    assert [file.name for file in found.files] == ["model[1].gguf"]
    error = refused(hub, client, release=True, path="none", revision="v1")
    assert error.reason is Reason.NOT_FOUND
    assert "'none'" in error.message


def test_an_asset_that_is_being_uploaded_is_waited_for(hub: GitHub, client: HttpClient) -> None:
    hub.assets[0]["state"] = "starter"

    error = refused(hub, client, release=True)

    assert isinstance(error, TransientError)
    assert error.reason is Reason.SOURCE_CHANGED
    assert resolve(hub, client, release=True, exclude=("model.gguf",)).files


def limited(**headers: str) -> Answer:
    return Answer(status=403, headers=headers)


@pytest.mark.parametrize(
    ("answer", "least", "most"),
    [
        (limited(**{"x-ratelimit-remaining": "0", "x-ratelimit-reset": "{soon}"}), 80, 101),
        (limited(**{"Retry-After": "30"}), 30, 30),
        (limited(**{"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9" * 30}), 3600, 3600),
    ],
)
def test_a_limit_is_told_with_its_end(
    hub: GitHub, client: HttpClient, answer: Answer, least: float, most: float
) -> None:
    for key, value in answer.headers.items():
        answer.headers[key] = value.replace("{soon}", str(int(time.time()) + 100))
    hub.server.routes[f"{API}/commits/HEAD"] = answer

    error = refused(hub, client)

    assert isinstance(error, TransientError)
    assert error.reason is Reason.RATE_LIMITED
    assert least <= (error.retry_after or 0) <= most
    assert "give spec.credentials a token" in error.message


@pytest.mark.parametrize("place", [f"{API}/commits/HEAD", f"/{REPO}.git/info/lfs/objects/batch"])
@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [
        (404, Reason.NOT_FOUND, ("private: give spec.credentials a Secret", "may not read it")),
        (422, Reason.NOT_FOUND, ("private: give spec.credentials a Secret", "may not read it")),
        (401, Reason.UNAUTHORIZED, ("Secret of spec.credentials",) * 2),
        (403, Reason.UNAUTHORIZED, ("Secret of spec.credentials",) * 2),
    ],
)
def test_a_refusal_names_the_secret(
    hub: GitHub,
    client: HttpClient,
    *,
    place: str,
    status: int,
    reason: Reason,
    words: tuple[str, str],
) -> None:
    hub.server.routes[place] = Answer(status=status)
    secret = Credentials(True, frozenset({"127.0.0.1"}), {"token": SECRET})

    for word, known in zip(words, (NO_CREDENTIALS, secret), strict=True):
        error = refused(hub, client, known)
        assert error.reason is reason
        assert word in error.message
        assert REPO in error.message
        assert SECRET not in error.message


def test_a_repository_that_moved_is_followed(
    hub: GitHub, client: HttpClient, credentials: Credentials
) -> None:
    moved = {"Location": f"{hub.server.url}/api/v3/repositories/1/commits/HEAD"}
    hub.server.routes[f"{API}/commits/HEAD"] = Answer(status=301, headers=moved)
    hub.server.routes["/api/v3/repositories/1/commits/HEAD"] = as_json({"sha": COMMIT})

    assert resolve(hub, client, credentials).revision == COMMIT


@pytest.mark.parametrize("sha", [None, 1, "main", "c" * 39, "../" + "c" * 37])
def test_what_is_no_commit_is_refused(hub: GitHub, client: HttpClient, sha: Any) -> None:
    hub.server.routes[f"{API}/commits/HEAD"] = as_json({"sha": sha})

    assert refused(hub, client).reason is Reason.SOURCE_INVALID


def test_a_commit_is_that_commit(hub: GitHub, client: HttpClient) -> None:
    hub.server.routes[f"{API}/commits/{'e' * 40}"] = as_json({"sha": COMMIT})

    error = refused(hub, client, revision="e" * 40)

    assert error.reason is Reason.SOURCE_INVALID
    assert COMMIT in error.message


def test_an_answer_of_endless_values_is_refused(hub: GitHub, client: HttpClient) -> None:
    """Sixteen million bytes of JSON are a gigabyte of lists."""
    hub.server.routes[f"{TREE}?recursive=1"] = Answer(b'{"tree": [' + b"[]," * 2_100_000 + b"0]}")

    error = refused(hub, client)

    assert error.reason is Reason.SOURCE_INVALID
    assert "values" in error.message


def test_a_tree_of_endless_entries_is_refused(
    hub: GitHub, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_tree(hub)
    monkeypatch.setattr(github, "_MAX_ENTRIES", 7)
    assert refused(hub, client).reason is Reason.SOURCE_INVALID
    assert "1" * 40 not in hub.server.asked[-1].path
    monkeypatch.setattr(github, "_MAX_ENTRIES", 9)
    assert resolve(hub, client)


@pytest.mark.parametrize(
    "href", [1, "", "http://[", "file:///etc/passwd", "http://plain.example.org/x"]
)
def test_addresses_that_are_none_are_refused(href: Any) -> None:
    answer = {"objects": [{"oid": "a" * 64, "actions": {"download": {"href": href}}}]}

    with pytest.raises(StalledError) as caught:
        gitlfs.actions_of(answer, secure=True)

    assert caught.value.reason is Reason.SOURCE_INVALID


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "tree",
                    "path",
                    "mode",
                    "sha",
                    "size",
                    "id",
                    "assets",
                    "tag_name",
                    "objects",
                    "oid",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_answer_gives_what_it_should_or_a_refusal(answer: Any) -> None:
    json.dumps(answer)
    with contextlib.suppress(StalledError):
        assert all(entry.size_bytes >= 0 for entry in github.tree_of(answer, "a/")[0])
    with contextlib.suppress(StalledError):
        githubrelease.release_of(answer)
    with contextlib.suppress(StalledError):
        gitlfs.actions_of(answer, secure=False)
