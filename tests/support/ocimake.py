"""OCI artifacts and images for tests: layers as the field's tools push them, and their manifest."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from support.archivemake import tar

__all__ = [
    "MANIFEST",
    "Layer",
    "digest_of",
    "image",
    "manifest",
    "model_pack",
    "oras_file",
    "oras_folder",
]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_IMAGE_LAYER = "application/vnd.oci.image.layer.v1.tar"
_TITLE = "org.opencontainers.image.title"


@dataclass(frozen=True)
class Layer:
    """One layer with its bytes."""

    data: bytes
    media_type: str
    annotations: dict[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    def described(self) -> dict[str, object]:
        facts = {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}
        return {**facts, "annotations": self.annotations} if self.annotations else facts


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def manifest(*layers: Layer) -> bytes:
    config = Layer(b"{}", "application/vnd.oci.empty.v1+json").described()
    described = [layer.described() for layer in layers]
    return json.dumps(
        {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": described}
    ).encode()


def image(packed: bytes | Iterable[tuple[str, bytes]], *, docker: bool = False) -> Layer:
    """Returns a layer of an image, gzipped; packed already or from files."""
    data = packed if isinstance(packed, bytes) else tar(packed)
    kind = f"{_IMAGE_LAYER}+gzip"
    if docker:
        kind = "application/vnd.docker.image.rootfs.diff.tar.gzip"
    return Layer(gzip.compress(data, mtime=0), kind)


def model_pack(path: str, content: bytes, form: str = "tar", *, kind: str = "weight") -> Layer:
    """Returns a layer as modctl makes it: one file, under its path from the root of the artifact."""
    packed = {"raw": content, "tar": tar([(path, content)])}.get(form.partition("+")[0], b"")
    data = gzip.compress(packed, mtime=0) if form.endswith("+gzip") else packed
    notes = {"org.cncf.model.filepath": path}
    return Layer(data, f"application/vnd.cncf.model.{kind}.v1.{form}", notes)


def oras_file(path: str, content: bytes) -> Layer:
    return Layer(content, _IMAGE_LAYER, {_TITLE: path})


def oras_folder(title: str, files: Iterable[tuple[str, bytes]], **more: str) -> Layer:
    """Returns a layer as ORAS makes it: the names of members begin with the folder's."""
    packed = tar([(f"{title}/", b""), *((f"{title}/{name}", data) for name, data in files)])
    notes = {_TITLE: title, "io.deis.oras.content.unpack": "true", **more}
    notes["io.deis.oras.content.digest"] = digest_of(packed)
    return Layer(gzip.compress(packed, mtime=0), f"{_IMAGE_LAYER}+gzip", notes)
