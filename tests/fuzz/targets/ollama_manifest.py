"""Manifests of Ollama's registry."""

from __future__ import annotations

import json

from fuzz.targets.guard import allowed
from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.sources import listing, ollama
from model_gallery.sources.registry import Registry, parse_manifest
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import NO_CREDENTIALS

_DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
_KINDS = ("model", "model", "projector", "template", "params", "license", "license")
_LAYERS = [
    {
        "mediaType": f"application/vnd.ollama.image.{kind}",
        "digest": "sha256:" + str(number) * 64,
        "size": number,
    }
    for number, kind in enumerate(_KINDS)
]
SEEDS = (
    json.dumps({"schemaVersion": 2, "mediaType": _DOCKER, "layers": _LAYERS}).encode(),
    json.dumps({"layers": _LAYERS[:1]}).encode(),
)
_REGISTRY = Registry(HttpClient(NetworkPolicy()), NO_CREDENTIALS, "https://example.org/library/m")


def one(data: bytes) -> None:
    """As the registry sends it: as plain text."""
    with allowed():
        manifest = parse_manifest(data, "sha256:" + "a" * 64, "text/plain; charset=utf-8")
        listing.chosen(ollama._files(_REGISTRY, manifest, "m-latest"), (), ())
