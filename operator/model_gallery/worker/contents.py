"""Looks into files before they are published: what they are, and whether they may be here.

Contents decide, not names. Under safe formats a file that can carry code is refused, and so is one whose
header does not hold; otherwise headers are read for what they tell only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from model_gallery.api.conditions import Reason
from model_gallery.artifact import formats, gguf, safetensors
from model_gallery.artifact.formats import Format
from model_gallery.artifact.gguf import GgufFacts
from model_gallery.artifact.safetensors import SafetensorsFacts
from model_gallery.errors import StalledError
from model_gallery.protocol.report import ModelFacts

__all__ = ["Contents", "ReadAt", "check_complete"]

_Facts = TypeVar("_Facts")
ReadAt = Callable[[int, memoryview], int]
"""Fills the buffer from an offset of the file on; returns how many bytes came."""

_FIRST_LOOK = 1024 * 1024
_MAX_CONFIG_BYTES = 8 * 1024 * 1024
_INDEX = ".safetensors.index.json"
_CONFIG = "config.json"


def check_complete(paths: Collection[str]) -> None:
    """Refuses split sets that lack files, before a byte is fetched.

    Raises:
        StalledError: InvalidFormat, naming the first missing file.
    """
    missing = formats.split_set(paths)
    if missing:
        raise StalledError(
            Reason.INVALID_FORMAT,
            f"{missing[0]!r} is missing from a split model ({len(missing)} in all); name all files",
        )


@dataclass(slots=True)
class Contents:
    """The contents of one plan. `look` may be called from several threads.

    Attributes:
        safe: whether files that can carry code are refused.
    """

    safe: bool
    _gguf: dict[str, GgufFacts] = field(default_factory=dict)
    _safetensors: dict[str, SafetensorsFacts] = field(default_factory=dict)
    _sizes: dict[str, int] = field(default_factory=dict)
    _needed: dict[str, frozenset[str]] = field(default_factory=dict)
    _config: Mapping[str, object] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def look(self, path: str, size: int, read_at: ReadAt) -> None:
        """Looks into one file.

        Raises:
            StalledError: UnsafeFormat or InvalidFormat, naming the file.
        """
        head = _read(read_at, min(size, formats.HEAD_BYTES))
        kind = formats.sniff(head, path)
        if self.safe:
            self._refuse_code(path, kind)
        try:
            self._learn(path, size, kind, read_at)
        except StalledError as error:
            if self.safe:
                raise _refused(error.reason, f"{path} is {error.message}") from error

    def check_indexes(self, paths: Collection[str]) -> None:
        """Refuses a safetensors index that names files which are not part of the plan.

        Raises:
            StalledError: InvalidFormat, naming the first missing file.
        """
        there = set(paths)
        for index, names in sorted(self._needed.items()):
            folder = index.rpartition("/")[0]
            wanted = {f"{folder}/{name}" if folder else name for name in names}
            missing = sorted(wanted - there)
            if missing:
                raise StalledError(
                    Reason.INVALID_FORMAT,
                    f"{index} names {missing[0]!r}, which is not part of the source"
                    f" ({len(missing)} files missing in all)",
                )

    def facts(self) -> ModelFacts | None:
        """Returns what the weights say; of several models in one plan, the largest counts."""
        if self._gguf:
            return self._gguf_facts()
        if self._safetensors:
            return self._safetensors_facts()
        return None

    def _refuse_code(self, path: str, kind: Format) -> None:
        reason = formats.carries_code(kind, path)
        if reason:
            raise _refused(Reason.UNSAFE_FORMAT, f"{path} is {reason}")

    def _learn(self, path: str, size: int, kind: Format, read_at: ReadAt) -> None:
        name = path.rpartition("/")[2]
        if kind is Format.GGUF:
            self._keep(self._gguf, path, _gguf_header(size, read_at), size)
        elif kind is Format.SAFETENSORS:
            self._keep(self._safetensors, path, _safetensors_header(size, read_at), size)
        elif name.endswith(_INDEX):
            names = safetensors.parse_index(_read(read_at, min(size, safetensors.MAX_INDEX_BYTES)))
            with self._lock:
                self._needed[path] = names
        elif kind is Format.JSON and name.endswith(_CONFIG):
            self._learn_config(path, name, _read(read_at, min(size, _MAX_CONFIG_BYTES)))
        elif name.lower().endswith((".gguf", ".safetensors")):
            raise StalledError(Reason.INVALID_FORMAT, f"not what its name says, but {kind.value}")

    def _keep(self, known: dict[str, _Facts], path: str, facts: _Facts, size: int) -> None:
        with self._lock:
            known[path], self._sizes[path] = facts, size

    def _learn_config(self, path: str, name: str, content: bytes) -> None:
        if self.safe and (reason := formats.custom_code(path, content)):
            raise _refused(Reason.UNSAFE_FORMAT, f"{path} {reason}")
        if name == _CONFIG:
            self._config = formats.bounded_json(content, "a configuration")

    def _gguf_facts(self) -> ModelFacts:
        path = max(self._gguf, key=lambda one: (self._sizes[one], one))
        largest = self._gguf[path]
        files = [largest]
        if largest.split_count:
            files = [facts for facts in self._gguf.values() if facts.split_count]
        first = next((facts for facts in files if facts.architecture), largest)
        return ModelFacts(
            format="GGUF",
            architecture=first.architecture or None,
            quantisation=first.quantisation or largest.quantisation or None,
            parameters=sum(facts.parameters for facts in files) or None,
            context_length=first.context_length or None,
        )

    def _safetensors_facts(self) -> ModelFacts:
        facts = list(self._safetensors.values())
        architecture, length = self._config.get("model_type"), None
        for key in ("max_position_embeddings", "n_positions", "max_sequence_length"):
            value = self._config.get(key)
            if isinstance(value, int) and 0 < value < 2**53:
                length = value
                break
        return ModelFacts(
            format="Safetensors",
            architecture=architecture[:64] if isinstance(architecture, str) else None,
            quantisation=max(facts, key=lambda one: one.parameters).dtype or None,
            parameters=sum(one.parameters for one in facts) or None,
            context_length=length,
        )


def _gguf_header(size: int, read_at: ReadAt) -> GgufFacts:
    length = _FIRST_LOOK
    while True:
        facts = gguf.parse(_read(read_at, min(length, size)), size)
        if facts is not None:
            return facts
        length *= 2


def _safetensors_header(size: int, read_at: ReadAt) -> SafetensorsFacts:
    length = safetensors.header_length(_read(read_at, min(size, 8)))
    facts = safetensors.parse_header(_read(read_at, min(length, size)), size)
    if facts is None:
        raise StalledError(Reason.INVALID_FORMAT, "no valid safetensors file: it is cut short")
    return facts


def _read(read_at: ReadAt, length: int) -> bytes:
    buffer = memoryview(bytearray(length))
    done = 0
    while done < length and (count := read_at(done, buffer[done:])):
        done += count
    return bytes(buffer[:done])


def _refused(reason: Reason, problem: str) -> StalledError:
    return StalledError(
        reason,
        f"{problem}; policy.formats is Safe, by the Gallery or the Model (Any would take it)",
    )
