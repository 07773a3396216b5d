"""URIs and paths, as galleries, people and redirects write them."""

from __future__ import annotations

import contextlib

from fuzz.targets.guard import allowed
from model_gallery.artifact import reference
from model_gallery.artifact.path import ArtifactPath
from model_gallery.plugin import manifests
from model_gallery.plugin.manifests import Wish
from model_gallery.plugin.problem import Problem
from model_gallery.transport import answers

SEEDS = (
    b"https://user:pw@example.org:8443/a/b%20c.gguf?x=1#y",
    b"http://[::1]:80/x",
    b"https://[/x",
    b"huggingface://owner/repo/sub/file.gguf@main",
    b"hf://owner/repo@rev",
    b"github:org/repo/path/x.yaml@branch",
    b"github://o/r/releases/tag/v1/m.gguf",
    b"https://github.com/o/r/releases/download/v1/m.gguf",
    b"ollama://library/model:tag",
    b"oci://registry.example.org/a/b:tag@sha256:" + b"a" * 64,
    b"s3://bucket/key?region=eu",
    b"pvc://claim/path/",
    b"file:///a/../b",
    "a/é/C:/\u202e.gguf".encode(),
)


def one(data: bytes) -> None:
    """Parsed in every way; a path that comes through is relative and has no dots."""
    for text in (data.decode(errors="surrogateescape"), data.decode("latin-1")):
        for parse in (
            reference.parse,
            reference.repository,
            reference.release_asset,
            reference.redirect_target,
        ):
            with allowed():
                parse(text)
        with allowed():
            path = ArtifactPath.parse(text)
            assert str(path) == text
            assert not {"", ".", ".."} & set(path.parts)
        with contextlib.suppress(Problem):
            manifests.model(Wish(text, "g", "n"))
        assert len(manifests.object_name(text)) <= 63
        with contextlib.suppress(ValueError):
            answers.shown(text)
