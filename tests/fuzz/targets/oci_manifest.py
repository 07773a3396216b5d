"""Manifests of OCI registries, and the files that their layers are."""

from __future__ import annotations

import json

from fuzz.targets.guard import allowed
from model_gallery.protocol.operation import NetworkPolicy, Repository, RepositoryKind
from model_gallery.sources import listing, oci
from model_gallery.sources.registry import Registry, parse_manifest
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import NO_CREDENTIALS

_IMAGE = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"
_DIGEST = "sha256:" + "a" * 64
_LAYER = {
    "mediaType": "application/vnd.cncf.model.weight.v1.raw",
    "digest": _DIGEST,
    "size": 7,
    "annotations": {"org.cncf.model.filepath": "a/model.gguf"},
}
_PLATFORM = {"os": "linux", "architecture": "amd64"}
SEEDS = (
    json.dumps({"schemaVersion": 2, "mediaType": _IMAGE, "layers": [_LAYER, _LAYER]}).encode(),
    json.dumps({"layers": [{**_LAYER, "annotations": None}]}).encode(),
    json.dumps(
        {
            "mediaType": _INDEX,
            "manifests": [
                {"mediaType": _IMAGE, "digest": _DIGEST, "size": 2, "platform": _PLATFORM}
            ],
        }
    ).encode(),
)
_REGISTRY = Registry(HttpClient(NetworkPolicy()), NO_CREDENTIALS, "https://example.org/o/r")
_WANTED = Repository(
    kind=RepositoryKind.OCI, url=_REGISTRY.url, include=("*.gguf", "a/"), exclude=("b",)
)


def one(data: bytes) -> None:
    """Under every name that a server may give it."""
    for content_type in ("", _IMAGE, _INDEX):
        with allowed():
            manifest = parse_manifest(data, _DIGEST, content_type)
            if manifest.manifests:
                oci._chosen(manifest)
            else:
                files = oci._files(_REGISTRY, manifest, _WANTED)
                listing.chosen(files, _WANTED.include, _WANTED.exclude)
