"""Safetensors headers and their index files, read within bounds.

The checks are those of the reference reader (huggingface/safetensors): tensors lie one after the other
from the first byte of the data to the file's last, without gap or overlap, so that nothing else can
hide in the file. A type that the reference reader does not know is refused, as it does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_gallery.api.conditions import Reason
from model_gallery.artifact.formats import bounded_json
from model_gallery.artifact.path import ArtifactPath
from model_gallery.errors import StalledError

__all__ = [
    "MAX_HEADER_BYTES",
    "MAX_INDEX_BYTES",
    "SafetensorsFacts",
    "header_length",
    "parse_header",
    "parse_index",
]

MAX_HEADER_BYTES = 100_000_000
"""The bound of the reference reader."""
MAX_INDEX_BYTES = 32 * 1024 * 1024
"""The index of the largest known models has 10 MB."""
_MAX_TENSORS = 100_000
_MAX_FILES = 10_000
_MAX_NUMBER = 2**63 - 1
_LENGTH_BYTES = 8
_SUFFIX = ".safetensors"
_INDEX = "model.safetensors.index.json"
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,32}\Z")

_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32,
    "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SafetensorsFacts:
    """What a header says about its file.

    Attributes:
        parameters: elements of all tensors, as they are stored: packed weights count once per pack.
        dtype: the type that most bytes have; empty where there are no tensors.
        tensors: how many there are.
        format: the framework that wrote the file (`pt`, `tf`, ...); empty where it does not say.
    """

    parameters: int
    dtype: str
    tensors: int
    format: str


@dataclass(frozen=True, slots=True)
class _Tensor:
    start: int
    end: int
    elements: int
    dtype: str
    name: str


def header_length(head: bytes) -> int:
    """Returns how many of the file's first bytes `parse_header` needs, by what is at hand.

    Raises:
        StalledError: InvalidFormat, where no header has this length.
    """
    if len(head) < _LENGTH_BYTES:
        return _LENGTH_BYTES
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    if not 0 < length <= MAX_HEADER_BYTES:
        raise _invalid(f"its header has {length} bytes, not 1 to {MAX_HEADER_BYTES}")
    return _LENGTH_BYTES + length


def parse_header(head: bytes, file_size: int) -> SafetensorsFacts | None:
    """Returns what the header says; None when more is needed (`header_length` says how much).

    Args:
        head: the file's first bytes.
        file_size: bytes of the whole file.

    Raises:
        StalledError: InvalidFormat, with what is wrong.
    """
    needed = header_length(head)
    if needed > file_size:
        raise _invalid(
            f"it is cut short: the header reaches byte {needed}, the file has {file_size}"
        )
    if needed > len(head):
        return None
    text = head[_LENGTH_BYTES:needed]
    if not text.startswith(b"{"):
        raise _invalid("its header does not begin with {")
    fields = bounded_json(text, "no valid safetensors file: its header")
    metadata = fields.pop("__metadata__", {})
    if len(fields) > _MAX_TENSORS:
        raise _invalid(f"it has {len(fields)} tensors, at most {_MAX_TENSORS} are allowed")
    tensors = [_tensor(name, value) for name, value in fields.items()]
    _check_offsets(tensors, file_size - needed)
    return SafetensorsFacts(
        parameters=sum(tensor.elements for tensor in tensors),
        dtype=_majority(tensors),
        tensors=len(tensors),
        format=_format(metadata),
    )


def parse_index(text: bytes) -> frozenset[str]:
    """Returns the names of the files that a model.safetensors.index.json spreads its tensors over.

    Raises:
        StalledError: InvalidFormat where the text is no index; UnsafePath where a name is not that of a
            safetensors file beside the index.
    """
    if len(text) > MAX_INDEX_BYTES:
        raise _bad_index(f"is larger than {MAX_INDEX_BYTES // 2**20} MiB")
    weight_map = bounded_json(text, _INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise _bad_index("has no weight_map")
    names = weight_map.values()
    if not all(isinstance(name, str) for name in names):
        raise _bad_index("has a weight_map with values that are no text")
    files = frozenset(names)
    if len(files) > _MAX_FILES:
        raise _bad_index(f"names {len(files)} files, at most {_MAX_FILES} are allowed")
    for name in files:
        _check_file_name(name)
    return files


def _check_file_name(name: str) -> None:
    ArtifactPath.parse(name)
    if "/" in name or ".." in name or not name.endswith(_SUFFIX):
        raise StalledError(
            Reason.UNSAFE_PATH,
            f"{_INDEX} names {name[:200]!r}, which is no {_SUFFIX} file beside it",
        )


def _tensor(name: str, value: Any) -> _Tensor:
    if not isinstance(value, dict):
        raise _invalid(f"tensor {name[:200]!r} is no JSON object")
    dtype, offsets = value.get("dtype"), value.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in _BITS:
        shown = dtype[:40] if isinstance(dtype, str) else None
        raise _invalid(f"tensor {name[:200]!r} has the unknown dtype {shown!r}")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_length, offsets)):  # noqa: PLR2004
        raise _invalid(f"tensor {name[:200]!r} has data_offsets that are not two lengths")
    start, end = offsets
    elements = _elements(value.get("shape"), name)
    if elements * _BITS[dtype] != (end - start) * 8:
        raise _invalid(
            f"tensor {name[:200]!r} has {elements} elements of {dtype} in {end - start} bytes"
        )
    return _Tensor(start, end, elements, dtype, name)


def _elements(shape: Any, name: str) -> int:
    if not isinstance(shape, list) or not all(map(_is_length, shape)):
        raise _invalid(f"tensor {name[:200]!r} has a shape that is no list of lengths")
    elements = 1
    for length in shape:
        elements *= length
        if elements > _MAX_NUMBER:
            raise _invalid(f"tensor {name[:200]!r} has more than {_MAX_NUMBER} elements")
    return elements


def _is_length(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_NUMBER


def _check_offsets(tensors: list[_Tensor], data_size: int) -> None:
    position = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.start, tensor.end)):
        if tensor.start != position:
            kind = "a gap before" if tensor.start > position else "an overlap with"
            raise _invalid(f"its data has {kind} tensor {tensor.name[:200]!r}")
        position = tensor.end
    if position != data_size:
        raise _invalid(f"its tensors end at byte {position} of the data, which has {data_size}")


def _majority(tensors: list[_Tensor]) -> str:
    sizes: dict[str, int] = {}
    for tensor in tensors:
        sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.end - tensor.start
    return max(sizes, key=sizes.__getitem__, default="")


def _format(metadata: Any) -> str:
    if not isinstance(metadata, Mapping) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise _invalid("its __metadata__ is no JSON object of texts")
    said = metadata.get("format", "")
    return said if _WORD.match(said) else ""


def _invalid(problem: str) -> StalledError:
    return StalledError(Reason.INVALID_FORMAT, f"no valid safetensors file: {problem}")


def _bad_index(problem: str) -> StalledError:
    return StalledError(Reason.INVALID_FORMAT, f"{_INDEX} {problem}")
