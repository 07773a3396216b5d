"""Digests: the only importer of hashlib, so that no second way of hashing grows anywhere."""

from __future__ import annotations

import hashlib  # noqa: TID251 - this is the one door
import hmac
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "GitBlob",
    "Sha256",
    "canonical_json",
    "hmac_sha256",
    "is_sha256",
    "sha256_of_bytes",
    "sha256_of_value",
    "short",
]

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class Sha256:
    """A running sha256. `update` releases the interpreter lock for buffers over 2 KiB."""

    __slots__ = ("_state",)

    def __init__(self) -> None:
        self._state = hashlib.sha256()

    def update(self, data: Buffer) -> None:
        """Takes the next bytes, in file order."""
        self._state.update(data)

    def hexdigest(self) -> str:
        """Returns 64 lower-case hex digits of all bytes so far."""
        return self._state.hexdigest()


class GitBlob:
    """A running git blob id: sha1 over `blob <size>`, a zero byte and the content."""

    __slots__ = ("_state",)

    def __init__(self, size_bytes: int) -> None:
        header = f"blob {size_bytes}\0".encode()
        # The id that git promises is a sha1; it is compared, not relied on against attackers.
        self._state = hashlib.sha1(header, usedforsecurity=False)

    def update(self, data: Buffer) -> None:
        """Takes the next bytes, in file order."""
        self._state.update(data)

    def hexdigest(self) -> str:
        """Returns 40 lower-case hex digits."""
        return self._state.hexdigest()


def is_sha256(text: str) -> bool:
    """Whether the text is a sha256 in our one form: 64 lower-case hex digits."""
    return _SHA256.match(text) is not None


def sha256_of_bytes(data: bytes) -> str:
    """Returns the hex digest of the bytes."""
    return hashlib.sha256(data).hexdigest()


def hmac_sha256(key: bytes, data: bytes) -> bytes:
    """Returns the keyed digest of the data."""
    return hmac.digest(key, data, "sha256")


def canonical_json(value: Any) -> str:
    """Returns the one JSON text of a value: sorted keys, no spaces, so that equal is equal."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sha256_of_value(value: Any) -> str:
    """Returns the hex digest of a JSON value, independent of key order."""
    return sha256_of_bytes(canonical_json(value).encode())


def short(hexdigest: str) -> str:
    """Returns the first 12 digits, for messages."""
    return hexdigest[:12]
