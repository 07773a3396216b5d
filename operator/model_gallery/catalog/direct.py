"""Models without an entry: files by URI, and a configuration where the Model brings one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import Rewrite
from model_gallery.api.v1alpha1.model import FileSource, GitHubSource, HuggingFaceSource, S3Source
from model_gallery.artifact import reference
from model_gallery.catalog import configuration, documents
from model_gallery.catalog.fields import Fields
from model_gallery.catalog.files import ListedFile, wanted
from model_gallery.catalog.request import InstallRequest
from model_gallery.catalog.rewrites import rewrite
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Repository, RepositoryKind

__all__ = [
    "assemble_files",
    "assemble_git_hub",
    "assemble_hugging_face",
    "assemble_s3",
    "assemble_uri",
]

_LATEST = "latest"
_STILL_ENCODED = re.compile(r"%[0-9A-Fa-f]{2}|[/\ufffd]")
"""Encoded twice, an encoded slash, or no UTF-8: a name that other readers may take for a path."""


def assemble_uri(
    uri: str, *, install_name: str, config: Mapping[str, Any], rewrites: Sequence[Rewrite]
) -> InstallRequest:
    """Returns what a Model with `source.uri` puts on a volume: the file under its own name.

    Raises:
        StalledError: InvalidSpec or UnsafePath, naming the field.
    """
    # A download that a mirror serves is a plain file: only GitHub's own host has the API for it.
    found = reference.repository(uri) or reference.release_asset(rewrite(uri, rewrites))
    if found is not None:
        wanted_ = _repository(found, install_name, rewrites)
        return _assemble_repository(wanted_, install_name=install_name, config=config)
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


def assemble_hugging_face(
    source: HuggingFaceSource,
    *,
    install_name: str,
    config: Mapping[str, Any],
    rewrites: Sequence[Rewrite],
) -> InstallRequest:
    """Returns what a Model with `source.huggingFace` puts on a volume: a folder.

    Raises:
        StalledError: InvalidSpec, naming the field.
    """
    found = reference.hugging_face(source.repo, source.revision)
    wanted_ = _repository(found, install_name, rewrites, source.include, source.exclude)
    return _assemble_repository(wanted_, install_name=install_name, config=config)


def assemble_git_hub(
    source: GitHubSource,
    *,
    install_name: str,
    config: Mapping[str, Any],
    rewrites: Sequence[Rewrite],
) -> InstallRequest:
    """Returns what a Model with `source.gitHub` puts on a volume: a file, or a folder.

    Raises:
        StalledError: InvalidSpec, naming the field.
    """
    endpoint = reference.parse(source.endpoint).url.rstrip("/")
    if source.release:
        tag = "" if source.release == _LATEST else source.release
        found = reference.git_hub_release(source.repo, tag, endpoint=endpoint)
    else:
        found = reference.git_hub(source.repo, source.path, source.revision, endpoint)
    wanted_ = _repository(found, install_name, rewrites, source.include, source.exclude)
    return _assemble_repository(wanted_, install_name=install_name, config=config)


def assemble_s3(
    source: S3Source,
    *,
    install_name: str,
    config: Mapping[str, Any],
    rewrites: Sequence[Rewrite],
) -> InstallRequest:
    """Returns what a Model with `source.s3` puts on a volume: a file, or a folder for a prefix.

    Raises:
        StalledError: InvalidSpec, naming the field.
    """
    single = bool(source.key) and not source.key.endswith("/")
    base = reference.parse(source.endpoint).url.rstrip("/")
    wanted_ = Repository(
        kind=RepositoryKind.S3,
        url=rewrite(f"{base}/{source.bucket}/{quote(source.key)}", rewrites),
        revision=source.version_id,
        include=source.include,
        exclude=source.exclude,
        folder="" if single else install_name,
        region=source.region,
        path_style=source.path_style,
    )
    return _assemble_repository(wanted_, install_name=install_name, config=config)


def _assemble_repository(
    repository: Repository, *, install_name: str, config: Mapping[str, Any]
) -> InstallRequest:
    """Returns what a repository puts on a volume, with the configuration that the Model brings.

    Raises:
        StalledError: InvalidSpec, naming the field.
    """
    request = _request((), install_name, config, ())
    return replace(request, repository=repository)


def _repository(
    found: reference.RepositoryRef,
    install_name: str,
    rewrites: Sequence[Rewrite],
    include: tuple[str, ...] = (),
    exclude: tuple[str, ...] = (),
) -> Repository:
    kind = RepositoryKind(found.kind)
    mounted = kind in {RepositoryKind.CLAIM, RepositoryKind.VOLUME}
    url = found.url if mounted else rewrite(found.url, rewrites)
    return Repository(
        kind=kind,
        url=url,
        revision=found.revision,
        include=include,
        exclude=exclude,
        folder="" if found.single else install_name,
        path=found.path,
    )


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
        use_cases=configuration.use_cases(config),
        weights=configuration.weights(config),
    )
