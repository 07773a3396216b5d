"""The format of the last good copy of an index: what the operator keeps and the plugin reads.

A copy is compressed JSON, split over ConfigMaps since each holds at most 1 MiB. The first one says the
format and how many there are.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Mapping
from typing import Any

__all__ = ["MAX_PARTS", "header", "index_text", "packed", "part_of", "parts_of", "unpacked"]

MAX_PARTS = 16
_FORMAT = "1"
_NUMBER = re.compile("[0-9]{1,9}")
_PART_BYTES = 700 * 1024
"""LocalAI's real index takes 0.5 MB compressed."""
_MAX_TEXT_BYTES = 64 * 1024 * 1024


def packed(document: Mapping[str, Any]) -> list[bytes]:
    """Returns the document's parts; more than `MAX_PARTS` must not be kept."""
    whole = zlib.compress(json.dumps(document).encode(), 6)
    return [whole[at : at + _PART_BYTES] for at in range(0, len(whole), _PART_BYTES)]


def header(parts: int) -> dict[str, str]:
    """Returns the `data` of the ConfigMaps of a copy."""
    return {"format": _FORMAT, "parts": str(parts)}


def parts_of(first: Mapping[str, Any]) -> int | None:
    """Returns how many ConfigMaps a copy has; None for a format of another version, or for none.

    Args:
        first: the ConfigMap of part 0.
    """
    data = first.get("data") or {}
    if data.get("format") != _FORMAT:
        return None
    parts = data.get("parts", "1")
    return min(int(parts), MAX_PARTS) if _NUMBER.fullmatch(parts) else None


def part_of(config_map: Mapping[str, Any]) -> bytes:
    """Returns the part that a ConfigMap holds."""
    return base64.b64decode((config_map.get("binaryData") or {}).get("index", ""))


def unpacked(whole: bytes) -> dict[str, Any]:
    """Returns the document of all parts in a row.

    Raises:
        ValueError: it is too large, or no JSON object.
        zlib.error: the bytes are damaged.
    """
    inflater = zlib.decompressobj()
    text = inflater.decompress(whole, _MAX_TEXT_BYTES)
    if inflater.unconsumed_tail:
        raise ValueError("the copy is too large")
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise ValueError("the copy is nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("the copy is no object")  # noqa: TRY004 - wrong bytes, not a wrong type
    return document


def index_text(document: Mapping[str, Any]) -> bytes:
    """Returns the index's text as it was fetched.

    Raises:
        KeyError: the document is no copy.
    """
    found = document["index"]
    text = found.get("text") if isinstance(found, dict) else None
    if not isinstance(text, str):
        raise KeyError("text")
    return text.encode("utf-8", "surrogateescape")
