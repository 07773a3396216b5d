"""Names on the volume. All of ours lie in one hidden folder at its root."""

from __future__ import annotations

from model_gallery.artifact.path import RESERVED_ROOT

__all__ = [
    "BLOBS",
    "MARKS",
    "RECEIPTS",
    "ROOT",
    "STAGING",
    "Parts",
    "blob",
    "marks",
    "receipt",
    "staging",
    "temporary",
    "temporary_copy",
]

Parts = tuple[str, ...]
"""A path below the volume's root, by its components."""

ROOT: Parts = (RESERVED_ROOT,)
RECEIPTS: Parts = (*ROOT, "receipts")
BLOBS: Parts = (*ROOT, "blobs", "sha256")
MARKS: Parts = (*ROOT, "marks")
STAGING: Parts = (*ROOT, "staging")


def blob(sha256: str) -> Parts:
    """Where a content lies, once."""
    return (*BLOBS, sha256)


def marks(sha256: str) -> Parts:
    """Where the digests along a content lie, which tell in which part of it a damage is."""
    return (*MARKS, sha256)


def receipt(model_uid: str) -> Parts:
    """Where it is recorded what was published for a Model."""
    return (*RECEIPTS, f"{model_uid}.json")


def staging(model_uid: str, plan_digest: str = "") -> Parts:
    """Where unfinished files of a Model lie, for one plan or for all of them."""
    own = (*STAGING, model_uid)
    return (*own, plan_digest) if plan_digest else own


def temporary(model_uid: str) -> str:
    """The name beside a target under which a file is made before it is renamed."""
    return f".modelgallery-{model_uid}.tmp"


def temporary_copy(model_uid: str) -> str:
    """The name of a copy that is to become such a file, where the file system has no links."""
    return f"{temporary(model_uid)}.copy"
