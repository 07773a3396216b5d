"""OCI artifacts: ModelPack, ORAS, and images whose layers are plain files. Nothing is unpacked."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Repository
from model_gallery.sources import listing
from model_gallery.sources.base import RemoteFile, Resolution
from model_gallery.sources.registry import Descriptor, Manifest, Registry
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import Credentials

__all__ = ["OciSource"]

_TITLES = ("org.cncf.model.filepath", "org.opencontainers.image.title")
_PACKED = ("tar", "gzip", "zstd")
_ORAS_FILE = "application/vnd.oci.image.layer.v1.tar"
_UNPACK = "io.deis.oras.content.unpack"
_MAX_DEPTH = 2
_PREFERRED = {"os": "linux", "architecture": "amd64"}
_EMPTY = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True, slots=True)
class OciSource:
    """Resolves artifacts."""

    client: HttpClient
    credentials: Credentials

    def resolve(self, wanted: Repository) -> Resolution:
        """Returns the manifest's digest and the files that its layers are.

        Raises:
            StalledError: EntryUnsupported for layers that must be unpacked; else as `Registry` does.
            TransientError: as the client does.
        """
        registry = Registry(self.client, self.credentials, wanted.url)
        manifest = registry.manifest(wanted.revision or "latest")
        revision = manifest.digest
        for _ in range(_MAX_DEPTH):
            if not manifest.manifests:
                break
            manifest = registry.manifest(f"sha256:{_chosen(manifest).sha256}")
        if manifest.manifests:
            raise listing.invalid("the artifact is an index of indexes")
        files = _files(registry, manifest, urlsplit(wanted.url).path.rpartition("/")[2])
        return Resolution(revision, listing.chosen(files, wanted.include, wanted.exclude))


def _chosen(index: Manifest) -> Descriptor:
    """Returns the manifest of no platform, or that of the platform that everybody has."""
    for one in index.manifests:
        if not one.platform:
            return one
    for one in index.manifests:
        if all(one.platform.get(key) == value for key, value in _PREFERRED.items()):
            return one
    raise listing.invalid("the index has no manifest without a platform, and none for linux/amd64")


def _files(registry: Registry, manifest: Manifest, repository: str) -> list[RemoteFile]:
    layers = [layer for layer in manifest.layers if layer.media_type != _EMPTY]
    files, names = [], set()
    for layer in layers:
        name = next((layer.annotations[key] for key in _TITLES if key in layer.annotations), "")
        if _is_packed(layer, name):
            raise StalledError(
                Reason.ENTRY_UNSUPPORTED,
                f"layer {name[:200] or layer.sha256[:12]!r} is packed ({layer.media_type[:100]!r});"
                " archives are not unpacked",
            )
        if not name and len(layers) > 1:
            raise listing.invalid(f"layer {layer.sha256[:12]} has no title to name its file")
        name = name or repository
        if name in names:
            raise StalledError(Reason.UNSAFE_PATH, f"two layers have the title {name[:200]!r}")
        names.add(name)
        files.append(registry.blob(name, layer))
    return files


def _is_packed(layer: Descriptor, name: str) -> bool:
    """Whether the layer is an archive to its publisher.

    ORAS calls every file that it pushes a tar layer unless told otherwise; it gives each a title, and
    those that it did pack an annotation.
    """
    if layer.annotations.get(_UNPACK) == "true":
        return True
    media_type = layer.media_type.partition(";")[0].strip().lower()
    return media_type.endswith(_PACKED) and not (name and media_type == _ORAS_FILE)
