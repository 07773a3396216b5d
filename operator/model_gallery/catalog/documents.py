"""The small files that are published beside the weights, in the form that LocalAI reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from model_gallery.artifact.path import ArtifactPath
from model_gallery.catalog import yamltext
from model_gallery.catalog.baseconfig import PromptTemplate
from model_gallery.catalog.files import ListedFile, safe_path
from model_gallery.protocol.operation import Document

__all__ = ["config", "config_path", "record", "record_path", "templates"]


def config_path(install_name: str) -> str:
    """Returns where the configuration is published.

    Raises:
        StalledError: UnsafePath.
    """
    return str(ArtifactPath.parse(f"{_file_name(install_name)}.yaml"))


def record_path(install_name: str) -> str:
    """Returns where the gallery record is published: LocalAI deletes by what stands in it.

    Raises:
        StalledError: UnsafePath.
    """
    return str(ArtifactPath.parse(f"._gallery_{_file_name(install_name)}.yaml"))


def _file_name(install_name: str) -> str:
    """LocalAI looks a name with slashes up under this one."""
    return install_name.replace("/", "__")


def config(install_name: str, values: Mapping[str, Any]) -> Document:
    """Returns the configuration, its keys sorted as LocalAI sorts them."""
    content = yamltext.dump(dict(values), sort_keys=True)
    return Document(path=config_path(install_name), content=content)


def templates(prompt_templates: Iterable[PromptTemplate], place: str) -> tuple[Document, ...]:
    """Returns the prompt templates, each in its file.

    Raises:
        StalledError: UnsafePath, naming the place.
    """
    return tuple(
        Document(
            path=safe_path(f"{template.name}.tmpl", f"{place}prompt_templates"),
            content=template.content,
        )
        for template in prompt_templates
    )


def record(
    install_name: str,
    *,
    about: Mapping[str, Any],
    config_text: str,
    files: Iterable[ListedFile],
    prompt_templates: Iterable[PromptTemplate],
    entry_name: str,
) -> Document:
    """Returns the gallery record, its keys in LocalAI's order.

    Args:
        about: `description`, `icon`, `license`, `urls`, in this order.
        config_text: the base configuration as it was written, before any override.
        files: with the URIs that the gallery names, not those of mirrors.
    """
    values = {
        **about,
        "name": install_name,
        "config_file": config_text,
        "files": [
            {"filename": file.filename, "sha256": file.sha256, "uri": file.uri} for file in files
        ],
        "prompt_templates": [
            {"name": template.name, "content": template.content} for template in prompt_templates
        ],
        "entry_name": entry_name,
    }
    content = yamltext.dump(values, sort_keys=False)
    return Document(path=record_path(install_name), content=content)
