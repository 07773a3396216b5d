"""Models of Ollama registries: the weights, and the small layers that belong to them beside.

| layer | published as |
| --- | --- |
| model | `<model>-<tag>.gguf`; several are numbered |
| projector, adapter | `<model>-<tag>.mmproj.gguf`, `.adapter.gguf` |
| template, system, params, messages, license | `<model>-<tag>.template`, `.system`, `.params.json`, ... |
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Repository
from model_gallery.sources import listing
from model_gallery.sources.base import RemoteFile, Resolution
from model_gallery.sources.registry import Descriptor, Manifest, Registry
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import Credentials

__all__ = ["OllamaSource"]

_PREFIX = "application/vnd.ollama.image."
_MODEL = "model"
_ENDINGS = {
    _MODEL: ".gguf",
    "projector": ".mmproj.gguf",
    "adapter": ".adapter.gguf",
    "template": ".template",
    "system": ".system",
    "params": ".params.json",
    "messages": ".messages.json",
    "license": ".license",
}
_DEFAULT_TAG = "latest"


@dataclass(frozen=True, slots=True)
class OllamaSource:
    """Resolves models."""

    client: HttpClient
    credentials: Credentials

    def resolve(self, wanted: Repository) -> Resolution:
        """Returns the manifest's digest and the files that its layers are.

        Raises:
            StalledError: EntryUnsupported for layers that are no files of their own; else as `Registry`.
            TransientError: as the client does.
        """
        tag = wanted.revision or _DEFAULT_TAG
        registry = Registry(self.client, self.credentials, wanted.url)
        manifest = registry.manifest(tag)
        stem = f"{wanted.url.rpartition('/')[2]}-{tag}"
        files = _files(registry, manifest, stem)
        return Resolution(manifest.digest, listing.chosen(files, wanted.include, wanted.exclude))


def _files(registry: Registry, manifest: Manifest, stem: str) -> list[RemoteFile]:
    seen: Counter[str] = Counter()
    files = []
    for layer in manifest.layers:
        kind = _kind(layer)
        seen[kind] += 1
        ending = _ENDINGS[kind]
        if seen[kind] > 1:
            first, dot, last = ending.rpartition(".")
            ending = f"{first}.{seen[kind]}{dot}{last}"
        files.append(registry.blob(f"{stem}{ending}", layer))
    if not seen[_MODEL]:
        raise listing.invalid("the manifest has no model layer")
    return files


def _kind(layer: Descriptor) -> str:
    kind = layer.media_type.removeprefix(_PREFIX)
    if not layer.media_type.startswith(_PREFIX) or kind not in _ENDINGS:
        raise StalledError(
            Reason.ENTRY_UNSUPPORTED,
            f"layer {layer.sha256[:12]} of the model is a {layer.media_type[:100]!r}, which is no file",
        )
    return kind
