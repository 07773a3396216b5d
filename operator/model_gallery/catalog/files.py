"""The files that entries list, and what becomes of them: paths checked, URIs resolved, no two alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import Rewrite
from model_gallery.artifact import reference
from model_gallery.artifact.digest import is_sha256
from model_gallery.artifact.path import ArtifactPath
from model_gallery.catalog import rewrites
from model_gallery.catalog.fields import Fields
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import WantedFile

__all__ = ["ListedFile", "is_archive", "is_unpackable", "listed", "safe_path", "wanted"]

_ARCHIVES = (
    *(".tar", ".zip", ".rar", ".7z", ".tgz", ".tbz", ".tbz2", ".txz"),
    *(".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".tar.lz4", ".tar.br", ".tar.sz"),
)
_UNPACKABLE = (
    *(".tar", ".zip", ".tgz", ".tbz", ".tbz2", ".txz"),
    *(".tar.gz", ".tar.bz2", ".tar.xz"),
)
_OTHER_SCHEMES = ("oci:", "ollama:", "ocifile:", "file:", "s3:")
"""Schemes that LocalAI knows, or other tools, and that are not fetched yet."""


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file as it is written down.

    Attributes:
        place: where it stands, for messages.
        sha256: empty where none is promised.
        path_field: what the field with the path is called there.
    """

    place: str
    filename: str
    uri: str
    sha256: str
    path_field: str = "filename"


def listed(fields: Fields) -> tuple[ListedFile, ...]:
    """Returns the items of `files`.

    Raises:
        StalledError: EntryInvalid, where the list is none.
    """
    return tuple(
        ListedFile(file.place, file.text("filename"), file.text("uri"), file.text("sha256"))
        for file in fields.mappings("files")
    )


def safe_path(text: str, place: str) -> str:
    """Returns the path.

    Raises:
        StalledError: UnsafePath, naming the place.
    """
    try:
        return str(ArtifactPath.parse(text))
    except StalledError as error:
        raise StalledError(error.reason, f"{place}: {error.message}") from error


def is_archive(filename: str) -> bool:
    """Whether LocalAI would unpack the file after the download."""
    return filename.lower().endswith(_ARCHIVES)


def is_unpackable(filename: str) -> bool:
    """Whether the worker can unpack an archive of this name: what the standard library reads."""
    return filename.lower().endswith(_UNPACKABLE)


def wanted(
    files: Iterable[ListedFile], rules: Sequence[Rewrite], reason: Reason
) -> tuple[WantedFile, ...]:
    """Returns the files to fetch, in order, each path once.

    Args:
        reason: reason of the errors.

    Raises:
        StalledError: UnsafePath; for a scheme that is not fetched EntryUnsupported; else the reason.
    """
    found: dict[str, WantedFile] = {}
    folders: set[str] = set()
    for file in files:
        new = _wanted(file, rules, reason)
        known = found.get(new.path)
        if known is None:
            _check_folders(new.path, file, found, folders, reason)
            found[new.path] = new
        elif known.sha256 != new.sha256 or (new.sha256 is None and known.url != new.url):
            raise StalledError(
                reason,
                f"{file.place}{file.path_field} {new.path!r} is listed with other content before",
            )
    return tuple(found.values())


def _wanted(file: ListedFile, rules: Sequence[Rewrite], reason: Reason) -> WantedFile:
    if file.sha256 and not is_sha256(file.sha256):
        raise StalledError(reason, f"{file.place}sha256 must be 64 lower-case hex digits")
    return WantedFile(
        path=safe_path(file.filename, f"{file.place}{file.path_field}"),
        url=_url(file, rules, reason),
        sha256=file.sha256 or None,
    )


def _url(file: ListedFile, rules: Sequence[Rewrite], reason: Reason) -> str:
    of_model, own = reason is not Reason.ENTRY_INVALID, file.uri.startswith("file:")
    scheme = f"{file.place}uri: {file.uri.partition(':')[0]}:"
    other = file.uri.startswith(_OTHER_SCHEMES)
    if other and not of_model:
        raise StalledError(Reason.ENTRY_UNSUPPORTED, f"{scheme} sources are not supported yet")
    if other and not own:
        raise StalledError(reason, f"{scheme} names no single file; set spec.source.uri to it")
    try:
        if own:
            return reference.own_file(file.uri)
        url = reference.parse(file.uri).url
    except StalledError as error:
        raise StalledError(reason, f"{file.place}uri: {error.message}") from error
    return rewrites.rewrite(url, rules)


def _check_folders(
    path: str, file: ListedFile, found: dict[str, WantedFile], folders: set[str], reason: Reason
) -> None:
    """Refuses a path that is both a file and a folder."""
    parts = path.split("/")
    above = {"/".join(parts[:count]) for count in range(1, len(parts))}
    if path in folders or not above.isdisjoint(found):
        raise StalledError(
            reason, f"{file.place}{file.path_field} {path!r} is both a file and a folder"
        )
    folders |= above
