"""Models without an entry: files by URI, and a configuration where the Model brings one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import Rewrite
from model_gallery.api.v1alpha1.model import FileSource
from model_gallery.artifact import reference
from model_gallery.catalog import configuration, documents
from model_gallery.catalog.fields import Fields
from model_gallery.catalog.files import ListedFile, wanted
from model_gallery.catalog.request import InstallRequest
from model_gallery.errors import StalledError

__all__ = ["assemble_files", "assemble_uri"]

_STILL_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}|[/\ufffd]")
"""Encoded twice, an encoded slash, or no UTF-8: a name that other readers may take for a path."""


def assemble_uri(
    uri: str, *, install_name: str, config: Mapping[str, Any], rewrites: Sequence[Rewrite]
) -> InstallRequest:
    """Returns what a Model with `source.uri` puts on a volume: the file under its own name.

    Raises:
        StalledError: InvalidSpec or UnsafePath, naming the field.
    """
    name = reference.parse(uri).file_name
    if not name:
        raise StalledError(Reason.INVALID_SPEC, "source.uri must end in the name of a file")
    if _STILL_ENCODED.search(name):
        raise StalledError(
            Reason.UNSAFE_PATH,
            f"source.uri: the file name {name[:200]!r} is encoded in a way that may hide a path;"
            " use source.files to name it",
        )
    file = ListedFile("source.uri: ", name, uri, "")
    return _request((file,), install_name, config, rewrites)


def assemble_files(
    files: Sequence[FileSource],
    *,
    install_name: str,
    config: Mapping[str, Any],
    rewrites: Sequence[Rewrite],
) -> InstallRequest:
    """Returns what a Model with `source.files` puts on a volume.

    Raises:
        StalledError: InvalidSpec or UnsafePath, naming the field.
    """
    listed = tuple(
        ListedFile(f"source.files[{number}].", file.path, file.uri, file.sha256 or "", "path")
        for number, file in enumerate(files)
    )
    return _request(listed, install_name, config, rewrites)


def _request(
    files: Sequence[ListedFile],
    install_name: str,
    config: Mapping[str, Any],
    rewrites: Sequence[Rewrite],
) -> InstallRequest:
    """Without an entry there is no other name than the install name; `config.name` is overruled."""
    configuration.check(Fields(config, "config.", Reason.INVALID_SPEC))
    found = wanted(files, rewrites, Reason.INVALID_SPEC)
    composed = (documents.config(install_name, {**config, "name": install_name}),) if config else ()
    taken = {document.path for document in composed}
    for file in found:
        if file.path.partition("/")[0] in taken:
            raise StalledError(
                Reason.INVALID_SPEC, f"file {file.path!r} has the path of the configuration"
            )
    return InstallRequest(
        files=found,
        documents=composed,
        served_name=install_name,
        backend=str(config.get("backend") or ""),
    )
