"""Receipts: what was published for whom. Written before the first publish of a plan and after its last.

So whatever happens in between, everything that a Model may own on the volume stands in its receipt.
"""

from __future__ import annotations

import logging
from typing import Annotated

import msgspec

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import is_sha256
from model_gallery.artifact.path import ArtifactPath
from model_gallery.errors import GalleryError, StalledError
from model_gallery.protocol.message import MalformedError, decoded
from model_gallery.storage import layout
from model_gallery.storage.volume import Volume

__all__ = [
    "KeptContent",
    "Receipt",
    "ReceiptArchive",
    "ReceiptFile",
    "read_all",
    "remove",
    "write",
]

_LOG = logging.getLogger(__name__)
_MAX_BYTES = 16 * 1024 * 1024
_MAX_SIZE = 2**53
_Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""More than that is read, and could not be written."""


class ReceiptFile(msgspec.Struct, frozen=True, kw_only=True):
    """One published file.

    Attributes:
        fetched: False for a document, of which there is no copy under its digest.
        url: where it came from; empty for a document.
        content: of a document.
        modified_ns: the file system's time of its last change when it was published; 0: unknown.
    """

    path: str
    size_bytes: _Number
    sha256: str
    fetched: bool = True
    modified_ns: _Number = 0
    url: str = ""
    content: str = ""


class KeptContent(msgspec.Struct, frozen=True, kw_only=True):
    """A content that an earlier plan published, kept for a way back.

    Attributes:
        until: seconds since the epoch.
    """

    sha256: str
    size_bytes: _Number
    until: _Number


class ReceiptArchive(msgspec.Struct, frozen=True, kw_only=True):
    """One archive that was unpacked; it is no published file itself.

    Attributes:
        members: with paths below the folder of the archive; empty for one that is not unpacked yet, and for
            a file beside an archive that is on its way.
        hides: of a layer of an image, what it hides of earlier ones.
        scope: how it was unpacked (sources/base.py); empty: as a whole, or not yet.
        cut: of a layer, the digest of what was wanted where members were left out; empty: none was.
    """

    sha256: str
    members: tuple[ReceiptFile, ...] = ()
    hides: tuple[str, ...] = ()
    scope: str = ""
    cut: str = ""

    @property
    def contents(self) -> frozenset[str]:
        """Digests of what came out of it."""
        return frozenset(member.sha256 for member in self.members)

    @property
    def is_pending(self) -> bool:
        """Whether it is still to be unpacked, if it is an archive at all."""
        return not (self.members or self.scope or self.cut)


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What was published for one Model.

    Attributes:
        files: what the present plan publishes, documents among them.
        leaving: what an earlier plan published and this one does not; being removed.
        kept: contents of earlier plans.
        archives: what was unpacked, so that the same archive need not be fetched again.
    """

    format: int = 1
    namespace: str
    name: str
    uid: str
    plan_digest: str
    files: tuple[ReceiptFile, ...] = ()
    leaving: tuple[ReceiptFile, ...] = ()
    kept: tuple[KeptContent, ...] = ()
    archives: tuple[ReceiptArchive, ...] = ()

    @property
    def owner(self) -> str:
        """The Model, as messages name it."""
        return f"{self.namespace}/{self.name}"

    @property
    def everything(self) -> tuple[ReceiptFile, ...]:
        """All that the Model may own on the volume."""
        return self.files + self.leaving


_DECODER = msgspec.json.Decoder(Receipt)


def read_all(volume: Volume) -> dict[str, Receipt]:
    """Returns the readable receipts by the uid of their Model.

    A backend could have put anything here, so paths are checked like those of a gallery, and digests
    as well: contents lie under them. Sizes are such that they can be told. What is no regular file is no
    receipt: it must not stop everybody's workers.

    Raises:
        GalleryError: the folder or a receipt cannot be read.
    """
    receipts = {}
    for name in volume.names(layout.RECEIPTS):
        if not name.endswith(".json") or not volume.is_file((*layout.RECEIPTS, name)):
            continue
        content = volume.read((*layout.RECEIPTS, name), _MAX_BYTES)
        if content is None:
            continue
        try:
            receipt = decoded(_DECODER, content)
            _check(receipt)
        except (MalformedError, GalleryError):
            _LOG.warning("Ignored an unreadable receipt", extra={"receipt": name})
            continue
        if name == f"{receipt.uid}.json":
            receipts[receipt.uid] = receipt
    return receipts


def _check(receipt: Receipt) -> None:
    members = [file for archive in receipt.archives for file in archive.members]
    files = (*receipt.everything, *members)
    for file in files:
        ArtifactPath.parse(file.path)
    digests = [file.sha256 for file in files]
    digests += [content.sha256 for content in receipt.kept]
    digests += [archive.sha256 for archive in receipt.archives]
    if not all(map(is_sha256, digests)):
        raise StalledError(Reason.UNSAFE_PATH, "a content is named by what is no sha256")
    # A scan adds up what all receipts say.
    sizes = [*(file.size_bytes for file in files), *(one.size_bytes for one in receipt.kept)]
    if sum(map(abs, sizes)) > _MAX_SIZE:
        raise StalledError(Reason.SOURCE_INVALID, "the contents are larger than any volume")


def write(volume: Volume, receipt: Receipt) -> None:
    """Puts a receipt in place, durably.

    Raises:
        StalledError: SourceInvalid for one too large to be read again: nobody would own what it names.
        GalleryError: as the volume does.
    """
    content = msgspec.json.encode(receipt)
    if len(content) > _MAX_BYTES:
        raise StalledError(
            Reason.SOURCE_INVALID,
            f"the list of the Model's files would take {len(content)} bytes on the volume, at most"
            f" {_MAX_BYTES} are read; choose fewer files, or make several Models of them",
        )
    volume.write(layout.receipt(receipt.uid), content, layout.temporary(receipt.uid))


def remove(volume: Volume, uid: str) -> None:
    """Removes a receipt, and the folders around it that it leaves empty."""
    volume.remove(layout.receipt(uid))
    volume.remove_empty(layout.RECEIPTS)
