"""What a file is, by its first bytes, and whether loading it would run code.

Loaders that unpickle (torch, joblib, numpy, Keras and their kin) run what the file says. The check is
no analysis of what it would run: nothing that such a loader would take is let through. Names count only
where content cannot tell: between kinds of text, and for the names that such loaders are given.

A pickle may begin like another format. Where that can be, under the names above, either the format is
refused (safetensors, images), or it must be read as well: `gguf.parse` refuses what would also be one.
"""

from __future__ import annotations

import json
import pickletools
import re
from collections.abc import Collection
from enum import StrEnum
from typing import Any

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError

__all__ = [
    "HEAD_BYTES",
    "Format",
    "bounded_json",
    "carries_code",
    "custom_code",
    "sniff",
    "split_set",
]

HEAD_BYTES = 64 * 1024
"""What `sniff` looks at; it needs no more, and is less sure with less."""
_MAX_MARKS = 2_000_000
"""Commas and opening brackets: a bound on the objects that a JSON text becomes."""
_MAX_SPLITS = 1_000
_MAX_SAFETENSORS_HEADER = 100_000_000


class Format(StrEnum):
    """What a file is."""

    GGUF = "Gguf"
    GGML = "Ggml"
    """The formats before GGUF; whisper.cpp's models are still of this kind."""
    SAFETENSORS = "Safetensors"
    ONNX = "Onnx"
    NUMPY = "Numpy"
    """An array of numbers; one of objects is a pickle."""
    PICKLE = "Pickle"
    TORCH_ZIP = "TorchZip"
    ZIP = "Zip"
    TAR = "Tar"
    GZIP = "Gzip"
    SEVEN_ZIP = "SevenZip"
    ARCHIVE = "Archive"
    """Another archive or compressed stream: xz, bzip2, zstd, lz4, rar."""
    ELF = "Elf"
    MACH_O = "MachO"
    PE = "Pe"
    """Also what begins so: llamafiles."""
    SCRIPT = "Script"
    HTML = "Html"
    LFS_POINTER = "LfsPointer"
    JSON = "Json"
    YAML = "Yaml"
    TEXT = "Text"
    IMAGE = "Image"
    EMPTY = "Empty"
    UNKNOWN = "Unknown"


_PREFIXES = (
    (Format.GGML, (b"lmgg", b"fmgg", b"tjgg", b"algg")),
    (Format.GZIP, (b"\x1f\x8b",)),
    (Format.SEVEN_ZIP, (b"7z\xbc\xaf\x27\x1c",)),
    (
        Format.ARCHIVE,
        (b"\xfd7zXZ\0", b"BZh", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"Rar!\x1a\x07"),
    ),
    (Format.ELF, (b"\x7fELF",)),
    (
        Format.MACH_O,
        (
            b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe",
            b"\xca\xfe\xba\xbe", b"\xbe\xba\xfe\xca", b"\xca\xfe\xba\xbf", b"\xbf\xba\xfe\xca",
        ),
    ),
    (Format.SCRIPT, (b"#!", b"\xef\xbb\xbf#!")),
    (Format.IMAGE, (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")),
)  # fmt: skip
_GGUF = re.compile(rb"GGUF(?:[\x00-\x03]|\Z)")
_ZIP_PREFIXES = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_HTML_PREFIXES = (b"<!doctype html", b"<html", b"<head", b"<body")
_ONNX = re.compile(rb"\x08[\x01-\x3f][\x12\x1a\x22\x28\x32\x3a\x42\x72]")
_PLAIN_ARRAY = re.compile(
    rb"\{'descr': '[<>|=]?[?biufcSU]\d*', 'fortran_order': (?:True|False),"
    rb" 'shape': \([\dL, ]*\),? ?\}\s*"
)
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")

_JSON_SUFFIXES = (".json", ".jsonl", ".ipynb")
_YAML_SUFFIXES = (".yaml", ".yml")
_TEXT_SUFFIXES = (*_JSON_SUFFIXES, *_YAML_SUFFIXES, ".txt", ".md", ".csv", ".tsv", ".jinja")
_PROGRAM = re.compile(r".*\.(?:py|pyc|pyd|pyw|so(?:\.\d+)*|dylib|dll|exe|bat|ps1|sh|jar|llamafile)")
_UNPICKLED = (
    ".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".dill", ".npy", ".npz",
    ".h5", ".hdf5", ".keras", ".pb", ".pdparams", ".mar", ".nemo",
)  # fmt: skip
_FIT_FOR_UNPICKLED = frozenset(
    {
        Format.GGUF, Format.GGML, Format.ONNX, Format.NUMPY, Format.JSON,
        Format.HTML, Format.LFS_POINTER, Format.EMPTY,
    }
)  # fmt: skip
_CODE = {
    Format.PICKLE: "a pickle, which runs code when loaded",
    Format.TORCH_ZIP: "a torch archive with a pickle, which runs code when loaded",
    Format.ZIP: "a zip archive, which may hold code",
    Format.TAR: "a tar archive, which may hold code",
    Format.GZIP: "a gzip stream, which may hold code",
    Format.SEVEN_ZIP: "a 7z archive, which may hold code",
    Format.ARCHIVE: "a compressed archive, which may hold code",
    Format.ELF: "a program (ELF)",
    Format.MACH_O: "a program (Mach-O)",
    Format.PE: "a program (PE, or a llamafile)",
    Format.SCRIPT: "a script",
}

_OPERANDS = {ord(code.code): code.arg.n if code.arg else 0 for code in pickletools.opcodes}
_PUSHES = frozenset(
    ord(code.code)
    for code in pickletools.opcodes
    if len(code.stack_after) > len(code.stack_before) or code.name == "STACK_GLOBAL"
)
_CALLS = frozenset(
    ord(code.code)
    for code in pickletools.opcodes
    if code.name in {"REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"}
)
_GLOBALS = frozenset(
    ord(code.code)
    for code in pickletools.opcodes
    if code.name in {"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}
)
_TWO_LINES = frozenset(b"ci")
_LENGTH_BYTES = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_PROTOCOL = re.compile(rb"\x80[\x00-\x05](?s:.)")
_IMPORTED = re.compile(rb"[^\s]+\n[^\s]+\n")
"""No module or name with a space can be imported; prose has them."""

_SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>(?i:\.gguf))")
_AUTO_MAP = re.compile(rb'"auto_map"\s*+:\s*+(?!\{\s*+\}|null)')
_ESCAPED = re.compile(rb"\\u00([57][0-9a-f]|6[0-9a-f])", re.IGNORECASE)


def sniff(head: bytes, name: str) -> Format:
    """Returns what the file is that begins with the bytes.

    Args:
        head: the first HEAD_BYTES of the file, or all of it.
        name: tells kinds of text apart.
    """
    head, name = head[:HEAD_BYTES], name.lower()
    if not head:
        return Format.EMPTY
    is_text = _is_text(head)
    if _calls_as_pickle(head) and not (is_text and name.endswith(_TEXT_SUFFIXES)):
        return Format.PICKLE
    by_prefix = _prefix_kind(head)
    if by_prefix:
        return by_prefix
    return _text_kind(head, name) if is_text else _binary_kind(head)


def carries_code(kind: Format, name: str) -> str:
    """Returns what makes the file run code, as the end of "the file is ..."; empty if nothing does.

    Args:
        kind: what `sniff` returned.
        name: the file's name or path.
    """
    name = name.lower()
    if kind in _CODE:
        return _CODE[kind]
    if _PROGRAM.fullmatch(name.rpartition("/")[2]):
        return "a program, by its name"
    if name.endswith(_UNPICKLED) and kind not in _FIT_FOR_UNPICKLED:
        return "no known weights format, under a name that loaders unpickle"
    return ""


def custom_code(name: str, content: bytes) -> str:
    """Returns what makes a configuration run code, as the end of "the file ..."; empty if nothing does.

    The text is searched and not parsed: a second key of the same name or a syntax error hides nothing.

    Args:
        name: the file's name or path; only those that transformers reads are looked into.
        content: all of the file.
    """
    if not name.rpartition("/")[2].lower().endswith("config.json"):
        return ""
    plain = _ESCAPED.sub(lambda match: bytes([int(match[1], 16)]), content)
    if _AUTO_MAP.search(plain):
        return "has an auto_map, which makes transformers run code that comes with the model"
    return ""


def split_set(names: Collection[str]) -> list[str]:
    """Returns the files that sets such as `x-00001-of-00003.gguf` lack, sorted.

    Raises:
        StalledError: InvalidFormat, where a name announces more than 1000 files.
    """
    missing: set[str] = set()
    for stem, count, suffix in set(filter(None, map(_split, names))):
        missing.update(f"{stem}-{n:05}-of-{count:05}{suffix}" for n in range(1, count + 1))
    return sorted(missing.difference(names))


def bounded_json(text: bytes, what: str) -> dict[str, Any]:
    """Returns the JSON object that the text is, of bounded size, with no key twice.

    Args:
        what: what the text is, for messages.

    Raises:
        StalledError: InvalidFormat, with what is wrong.
    """
    if sum(map(text.count, (b",", b"[", b"{"))) > _MAX_MARKS:
        raise StalledError(Reason.INVALID_FORMAT, f"{what} has more than {_MAX_MARKS} values")
    try:
        value = json.loads(text.decode(), object_pairs_hook=_unique)
    except RecursionError as error:
        raise StalledError(Reason.INVALID_FORMAT, f"{what} is nested too deeply") from error
    except ValueError as error:
        problem = str(error)[:200]
        raise StalledError(Reason.INVALID_FORMAT, f"{what} is no JSON: {problem}") from error
    if not isinstance(value, dict):
        raise StalledError(Reason.INVALID_FORMAT, f"{what} is no JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key[:100]!r} is there twice")
        result[key] = value
    return result


def _split(name: str) -> tuple[str, int, str] | None:
    match = _SPLIT.fullmatch(name)
    if not match:
        return None
    count = int(match["count"])
    if count > _MAX_SPLITS:
        raise StalledError(
            Reason.INVALID_FORMAT,
            f"{name[:200]!r} announces {count} files, at most {_MAX_SPLITS} are allowed",
        )
    return match["stem"], count, match["suffix"]


def _is_text(head: bytes) -> bool:
    """Whether the bytes are UTF-8 without control characters, up to a character cut at the end."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:
            return False
        text = head[: error.start].decode()
    return not _NO_TEXT.search(text)


def _prefix_kind(head: bytes) -> Format | None:
    for found, prefixes in _PREFIXES:
        if head.startswith(prefixes):
            return found
    if _GGUF.match(head):
        return Format.GGUF
    if _start(head)[:16].lower().startswith(_HTML_PREFIXES):
        return Format.HTML
    return None


def _start(head: bytes) -> bytes:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()


def _text_kind(head: bytes, name: str) -> Format:
    start = _start(head)
    if start.startswith(b"version https://git-lfs"):
        return Format.LFS_POINTER
    if name.endswith(_JSON_SUFFIXES) and start.startswith((b"{", b"[")):
        return Format.JSON
    if name.endswith(_YAML_SUFFIXES):
        return Format.YAML
    return Format.TEXT


def _binary_kind(head: bytes) -> Format:  # noqa: PLR0911 - one return per format reads as a list
    if head.startswith(_ZIP_PREFIXES):
        return Format.TORCH_ZIP if b"data.pkl" in head else Format.ZIP
    if head.startswith(b"MZ"):
        return Format.PE
    if _is_safetensors(head):
        return Format.SAFETENSORS
    if head.startswith(b"\x93NUMPY"):
        return _array_kind(head)
    if _PROTOCOL.match(head) and head[2] in _OPERANDS:
        return Format.PICKLE
    if _ONNX.match(head):
        return Format.ONNX
    if _is_tar(head):
        return Format.TAR
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return Format.IMAGE
    return Format.UNKNOWN


def _is_safetensors(head: bytes) -> bool:
    length = int.from_bytes(head[:8], "little")
    return 0 < length <= _MAX_SAFETENSORS_HEADER and head[8:9] == b"{"


def _array_kind(head: bytes) -> Format:
    size = 2 if head[6:7] == b"\x01" else 4
    start = 8 + size
    end = start + int.from_bytes(head[8:start], "little")
    plain = _PLAIN_ARRAY.fullmatch(head[start:end])
    return Format.NUMPY if plain and end <= len(head) else Format.PICKLE


def _is_tar(head: bytes) -> bool:
    """Whether there is a tar header: by its magic, or, in the oldest kind, by its sum."""
    if head[257:262] == b"ustar":
        return True
    stored = head[148:156].strip(b" \0")
    if len(head) < 512 or not re.fullmatch(rb"[0-7]{1,6}", stored):  # noqa: PLR2004
        return False
    return int(stored, 8) == sum(head[:148]) + 8 * ord(" ") + sum(head[156:512])


def _calls_as_pickle(head: bytes) -> bool:
    """Whether an unpickler, started at the first byte, would come to call something.

    Pickles of the old protocols have no magic, and those of the new ones work without theirs.
    """
    position, pushed, found, marked = 0, 0, False, False
    while position < len(head):
        code = head[position]
        if code not in _OPERANDS or code == ord("."):
            return False
        operand_end = _operand_end(head, position + 1, code)
        if code in _TWO_LINES and not _IMPORTED.fullmatch(head, position + 1, operand_end):
            return False
        found = found or code in _GLOBALS
        if code in _CALLS and found and (marked if code in _TWO_LINES else pushed > 1):
            return True
        pushed += code in _PUSHES
        marked = marked or code == ord("(")
        position = operand_end
    return False


def _operand_end(head: bytes, position: int, code: int) -> int:
    size = _OPERANDS[code]
    if size == pickletools.UP_TO_NEWLINE:
        for _ in range(2 if code in _TWO_LINES else 1):
            position = head.find(b"\n", position) + 1 or len(head)
        return position
    if size in _LENGTH_BYTES:
        length_end = position + _LENGTH_BYTES[size]
        return length_end + int.from_bytes(head[position:length_end], "little")
    return position + size
