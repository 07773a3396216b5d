"""Base configurations: the files that the `url` of entries names, shared by many entries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_gallery.api.conditions import Reason
from model_gallery.catalog import yamltext
from model_gallery.catalog.fields import Fields
from model_gallery.catalog.files import ListedFile, listed
from model_gallery.errors import StalledError

__all__ = ["EMPTY", "BaseConfig", "PromptTemplate", "parse"]


@dataclass(frozen=True, slots=True)
class PromptTemplate:
    """A template in a file of its own.

    Attributes:
        name: the file's name without `.tmpl`.
        content: Go template, never interpreted here.
    """

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class BaseConfig:
    """What an entry starts from.

    Attributes:
        config_text: `config_file` as it was written, YAML in a text.
        config: the mapping that it holds; shared by all entries, so never to be changed.
    """

    config_text: str = ""
    config: Mapping[str, Any] | None = None
    urls: tuple[str, ...] = ()
    files: tuple[ListedFile, ...] = ()
    prompt_templates: tuple[PromptTemplate, ...] = ()


EMPTY = BaseConfig()


def parse(text: bytes, uri: str) -> BaseConfig:
    """Returns the base configuration that the text holds.

    Args:
        uri: where it came from, for messages.

    Raises:
        StalledError: EntryInvalid, naming the URI and the line or field.
    """
    what = f"base configuration {uri.partition('?')[0][:200]}"
    fields = Fields(_mapping(text, what), f"{what}: ")
    config_text = _config_text(fields)
    config = _mapping(config_text, f"{what}: config_file") if config_text else None
    return BaseConfig(
        config_text=config_text,
        config=config,
        urls=fields.texts("urls"),
        files=listed(fields),
        prompt_templates=tuple(
            PromptTemplate(template.text("name"), template.text("content"))
            for template in fields.mappings("prompt_templates")
        ),
    )


def _config_text(fields: Fields) -> str:
    value = fields.values.get("config_file")
    if value is not None and not isinstance(value, str):
        raise fields.error("config_file", "must be a text that holds YAML; begin it with `|`")
    return value or ""


def _mapping(text: bytes | str, what: str) -> Mapping[str, Any]:
    value = yamltext.load(text, what=what, reason=Reason.ENTRY_INVALID)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise StalledError(Reason.ENTRY_INVALID, f"{what}: must be a mapping")
    return value
