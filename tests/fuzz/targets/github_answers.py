"""What a GitHub answers: trees, releases, addresses of contents in LFS; and the pointers to them."""

from __future__ import annotations

import json

from fuzz.targets.guard import allowed
from model_gallery.protocol.operation import NetworkPolicy, Repository, RepositoryKind
from model_gallery.sources import github, githubrelease, gitlfs, listing
from model_gallery.sources.githubapi import GitHubApi, json_of
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import NO_CREDENTIALS

_ENTRY = {"path": "a/model é.gguf", "mode": "100644", "type": "blob", "sha": "b" * 40, "size": 7}
_ASSET = {"id": 4, "name": "m.gguf", "size": 7, "state": "uploaded", "digest": "sha256:" + "a" * 64}
_OBJECT = {
    "oid": "a" * 64,
    "size": 7,
    "actions": {"download": {"href": "https://example.org/x?s=1", "header": {"X-A": "b"}}},
}
SEEDS = (
    json.dumps({"sha": "c" * 40, "tree": [_ENTRY, _ENTRY], "truncated": False}).encode(),
    json.dumps({"tree": [{**_ENTRY, "path": "../x"}, {**_ENTRY, "mode": "120000"}]}).encode(),
    json.dumps({"tree": [{**_ENTRY, "path": "\ud800"}], "truncated": False}).encode(),
    json.dumps(
        {"id": 7, "tag_name": "v1", "assets": [_ASSET, {**_ASSET, "digest": None}]}
    ).encode(),
    json.dumps({"transfer": "basic", "objects": [_OBJECT]}).encode(),
    json.dumps({"objects": [{"oid": "a", "error": {"code": 404, "message": "x"}}]}).encode(),
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 7\n",
)
_URL = "https://ghe.example.org/o/r"
_API = GitHubApi.of(HttpClient(NetworkPolicy()), NO_CREDENTIALS, _URL)
_FILES = Repository(kind=RepositoryKind.GITHUB, url=_URL)


def one(data: bytes) -> None:
    """The bytes as each of the answers; what comes of them are names and URLs that can be asked for."""
    with allowed():
        gitlfs.pointer_of(data)
    with allowed():
        entries, _ = github.tree_of(json_of(data), "a/")
        below = list(github._below(entries, _FILES))
        github._refuse_links(below)
        files = [github._file(_API, "c" * 40, name, entry) for name, entry in below]
        for file in listing.chosen(files, (), ("*.bin",), hidden=("*.py",)):
            assert file.url.isascii()
    with allowed():
        release = githubrelease.release_of(json_of(data))
        files = [githubrelease._file(_API, release, asset) for asset in release.assets]
        for file in listing.chosen(files, (), ()):
            assert file.url.isascii()
    for secure in (True, False):
        with allowed():
            for action in gitlfs.actions_of(json_of(data), secure=secure).values():
                assert action.href.startswith("https:" if secure else "http")
                assert all(value.isprintable() for value in action.headers.values())
