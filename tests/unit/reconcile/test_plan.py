"""Digests of plans: they change with what is wished for, and not with the version of the operator."""

from __future__ import annotations

from msgspec import structs

from model_gallery.api.v1alpha1.model import GitHubSource, ModelSource
from model_gallery.protocol.operation import Repository, RepositoryKind
from model_gallery.reconcile.plan import repository_facts, source_facts

OLD = {
    "kind": "OCI",
    "url": "https://ghcr.io/a/b",
    "revision": "v1",
    "include": (),
    "exclude": (),
    "folder": "m",
    "region": "",
    "path_style": True,
}


def test_a_field_that_is_not_set_is_no_part_of_a_published_plan() -> None:
    """Otherwise every Model with a repository would be drifted after an upgrade."""
    before = Repository(
        kind=RepositoryKind.OCI, url="https://ghcr.io/a/b", revision="v1", folder="m"
    )

    assert repository_facts(before) == OLD
    assert repository_facts(structs.replace(before, path="a/")) == {**OLD, "path": "a/"}


def test_a_kind_of_source_that_is_not_set_is_no_part_of_it_either() -> None:
    kinds = {"entry", "uri", "hugging_face", "s3", "files"}

    assert source_facts(ModelSource(uri="hf://o/r")).keys() == kinds
    assert source_facts(ModelSource(git_hub=GitHubSource(repo="o/r"))).keys() == {*kinds, "git_hub"}
