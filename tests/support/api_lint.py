"""The API-type linter, in the spirit of the field's: rules over the generated schemas.

A1 strings, lists, maps and numbers are bounded. A2 no float, no nullable. A3 no map of objects. A4 names
are camelCase. A5 every field is described. A6 conditions are a list keyed by type. A7 enums are CamelCase.
"""

from __future__ import annotations

import re
from typing import Any

_CAMEL = re.compile(r"[a-z][A-Za-z0-9]*\Z")
_ENUM = re.compile(r"[A-Z][A-Za-z0-9]*\Z")


def problems(schema: dict[str, Any], path: str = "") -> list[str]:
    """Returns the broken rules of a node and all below it."""
    broken = _bounds(schema, path) + _shape(schema, path)
    for name, part in (schema.get("properties") or {}).items():
        here = f"{path}.{name}"
        if not _CAMEL.match(name):
            broken.append(f"A4 {here}")
        if not part.get("description"):
            broken.append(f"A5 {here}")
        if name == "conditions" and part.get("x-kubernetes-list-map-keys") != ["type"]:
            broken.append(f"A6 {here}")
        broken += problems(part, here)
    if "items" in schema:
        broken += problems(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        broken += problems(schema["additionalProperties"], f"{path}{{}}")
    return broken


def _bounds(schema: dict[str, Any], path: str) -> list[str]:
    kind = schema.get("type")
    free = schema.get("x-kubernetes-preserve-unknown-fields")
    bounded = {
        "string": "maxLength" in schema or "enum" in schema,
        "array": "maxItems" in schema,
        "integer": {"minimum", "maximum"} <= schema.keys(),
        "object": "maxProperties" in schema or not (free or "additionalProperties" in schema),
        "boolean": True,
    }
    return [] if bounded.get(kind, False) else [f"A1 {path}: {kind}"]


def _shape(schema: dict[str, Any], path: str) -> list[str]:
    broken = []
    if schema.get("type") == "number" or schema.get("nullable"):
        broken.append(f"A2 {path}")
    values = schema.get("additionalProperties")
    if isinstance(values, dict) and values.get("type") == "object":
        broken.append(f"A3 {path}")
    broken += [f"A7 {path}: {value}" for value in schema.get("enum", ()) if not _ENUM.match(value)]
    return broken
