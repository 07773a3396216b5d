"""The base of what travels as JSON between our own processes, and of what lies on the volume.

msgspec and not pydantic, whose import took a third of a worker's start: docs/decisions/0016.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

__all__ = ["MalformedError", "Message", "decoded", "to_json"]

_T = TypeVar("_T")
_MAX_PROBLEM = 500


class MalformedError(ValueError):
    """A text that is not what it should be; the message names the place."""


class Message(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One message. Its names are in camel case on the wire; what a reader does not know it ignores."""


def to_json(message: Message) -> str:
    """Returns the JSON text of one line, with all fields."""
    return msgspec.json.encode(message).decode()


def decoded(decoder: msgspec.json.Decoder[_T], text: str | bytes) -> _T:
    """Returns what the JSON text says.

    Raises:
        MalformedError: it is no JSON, or not what the decoder wants.
    """
    try:
        return decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MalformedError(str(error)[:_MAX_PROBLEM]) from error
