"""The last good copy of each index, compressed, in ConfigMaps that go with their Gallery.

A copy holds the index, its base configurations and the validators of conditional requests;
`protocol/indexcopy.py` has its format.
"""

from __future__ import annotations

import logging
import zlib
from dataclasses import dataclass
from typing import Any

from model_gallery.api import labels
from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import ServedFrom
from model_gallery.controller.fetch import Document, Loaded, judged
from model_gallery.errors import GalleryError, StalledError
from model_gallery.protocol import indexcopy
from model_gallery.reconcile import names
from model_gallery.reconcile.manifests import configmap
from model_gallery.reconcile.observed import Meta
from model_gallery.runtime.client import ApiClient
from model_gallery.runtime.resources import CONFIG_MAPS

__all__ = ["Copies"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Copies:
    """Reads and writes copies."""

    client: ApiClient

    async def read(self, namespace: str, gallery: str) -> Loaded | None:
        """Returns the copy of a Gallery's index; None without one that this version can read."""
        first = await self.client.get(CONFIG_MAPS, namespace, names.index_copy_name(gallery, 0))
        if first is None:
            return None
        parts = indexcopy.parts_of(first)
        if parts is None:
            return None
        packed = indexcopy.part_of(first)
        for number in range(1, parts):
            name = names.index_copy_name(gallery, number)
            following = await self.client.get(CONFIG_MAPS, namespace, name)
            if following is None:
                return None
            packed += indexcopy.part_of(following)
        try:
            return _unpacked(packed)
        # Whoever may write ConfigMaps there could have put any document in its place.
        except (
            GalleryError,
            LookupError,
            ValueError,
            TypeError,
            AttributeError,
            zlib.error,
        ) as error:
            _LOG.warning(
                "Ignored an unreadable copy of an index",
                extra={"namespace": namespace, "gallery": gallery, "error": str(error)[:256]},
            )
            return None

    async def write(self, meta: Meta, loaded: Loaded) -> None:
        """Keeps a copy of the index.

        Raises:
            StalledError: the index is too large to keep.
        """
        parts = indexcopy.packed(_document(loaded))
        if len(parts) > indexcopy.MAX_PARTS:
            raise StalledError(Reason.INDEX_INVALID, "the index is too large to be kept")
        # The first part names their number, so it is written last.
        for number in reversed(range(len(parts))):
            name = names.index_copy_name(meta.name, number)
            header = indexcopy.header(len(parts))
            manifest = configmap.index_copy(name, meta, header, parts[number])
            await self.client.apply(CONFIG_MAPS, manifest, manager=labels.FIELD_MANAGER)


def _document(loaded: Loaded) -> dict[str, Any]:
    return {
        "wish": loaded.wish,
        "servedFrom": loaded.status.served_from.value,
        "fetchedTime": loaded.status.fetched_time,
        "index": _packed_document(loaded.document),
        "bases": {uri: _packed_document(base) for uri, base in loaded.bases.items()},
    }


def _packed_document(document: Document | GalleryError) -> dict[str, Any]:
    if isinstance(document, GalleryError):
        return {"reason": document.reason.value, "message": document.message}
    return {
        "text": document.body.decode("utf-8", "surrogateescape"),
        "url": document.url,
        "etag": document.etag,
        "lastModified": document.last_modified,
    }


def _unpacked(packed: bytes) -> Loaded:
    value = indexcopy.unpacked(packed)
    document = _unpacked_document(value["index"])
    if isinstance(document, GalleryError):
        raise document
    bases = {uri: _unpacked_document(base) for uri, base in value["bases"].items()}
    served_from = ServedFrom(value["servedFrom"])
    return judged(value["wish"], document, bases, served_from, value["fetchedTime"])


def _unpacked_document(value: dict[str, Any]) -> Document | GalleryError:
    if "text" not in value:
        return StalledError(Reason(value["reason"]), value["message"])
    return Document(
        value["text"].encode("utf-8", "surrogateescape"),
        value["url"],
        value["etag"],
        value["lastModified"],
    )
