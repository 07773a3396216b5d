"""Ollama models as its registry really answers them: no manifest type, layers with parameters."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Repository, RepositoryKind
from model_gallery.sources.base import Resolution
from model_gallery.sources.ollama import OllamaSource
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import NO_CREDENTIALS
from support.scripted import Answer, Scripted, content

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


def layer(kind: str, data: bytes = b"", **more: Any) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    media_type = f"application/vnd.ollama.image.{kind}"
    return {"mediaType": media_type, "digest": digest, "size": len(data), **more}


def resolve(
    server: Scripted, client: HttpClient, *layers: dict[str, Any], tag: str = ""
) -> Resolution:
    config = layer("config", b"{}", mediaType="application/vnd.docker.container.image.v1+json")
    document = {"schemaVersion": 2, "mediaType": DOCKER, "config": config, "layers": layers}
    answer = Answer(
        json.dumps(document).encode(), headers={"Content-Type": "text/plain; charset=utf-8"}
    )
    server.routes[f"/v2/library/tiny/manifests/{tag or 'latest'}"] = answer
    wanted = Repository(kind=RepositoryKind.OLLAMA, url=f"{server.url}/library/tiny", revision=tag)
    return OllamaSource(client, NO_CREDENTIALS).resolve(wanted)


def test_a_manifest_that_its_registry_calls_text(server: Scripted, client: HttpClient) -> None:
    """registry.ollama.ai answers manifests as text/plain (ollama/ollama#6470)."""
    weights = layer("model", b"weights")
    server.routes[f"/v2/library/tiny/blobs/{weights['digest']}"] = Answer(b"weights")

    found = resolve(server, client, weights)

    assert [file.name for file in found.files] == ["tiny-latest.gguf"]
    assert content(client, found.files[0]) == b"weights"


def test_every_kind_of_layer_has_its_own_name(server: Scripted, client: HttpClient) -> None:
    kinds = ["model", "model", "projector", "adapter", "template", "system", "params", "messages"]
    layers = [layer(kind, bytes([number])) for number, kind in enumerate(kinds)]

    found = resolve(server, client, *layers, tag="1b-q4")

    assert len({file.name for file in found.files}) == len(kinds)
    assert len({file.sha256 for file in found.files}) == len(kinds)
    assert all(file.name.startswith("tiny-1b-q4.") for file in found.files)
    assert sum(file.name.endswith(".gguf") for file in found.files) == 4


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (layer("tensor; name=../../x; dtype=F16; shape=1"), Reason.ENTRY_UNSUPPORTED),
        (layer("tensor", digest=f"sha256:{EMPTY_SHA256}/.."), Reason.SOURCE_INVALID),
        (layer("model", digest=f"sha256:{EMPTY_SHA256}/../x"), Reason.SOURCE_INVALID),
        (layer("../../x"), Reason.ENTRY_UNSUPPORTED),
    ],
)
def test_layers_that_would_leave_their_folder(
    server: Scripted, client: HttpClient, weights: dict[str, Any], reason: Reason
) -> None:
    """T02."""
    with pytest.raises(StalledError) as caught:
        resolve(server, client, weights)

    assert caught.value.reason is reason
