"""OCI artifacts and images: ModelPack, ORAS, modelcars, and layers that are plain files.

A layer is a file, or an archive whose members are files; which of the two is told by its media type and its
annotations, before a byte of it is fetched. Nothing is unpacked here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from model_gallery.api.conditions import Reason
from model_gallery.artifact.path import ArtifactPath
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Repository
from model_gallery.sources import listing
from model_gallery.sources.base import Packed, Packing, RemoteFile, Resolution
from model_gallery.sources.registry import Descriptor, Manifest, Registry
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import Credentials

__all__ = ["OciSource"]

_TITLES = ("org.cncf.model.filepath", "org.opencontainers.image.title")
_UNPACK = "io.deis.oras.content.unpack"
_MODEL_PACK = "application/vnd.cncf.model."
_IMAGE_LAYERS = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
_UNPACKABLE = {"", "+gzip", ".gzip"}
_PACKED = ("tar", "gzip", "zstd")
_MAX_DEPTH = 2
_PREFERRED = {"os": "linux", "architecture": "amd64"}
_EMPTY = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True, slots=True)
class OciSource:
    """Resolves artifacts."""

    client: HttpClient
    credentials: Credentials

    def resolve(self, wanted: Repository) -> Resolution:
        """Returns the manifest's digest and the files and archives that its layers are.

        Raises:
            StalledError: EntryUnsupported for layers that are packed in a way that nothing here unpacks;
                else as `Registry` does.
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
        files = _files(registry, manifest, wanted)
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


def _files(registry: Registry, manifest: Manifest, wanted: Repository) -> list[RemoteFile]:
    layers = [layer for layer in manifest.layers if layer.media_type != _EMPTY]
    files: dict[str, RemoteFile] = {}
    for position, layer in enumerate(layers):
        title = next((layer.annotations[key] for key in _TITLES if key in layer.annotations), "")
        if title and not listing.is_chosen(title, (), wanted.exclude):
            continue
        packed = _packed(layer, title)
        if packed is None and not title and len(layers) > 1:
            raise listing.invalid(f"layer {layer.sha256[:12]} has no title to name its file")
        name = title or urlsplit(wanted.url).path.rpartition("/")[2]
        if packed is not None:
            # Sorted by name they are in the order in which they are applied.
            name = f"{position:04}-{layer.sha256[:12]}.layer"
        if name in files:
            raise StalledError(Reason.UNSAFE_PATH, f"two layers have the title {name[:200]!r}")
        files[name] = registry.blob(name, layer, packed)
    return _once(files.values())


def _packed(layer: Descriptor, title: str) -> Packed | None:
    """Returns how a layer is unpacked; None for one that is a file.

    ORAS calls every file that it pushes a layer of an image unless told otherwise; it gives each a title,
    and those that it did pack an annotation. Layers of images have neither.
    """
    media_type = layer.media_type.partition(";")[0].strip().lower()
    label = f"layer {title[:100]!r}" if title else f"layer sha256:{layer.sha256[:12]}"
    if layer.annotations.get(_UNPACK) == "true":
        _check_compression(media_type, label)
        folder = "" if title in {"", "."} else str(ArtifactPath.parse(title.rstrip("/")))
        return Packed(Packing.FOLDER, label, folder)
    if media_type.startswith(_MODEL_PACK) and ".v1.tar" in media_type:
        _check_compression(media_type, label)
        return Packed(Packing.TREE, label)
    if media_type.startswith(_IMAGE_LAYERS):
        if title:
            return None
        _check_compression(media_type, label)
        return Packed(Packing.IMAGE, label)
    if media_type.endswith(_PACKED):
        raise _unsupported(label, media_type, "layers of ModelPack, ORAS and images are unpacked")
    return None


def _check_compression(media_type: str, label: str) -> None:
    _, is_tar, compression = media_type.rpartition(".tar")
    if is_tar and compression not in _UNPACKABLE:
        raise _unsupported(label, media_type, "push it as tar+gzip, or better as raw files")


def _unsupported(label: str, media_type: str, advice: str) -> StalledError:
    message = f"{label} is packed as {media_type[:100]!r}, which cannot be unpacked; {advice}"
    return StalledError(Reason.ENTRY_UNSUPPORTED, message)


def _once(files: Iterable[RemoteFile]) -> list[RemoteFile]:
    """Returns the files, with a layer that is applied several times in its last place alone.

    There it decides of all that it has and hides, whatever came of it below.

    Raises:
        StalledError: SourceInvalid, where two layers have one content and are unpacked in two ways.
    """
    found: dict[str, RemoteFile] = {}
    scopes: dict[str | None, str] = {}
    for file in files:
        if file.packed is None:
            found[file.name] = file
            continue
        if scopes.setdefault(file.sha256, file.packed.scope) != file.packed.scope:
            raise listing.invalid(f"{file.packed.label} is listed to be unpacked in two ways")
        found[f"sha256:{file.sha256}"] = file
    return list(found.values())
