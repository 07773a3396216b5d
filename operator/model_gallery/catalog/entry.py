"""Entries, and what installing one means: the files to fetch and the documents to publish.

LocalAI's rules, in its order:

1. base: the file that `url` names, else the inline `config_file`, else nothing;
2. files: the base's, then the entry's;
3. configuration: the base's, `name` set to the install name, the entry's overrides, the Model's
   overrides, the Model's `config`; what comes later wins. A name that the Model asks for wins over all;
4. checks of what names programs and files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import Rewrite
from model_gallery.catalog import baseconfig, configuration, documents, yamltext
from model_gallery.catalog.baseconfig import BaseConfig
from model_gallery.catalog.direct import assemble_files, assemble_uri
from model_gallery.catalog.fields import Fields
from model_gallery.catalog.files import ListedFile, is_archive, is_unpackable, listed, wanted
from model_gallery.catalog.request import InstallRequest
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Document, WantedFile

__all__ = [
    "Entry",
    "InstallRequest",
    "assemble",
    "assemble_files",
    "assemble_uri",
    "files_of",
]

_MAX_SERVED_NAME_LENGTH = 256


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an index.

    Attributes:
        url: reference to the base configuration; empty without one.
        config_file: inline base configuration, used where there is no `url`.
        tags: words to search by.
    """

    name: str
    url: str
    urls: tuple[str, ...]
    description: str
    license: str
    icon: str
    overrides: Mapping[str, Any]
    config_file: Mapping[str, Any]
    files: tuple[ListedFile, ...]
    tags: tuple[str, ...] = ()

    @property
    def backend(self) -> str:
        """The engine that the entry itself names; its base configuration may name another."""
        named = self.overrides.get("backend") or self.config_file.get("backend") or ""
        return named if isinstance(named, str) else ""

    @property
    def place(self) -> str:
        """How messages name the entry."""
        return f"entry {self.name!r}: "

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Entry:
        """Returns the typed view of an entry.

        Raises:
            StalledError: EntryInvalid, naming the field that has another type.
        """
        fields = Fields(values, f"entry {values['name']!r}: ")
        return cls(
            name=values["name"],
            url=fields.text("url"),
            urls=fields.texts("urls"),
            description=fields.text("description"),
            license=fields.text("license"),
            icon=fields.text("icon"),
            overrides=fields.mapping("overrides"),
            config_file=fields.mapping("config_file"),
            files=listed(fields),
            tags=_tags(values.get("tags")),
        )


def _tags(values: Any) -> tuple[str, ...]:
    """Returns what can be shown of the tags: nothing depends on them, so nothing is refused."""
    return tuple(str(value) for value in values) if isinstance(values, list) else ()


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a Model asks for beyond the entry."""

    install_name: str
    served_name: str = ""
    overrides: Mapping[str, Any] | None = None
    config: Mapping[str, Any] | None = None
    rewrites: Sequence[Rewrite] = ()


@dataclass(frozen=True, slots=True)
class _Merged:
    """An entry with its base and the wish, checked.

    Attributes:
        config: None where neither a configuration nor an override is given.
    """

    base: BaseConfig
    listed: tuple[ListedFile, ...]
    files: tuple[WantedFile, ...]
    config: Mapping[str, Any] | None


def assemble(
    entry: Entry,
    base: BaseConfig | None,
    *,
    overrides: Mapping[str, Any],
    install_name: str,
    served_name: str,
    config: Mapping[str, Any],
    rewrites: Sequence[Rewrite],
) -> InstallRequest:
    """Returns what installing the entry puts on a volume.

    Args:
        base: what `entry.url` names; None where the entry has no `url`, or it could not be fetched.
        overrides: the Model's, merged over the entry's.
        install_name: names the documents.
        served_name: the name asked for; empty: as the configuration says.
        config: the Model's configuration, merged last.

    Raises:
        StalledError: BaseConfigUnavailable, EntryInvalid, EntryUnsupported or UnsafePath; the message
            names the entry and the field.
    """
    wish = _Wish(install_name, served_name, overrides, config, rewrites)
    merged = _merge(entry, base, wish)
    request = InstallRequest(
        files=merged.files,
        documents=_documents(entry, merged, wish),
        served_name=_served_name(entry, merged, wish),
        backend=str((merged.config or {}).get("backend") or ""),
        license=entry.license,
        tags=entry.tags,
        use_cases=configuration.use_cases(merged.config),
        weights=configuration.weights(merged.config),
    )
    _check_documents(entry, request)
    return request


def files_of(entry: Entry, base: BaseConfig | None) -> tuple[WantedFile, ...]:
    """Returns the files of the entry installed under its own name, without composing documents.

    Raises:
        StalledError: as `assemble` does.
    """
    wish = _Wish(entry.name)
    merged = _merge(entry, base, wish)
    _served_name(entry, merged, wish)
    paths = {documents.config_path(entry.name), documents.record_path(entry.name)}
    _check_paths(entry, merged.files, paths)
    return merged.files


def _merge(entry: Entry, base: BaseConfig | None, wish: _Wish) -> _Merged:
    _check_name(entry, wish)
    found = _base(entry, base)
    config = _config(entry, found, wish)
    _check_artifacts(entry, config, wish)
    configuration.check(Fields(config or {}, entry.place))
    files = found.files + entry.files
    _check_archives(files)
    return _Merged(
        base=found,
        listed=files,
        files=_marked(wanted(files, wish.rewrites, Reason.ENTRY_INVALID)),
        config=config,
    )


def _check_name(entry: Entry, wish: _Wish) -> None:
    if wish.install_name.startswith("."):
        raise _invalid(entry, "name must not begin with a dot: backends overlook such files")


def _base(entry: Entry, base: BaseConfig | None) -> BaseConfig:
    if entry.url:
        if base is None:
            raise StalledError(
                Reason.BASE_CONFIG_UNAVAILABLE,
                f"{entry.place}the base configuration {entry.url[:200]} is not there",
            )
        return base
    if entry.config_file:
        text = yamltext.dump(dict(entry.config_file), sort_keys=True)
        return BaseConfig(config_text=text, config=entry.config_file)
    if not (entry.overrides or entry.files):
        raise _invalid(entry, "has none of url, config_file, overrides, files")
    return baseconfig.EMPTY


def _config(entry: Entry, base: BaseConfig, wish: _Wish) -> Mapping[str, Any] | None:
    layers = (entry.overrides, wish.overrides, wish.config)
    if base.config is None and not any(layers):
        return None
    config: dict[str, Any] = {**(base.config or {}), "name": wish.install_name}
    for layer in layers:
        if layer:
            config = configuration.merge(config, layer)
    if wish.served_name:
        config["name"] = wish.served_name
    return config


def _check_artifacts(entry: Entry, config: Mapping[str, Any] | None, wish: _Wish) -> None:
    if not (config and config.get("artifacts")):
        return
    if "artifacts" in (wish.config or {}):
        where = "the Model's config.artifacts"
    elif "artifacts" in entry.overrides or "artifacts" in (wish.overrides or {}):
        where = "overrides.artifacts"
    else:
        where = f"artifacts of {entry.url[:200] or 'config_file'}"
    raise StalledError(
        Reason.ENTRY_UNSUPPORTED, f"{entry.place}{where}: snapshots are not supported yet"
    )


def _check_archives(files: Sequence[ListedFile]) -> None:
    for file in files:
        if is_archive(file.filename) and not is_unpackable(file.filename):
            raise StalledError(
                Reason.ENTRY_UNSUPPORTED,
                f"{file.place}filename {file.filename[:200]!r}: such archives cannot be unpacked;"
                " tar, tar.gz, tar.bz2, tar.xz and zip can",
            )


def _marked(files: Sequence[WantedFile]) -> tuple[WantedFile, ...]:
    """Returns the files, those marked that LocalAI would unpack; the Gallery's policy has the say."""
    return tuple(
        structs.replace(file, unpack=True) if is_archive(file.path) else file for file in files
    )


def _served_name(entry: Entry, merged: _Merged, wish: _Wish) -> str:
    name = (merged.config or {}).get("name", wish.served_name or wish.install_name)
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_SERVED_NAME_LENGTH:
        raise _invalid(
            entry, f"overrides.name must be text of 1 to {_MAX_SERVED_NAME_LENGTH} characters"
        )
    return name


def _documents(entry: Entry, merged: _Merged, wish: _Wish) -> tuple[Document, ...]:
    base = merged.base
    record = documents.record(
        wish.install_name,
        about={
            "description": entry.description,
            "icon": entry.icon,
            "license": entry.license,
            "urls": [*base.urls, *entry.urls],
        },
        config_text=base.config_text,
        files=merged.listed,
        prompt_templates=base.prompt_templates,
        entry_name=entry.name,
    )
    composed = (*documents.templates(base.prompt_templates, entry.place), record)
    if merged.config is None:
        return composed
    return (*composed, documents.config(wish.install_name, merged.config))


def _check_documents(entry: Entry, request: InstallRequest) -> None:
    paths = [document.path for document in request.documents]
    if len(set(paths)) < len(paths):
        raise _invalid(entry, "prompt_templates has the same name twice")
    _check_paths(entry, request.files, set(paths))


def _check_paths(entry: Entry, files: Sequence[WantedFile], documents_: set[str]) -> None:
    for file in files:
        if file.path in documents_ or file.path.partition("/")[0] in documents_:
            raise _invalid(entry, f"file {file.path!r} has the path of a generated file")


def _invalid(entry: Entry, problem: str) -> StalledError:
    return StalledError(Reason.ENTRY_INVALID, f"{entry.place}{problem}")
