"""Reads the fields of small protobuf messages, out of bytes that nobody vouches for."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["MalformedError", "fields", "signed"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
_MAX_FIELDS = 1000
_BITS, _MORE, _LOW, _WIDTH = 7, 0x80, 0x7F, 64


class MalformedError(ValueError):
    """The bytes are no message."""


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yields number and value of each field: an int for a varint, else its bytes.

    Raises:
        MalformedError: with the field where the message breaks off or makes no sense.
    """
    position = count = 0
    while position < len(message):
        count += 1
        if count > _MAX_FIELDS:
            raise MalformedError("it has too many fields")
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if not number:
            raise MalformedError("a field has no number")
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        if kind == _BYTES:
            length, position = _varint(message, position)
        elif kind in _FIXED:
            length = _FIXED[kind]
        else:
            raise MalformedError("a field is of no kind that is in use")
        if length > len(message) - position:
            raise MalformedError("it breaks off")
        yield number, message[position : position + length]
        position += length


def signed(value: int) -> int:
    """Returns what an int32 or an enum means by a varint."""
    return value - (1 << _WIDTH) if value >> (_WIDTH - 1) else value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message) and shift < _WIDTH:
        byte = message[position]
        position += 1
        value |= (byte & _LOW) << shift
        if not byte & _MORE:
            return value & ((1 << _WIDTH) - 1), position
        shift += _BITS
    raise MalformedError("it breaks off")
