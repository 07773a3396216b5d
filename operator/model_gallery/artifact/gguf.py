"""GGUF headers of others, read within bounds.

A header says how many of everything it has, and each of these numbers may lie. All of them are held
against a bound or against the file's size before anything is built or stepped over, so that the time is
linear in the bytes at hand. Token lists, nearly all of a header, are stepped over and never built.

Types of tensors that are not in our table are let pass with an unknown size: they are new with every
release of llama.cpp and its forks, and whoever loads the file knows better.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError

__all__ = ["MAX_HEADER_BYTES", "GgufFacts", "parse"]

MAX_HEADER_BYTES = 64 * 1024 * 1024
"""The largest known vocabularies make headers of 16 MiB."""
_MAX_PAIRS = 10_000
_MAX_TENSORS = 100_000
_MAX_ITEMS = 2_000_000
"""Texts and lists within lists, of all pairs: the only things that are stepped over one by one."""
_MAX_DEPTH = 4
_MAX_KEY_BYTES = 65_535
_MAX_NAME_BYTES = 1024
_MAX_DIMENSIONS = 8
_MAX_ELEMENTS = 2**63 - 1
_MAX_TEMPLATE_BYTES = 1024 * 1024
_MAX_SHOWN = 256
_DEFAULT_ALIGNMENT = 32

_VERSIONS = frozenset({2, 3})
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
_TEXT, _LIST = 8, 9
_NUMBERS = {
    kind: struct.Struct("<" + code)
    for kind, code in {
        **dict(enumerate("BbHhIif?")),
        **dict(enumerate("Qqd", start=10)),
    }.items()
}

_ARCHITECTURE, _NAME = b"general.architecture", b"general.name"
_FILE_TYPE, _ALIGNMENT = b"general.file_type", b"general.alignment"
_SPLIT_NO, _SPLIT_COUNT = b"split.no", b"split.count"
_SPLIT_TENSORS = b"split.tensors.count"
_CONTEXT_LENGTH = b".context_length"
_TEMPLATE = b"tokenizer.chat_template"
_KEPT = frozenset(
    {_ARCHITECTURE, _NAME, _FILE_TYPE, _ALIGNMENT, _SPLIT_NO, _SPLIT_COUNT, _SPLIT_TENSORS}
)

_SUSPICIOUS = re.compile(
    rb"__(?:class|mro|bases?|subclasses|init|globals|builtins|import|dict|code|getattribute"
    rb"|reduce(?:_ex)?|loader|spec|self|func|wrapped)__|\\x5f|\\u005f|\\137|\|\s*+attr\b",
    re.IGNORECASE,
)

# As in llama.h; what is not here was removed there, or is newer than this table.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M",
    18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S",
    25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M",
    32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0",
}  # fmt: skip
# As in ggml.h: name, elements of a block, bytes of a block.
_TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2),
    26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class GgufFacts:
    """What a header says about its model; texts are printable and at most 256 characters long.

    Attributes:
        architecture: such as `llama`; empty in all files of a split set but the first.
        name: empty where there is none.
        quantisation: such as `Q4_K_M`; empty where the file has no tensors and does not say.
        parameters: elements of all tensors of this file.
        context_length: in tokens; 0 where the file does not say.
        split_no: from 0.
        split_count: files of the split set; 0 where the file is whole.
        split_tensors: tensors of all files of the split set.
        chat_template_suspicious: whether a chat template reaches for Python's internals.
        tensors: tensors of this file.
    """

    architecture: str
    name: str
    quantisation: str
    parameters: int
    context_length: int
    split_no: int
    split_count: int
    split_tensors: int
    chat_template_suspicious: bool
    tensors: int


_Value = int | float | bytes | None


class _MoreNeededError(Exception):
    """The bytes at hand end before the header does."""


class _Head:
    """A place in a header, which only moves on after a look at what is there.

    Attributes:
        position: bytes that were read or stepped over.
    """

    __slots__ = ("_bytes", "_file_size", "_items", "_known", "position")

    def __init__(self, head: bytes, file_size: int) -> None:
        self._bytes = head
        self._file_size = file_size
        self._known = min(len(head), file_size, MAX_HEADER_BYTES)
        self._items = 0
        self.position = 0

    def step(self, count: int) -> int:
        """Steps over the bytes, and returns where they begin."""
        start = self.position
        end = start + count
        if end > self._known:
            raise self._missing(end)
        self.position = end
        return start

    def raw(self, count: int) -> bytes:
        """Returns the next bytes."""
        start = self.step(count)
        return self._bytes[start : start + count]

    def u32(self) -> int:
        """Returns the next number of four bytes."""
        value: int = _U32.unpack_from(self._bytes, self.step(4))[0]
        return value

    def u64(self) -> int:
        """Returns the next number of eight bytes."""
        value: int = _U64.unpack_from(self._bytes, self.step(8))[0]
        return value

    def name(self, limit: int, what: str) -> bytes:
        """Returns the next text, which must not be empty."""
        length = self.u64()
        if not 0 < length <= limit:
            raise _invalid(f"{what} has a length of {length} bytes, not 1 to {limit}")
        return self.raw(length)

    def value(self, kind: int) -> _Value:
        """Returns the next value; None for a list, which is stepped over."""
        if kind == _TEXT:
            return self.raw(self.u64())
        if kind in _NUMBERS:
            number: int | float = _NUMBERS[kind].unpack(self.raw(_NUMBERS[kind].size))[0]
            return number
        self.skip(kind)
        return None

    def skip(self, kind: int, depth: int = 0) -> None:
        """Steps over a value."""
        if kind in _NUMBERS:
            self.step(_NUMBERS[kind].size)
        elif kind == _TEXT:
            self.step(self.u64())
        elif kind == _LIST:
            self._skip_list(depth + 1)
        else:
            raise _invalid(f"a value has the unknown type {kind}")

    def _skip_list(self, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise _invalid(f"its lists are nested deeper than {_MAX_DEPTH} levels")
        kind, count = self.u32(), self.u64()
        if kind in _NUMBERS:
            self.step(_NUMBERS[kind].size * count)
            return
        self._items += count
        if self._items > _MAX_ITEMS:
            raise _invalid(f"its lists hold more than {_MAX_ITEMS} texts")
        if kind == _TEXT:
            self._skip_texts(count)
            return
        for _ in range(count):
            self.skip(kind, depth)

    def _skip_texts(self, count: int) -> None:
        head, position, last = self._bytes, self.position, self._known - 8
        unpack = _U64.unpack_from
        for _ in range(count):
            if position > last:
                raise self._missing(position + 8)
            position += 8 + unpack(head, position)[0]
        self.step(position - self.position)

    def _missing(self, end: int) -> Exception:
        if end > self._file_size:
            return _invalid(
                f"it is cut short: the header reaches byte {end}, the file has {self._file_size}"
            )
        if end > MAX_HEADER_BYTES:
            return _invalid(f"its header is larger than {MAX_HEADER_BYTES // 2**20} MiB")
        return _MoreNeededError()


def parse(head: bytes, file_size: int) -> GgufFacts | None:
    """Returns what the header says; None when more of the file's beginning is needed.

    Each call starts anew: whoever gets None doubles the head, up to MAX_HEADER_BYTES.

    Args:
        head: the file's first bytes.
        file_size: bytes of the whole file.

    Raises:
        StalledError: InvalidFormat, with what is wrong.
    """
    try:
        return _facts(_Head(head, file_size), file_size)
    except _MoreNeededError:
        return None


def _facts(head: _Head, file_size: int) -> GgufFacts:
    _check_version(head)
    count, pairs = head.u64(), head.u64()
    if count > _MAX_TENSORS:
        raise _invalid(f"it announces {count} tensors, at most {_MAX_TENSORS} are allowed")
    if pairs > _MAX_PAIRS:
        raise _invalid(f"it announces {pairs} key-value pairs, at most {_MAX_PAIRS} are allowed")
    kept = _metadata(head, pairs)
    alignment = _number(kept, _ALIGNMENT, _DEFAULT_ALIGNMENT)
    if alignment == 0 or alignment & (alignment - 1):
        raise _invalid(f"general.alignment is {alignment}, not a power of two")
    tensors = _tensors(head, count, alignment)
    _check_end(tensors, head.position + -head.position % alignment, file_size)
    split_no, split_count = _number(kept, _SPLIT_NO), _number(kept, _SPLIT_COUNT)
    if split_count and split_no >= split_count:
        raise _invalid(f"split.no is {split_no}, yet split.count is {split_count}")
    architecture = _text(kept, _ARCHITECTURE)
    return GgufFacts(
        architecture=_shown(architecture),
        name=_shown(_text(kept, _NAME)),
        quantisation=_quantisation(kept, tensors),
        parameters=tensors.parameters,
        context_length=_number(kept, architecture + _CONTEXT_LENGTH),
        split_no=split_no,
        split_count=split_count,
        split_tensors=_number(kept, _SPLIT_TENSORS),
        chat_template_suspicious=_suspicious(kept),
        tensors=count,
    )


def _check_version(head: _Head) -> None:
    magic = head.raw(4)
    if magic != b"GGUF":
        raise _invalid(f"it begins with {magic!r}")
    version = head.u32()
    if version and not version & 0xFFFF:
        raise _invalid("it is big endian, which no backend here reads")
    if version not in _VERSIONS:
        raise _invalid(f"its version is {version}, not 2 or 3")


def _metadata(head: _Head, count: int) -> dict[bytes, _Value]:
    """Returns the values that become facts; all others are stepped over."""
    seen: set[bytes] = set()
    kept: dict[bytes, _Value] = {}
    for _ in range(count):
        key = head.name(_MAX_KEY_BYTES, "a key")
        if key in seen:
            raise _invalid(f"the key {_shown(key)!r} is there twice")
        seen.add(key)
        kind = head.u32()
        if key in _KEPT or key.endswith(_CONTEXT_LENGTH) or key.startswith(_TEMPLATE):
            kept[key] = head.value(kind)
        else:
            head.skip(kind)
    return kept


@dataclass(slots=True)
class _Tensors:
    """Sums over all tensors.

    Attributes:
        sizes: bytes by type.
        end: end of the farthest tensor, from the beginning of the data.
        last: its name.
    """

    parameters: int
    sizes: dict[int, int]
    end: int
    last: bytes


def _tensors(head: _Head, count: int, alignment: int) -> _Tensors:
    result = _Tensors(parameters=0, sizes={}, end=0, last=b"")
    names: set[bytes] = set()
    for _ in range(count):
        name = head.name(_MAX_NAME_BYTES, "a tensor's name")
        if name in names:
            raise _invalid(f"the tensor {_shown(name)!r} is there twice")
        names.add(name)
        row, elements = _shape(head, name)
        kind, offset = head.u32(), head.u64()
        if offset % alignment:
            raise _invalid(f"tensor {_shown(name)!r} is not aligned to {alignment} bytes")
        size = _size(kind, row, elements, name)
        result.parameters += elements
        result.sizes[kind] = result.sizes.get(kind, 0) + size
        if offset + size >= result.end:
            result.end, result.last = offset + size, name
    return result


def _shape(head: _Head, name: bytes) -> tuple[int, int]:
    """Returns the elements of a row, and of the whole tensor."""
    dimensions = head.u32()
    if dimensions > _MAX_DIMENSIONS:
        raise _invalid(f"tensor {_shown(name)!r} has {dimensions} dimensions")
    row, elements = 1, 1
    for dimension in range(dimensions):
        length = head.u64()
        if dimension == 0:
            row = length
        elements *= length
        if length > _MAX_ELEMENTS or elements > _MAX_ELEMENTS:
            raise _invalid(f"tensor {_shown(name)!r} has more than {_MAX_ELEMENTS} elements")
    return row, elements


def _size(kind: int, row: int, elements: int, name: bytes) -> int:
    """Returns the bytes that a tensor has; 0 where the type is unknown."""
    if kind not in _TENSOR_TYPES:
        return 0
    type_name, block, block_bytes = _TENSOR_TYPES[kind]
    if row % block:
        raise _invalid(
            f"tensor {_shown(name)!r} has rows of {row} elements; {type_name} needs whole blocks of {block}"
        )
    return elements // block * block_bytes


def _check_end(tensors: _Tensors, start: int, file_size: int) -> None:
    if tensors.last and start + tensors.end > file_size:
        raise _invalid(
            f"tensor {_shown(tensors.last)!r} ends at byte {start + tensors.end},"
            f" the file has {file_size}"
        )


def _quantisation(kept: dict[bytes, _Value], tensors: _Tensors) -> str:
    said = _number(kept, _FILE_TYPE, -1)
    if said in _FILE_TYPES:
        return _FILE_TYPES[said]
    if not tensors.sizes:
        return ""
    kind = max(tensors.sizes, key=tensors.sizes.__getitem__)
    return _TENSOR_TYPES[kind][0] if kind in _TENSOR_TYPES else f"type {kind}"


def _suspicious(kept: dict[bytes, _Value]) -> bool:
    templates = [
        value
        for key, value in kept.items()
        if key.startswith(_TEMPLATE) and isinstance(value, bytes)
    ]
    if sum(map(len, templates)) > _MAX_TEMPLATE_BYTES:
        raise _invalid(f"its chat templates are larger than {_MAX_TEMPLATE_BYTES // 2**20} MiB")
    return any(_SUSPICIOUS.search(template) for template in templates)


def _number(kept: dict[bytes, _Value], key: bytes, default: int = 0) -> int:
    value = kept.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _invalid(f"{_shown(key)} is no whole number")
    if value < 0 and key in kept:
        raise _invalid(f"{_shown(key)} is {value}")
    return value


def _text(kept: dict[bytes, _Value], key: bytes) -> bytes:
    value = kept.get(key, b"")
    if not isinstance(value, bytes):
        raise _invalid(f"{_shown(key)} is no text")
    return value


def _shown(text: bytes) -> str:
    """Returns a text of others as messages and statuses may hold it."""
    decoded = text[: 4 * _MAX_SHOWN].decode(errors="replace")
    return "".join(filter(str.isprintable, decoded))[:_MAX_SHOWN]


def _invalid(problem: str) -> StalledError:
    return StalledError(Reason.INVALID_FORMAT, f"no valid GGUF file: {problem}")
