"""What goes to stdout and stderr: tables, objects for programs, and what was done."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from model_gallery.api import labels
from model_gallery.catalog import yamltext
from model_gallery.plugin import facts, tables
from model_gallery.plugin.tables import Table

__all__ = ["Format", "Output", "reference", "shown"]


class Format(StrEnum):
    """Values of `-o`."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Output:
    """Where a command says what it has to say, in the form that was asked for."""

    format: Format

    @property
    def for_people(self) -> bool:
        """Whether a table or sentence is wanted, and not a document."""
        return self.format in {Format.TABLE, Format.WIDE}

    def table(self, table: Table, nothing: str) -> None:
        """Prints a table; without rows says on stderr that there is nothing."""
        if table.rows:
            print(tables.render(table))
        else:
            self.note(nothing)

    def text(self, text: str) -> None:
        """Prints text as it is."""
        print(text)

    def names(self, names: Sequence[str]) -> None:
        """Prints one name a line."""
        for name in names:
            print(name)

    def document(self, value: Any) -> None:
        """Prints a value as JSON, or as YAML for all other formats."""
        if self.format is Format.JSON:
            print(json.dumps(value, indent=4, ensure_ascii=False))
        else:
            print(yamltext.dump(value, sort_keys=False), end="")

    def found(self, items: Sequence[dict[str, Any]]) -> None:
        """Prints objects as documents or names, as a list as kubectl does."""
        if self.format is Format.NAME:
            self.names([reference(item) for item in items])
        else:
            self.document(
                {"apiVersion": "v1", "items": [shown(item) for item in items], "kind": "List"}
            )

    def one(self, item: dict[str, Any]) -> None:
        """Prints one object as document or name."""
        if self.format is Format.NAME:
            self.names([reference(item)])
        else:
            self.document(shown(item))

    def done(self, item: dict[str, Any], what: str) -> None:
        """Tells what became of an object: a sentence for people, else the object."""
        if self.for_people:
            print(f"{reference(item)} {what}")
        else:
            self.one(item)

    def note(self, text: str) -> None:
        """Tells something beside the result, on stderr."""
        print(text, file=sys.stderr)

    def raw(self, chunk: bytes) -> None:
        """Passes bytes on at once."""
        sys.stdout.write(chunk.decode(errors="replace"))
        sys.stdout.flush()


def reference(item: dict[str, Any]) -> str:
    """Returns `model.modelgallery.dev/NAME`, as kubectl names objects."""
    return f"{item['kind'].lower()}.{labels.GROUP}/{facts.name_of(item)}"


def shown(item: dict[str, Any]) -> dict[str, Any]:
    """Returns the object without the bookkeeping of field managers, as kubectl shows it."""
    meta = {key: value for key, value in item["metadata"].items() if key != "managedFields"}
    return {**item, "metadata": meta}
