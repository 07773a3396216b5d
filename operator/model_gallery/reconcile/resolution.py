"""From a Model's source to what shall be on the volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import Rewrite
from model_gallery.api.v1alpha1.model import EntrySource, ModelSpec
from model_gallery.catalog import direct
from model_gallery.catalog import entry as entries
from model_gallery.catalog.baseconfig import BaseConfig
from model_gallery.catalog.index import Index
from model_gallery.errors import GalleryError, StalledError, TransientError, WaitingError

__all__ = ["Catalogue", "resolve"]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """A loaded index with the base configurations that its entries name.

    Attributes:
        bases: base configuration by the URL that the entries write, or why there is none.
    """

    index: Index
    bases: Mapping[str, BaseConfig | GalleryError]


def resolve(
    spec: ModelSpec, name: str, catalogue: Catalogue | None, rewrites: tuple[Rewrite, ...]
) -> entries.InstallRequest:
    """Returns what shall be on the volume.

    Args:
        name: the Model's metadata.name, the last resort for a name.
        catalogue: None while the Gallery has no index; only entries need it.

    Raises:
        StalledError: the source cannot be installed as it is written.
        WaitingError: the index is not there yet.
        TransientError: the entry's base configuration could not be fetched yet.
    """
    source = spec.source
    if source.entry is not None:
        return _from_entry(spec, source.entry, catalogue, rewrites)
    install_name = spec.served_name or name
    if source.files is not None:
        return entries.assemble_files(
            source.files, install_name=install_name, config=spec.config, rewrites=rewrites
        )
    if source.uri is not None:
        return entries.assemble_uri(
            source.uri, install_name=install_name, config=spec.config, rewrites=rewrites
        )
    if source.hugging_face is not None:
        return direct.assemble_hugging_face(
            source.hugging_face, install_name=install_name, config=spec.config, rewrites=rewrites
        )
    if source.s3 is not None:
        return direct.assemble_s3(
            source.s3, install_name=install_name, config=spec.config, rewrites=rewrites
        )
    if source.git_hub is not None:
        return direct.assemble_git_hub(
            source.git_hub, install_name=install_name, config=spec.config, rewrites=rewrites
        )
    raise StalledError(
        Reason.INVALID_SPEC,
        "spec.source must set one of entry, uri, files, huggingFace, s3, gitHub",
    )


def _from_entry(
    spec: ModelSpec,
    source: EntrySource,
    catalogue: Catalogue | None,
    rewrites: tuple[Rewrite, ...],
) -> entries.InstallRequest:
    if catalogue is None:
        raise WaitingError(
            Reason.GALLERY_NOT_READY, f"Gallery {spec.gallery_name} has no index yet"
        )
    entry = catalogue.index.entry(source.name)
    if entry is None:
        raise StalledError(
            Reason.ENTRY_NOT_FOUND,
            f"the index of Gallery {spec.gallery_name} has no entry {source.name!r};"
            " correct spec.source.entry.name",
        )
    return entries.assemble(
        entry,
        _base(entry.url, catalogue),
        overrides=source.overrides,
        install_name=spec.served_name or source.name,
        served_name=spec.served_name,
        config=spec.config,
        rewrites=rewrites,
    )


def _base(url: str, catalogue: Catalogue) -> BaseConfig | None:
    found = catalogue.bases.get(url) if url else None
    if isinstance(found, StalledError):
        raise StalledError(Reason.BASE_CONFIG_UNAVAILABLE, found.message)
    if isinstance(found, GalleryError):
        raise TransientError(Reason.BASE_CONFIG_UNAVAILABLE, found.message)
    return found
