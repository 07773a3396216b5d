"""What the origin serves for a path, computed and never stored.

    /gen/<size>/<seed>/<name>    size bytes that follow from the seed; size may end in Ki, Mi or Gi
    /small/<anything>            a few KiB that follow from the path
    /hf/tiny/llama-<seed>/resolve/<revision>/<name>.gguf    a real model (make_gguf.py)
    /real/<name>.gguf            real models of three sizes (REAL), for backends that run
    /hf/api/models/tiny/llama-<seed>/...    what the Hub's API says of it: one commit, three files
    /<anything else>             a file of the served folder, or one that was uploaded

A test imports this module to know the digest of what the origin will send; the server imports it to
send it. Standard library only: it runs in a pod from a ConfigMap.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from bisect import bisect
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import accumulate

from make_gguf import gguf, one_tensor, pieces

BLOCK = 1 << 20
_UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_MODEL = re.compile(r"/hf/tiny/llama-(\d+)/resolve/[^/]+/[^/]+\.gguf")
_REVISION = re.compile(r"/hf/api/models/tiny/llama-(\d+)/revision/[^/]+")
_TREE = re.compile(r"/hf/api/models/tiny/llama-(\d+)/tree/[0-9a-f]{40}")
_BESIDE = re.compile(r"/hf/tiny/llama-\d+/resolve/[^/]+/(README\.md|load\.py)")
_REAL = re.compile(r"/real/(\w+)\.gguf")
_GENERATED = re.compile(r"/gen/(\d+)(|Ki|Mi|Gi)/(\w+)/[^/]+")

REAL = {"tiny": (64, 2), "busy": (512, 8), "large": (512, 48)}
"""Width and number of equal layers: 0.4 MB to load at once, 77 MB that are busy for seconds over some
hundred tokens, and 456 MB that take a moment to load."""


@dataclass(frozen=True, slots=True)
class Generated:
    """Bytes that follow from a seed: one random block, each repetition marked with its number."""

    size: int
    seed: str

    @property
    def etag(self) -> str:
        return f'"gen-{self.size}-{self.seed}"'

    def read(self, start: int, length: int) -> bytes:
        """Returns at most `length` bytes from `start`, ending at a block's end at the latest."""
        index, offset = divmod(start, BLOCK)
        end = min(BLOCK, offset + length, self.size - index * BLOCK)
        return self._block(index)[offset:end]

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for start in range(0, self.size, BLOCK):
            digest.update(self.read(start, BLOCK))
        return digest.hexdigest()

    def _block(self, index: int) -> bytes:
        return index.to_bytes(8, "little") + _base_block(self.seed)[8:]


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes that are held in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def etag(self) -> str:
        return f'"{hashlib.sha256(self.data).hexdigest()[:32]}"'

    def read(self, start: int, length: int) -> bytes:
        return self.data[start : start + min(length, BLOCK)]

    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True, slots=True)
class Real:
    """A model of REAL. Equal layers are held once, so the largest fits into the origin's memory."""

    name: str

    @property
    def size(self) -> int:
        return _real(self.name).ends[-1]

    @property
    def etag(self) -> str:
        return f'"real-{self.name}"'

    def read(self, start: int, length: int) -> bytes:
        """Returns at most `length` bytes from `start`, ending at a tensor's end at the latest."""
        whole = _real(self.name)
        index = bisect(whole.ends, start)
        if index == len(whole.ends):
            return b""
        piece = whole.pieces[index]
        offset = start - (whole.ends[index] - len(piece))
        return piece[offset : offset + min(length, BLOCK)]

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in _real(self.name).pieces:
            digest.update(piece)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Flipped:
    """The same size with one wrong byte, in the middle: what a broken mirror would send."""

    inner: Generated | Stored | Real

    @property
    def size(self) -> int:
        return self.inner.size

    @property
    def etag(self) -> str:
        return self.inner.etag

    def read(self, start: int, length: int) -> bytes:
        piece = bytearray(self.inner.read(start, length))
        place = self.size // 2 - start
        if 0 <= place < len(piece):
            piece[place] ^= 0xFF
        return bytes(piece)

    def sha256(self) -> str:
        digest, position = hashlib.sha256(), 0
        while piece := self.read(position, BLOCK):
            digest.update(piece)
            position += len(piece)
        return digest.hexdigest()


Body = Generated | Stored | Real | Flipped


def for_path(path: str) -> Generated | Stored | Real | None:
    """Returns what follows from the path alone, or None where nothing does."""
    match = _GENERATED.fullmatch(path)
    if match:
        number, unit, seed = match.groups()
        return Generated(int(number) * _UNITS[unit], seed)
    match = _REAL.fullmatch(path)
    if match and match[1] in REAL:
        return Real(match[1])
    match = _MODEL.fullmatch(path)
    if match:
        return Stored(_model(int(match[1])))
    if path.startswith("/small/"):
        return Stored(_small(path))
    return _of_the_hub(path)


def commit(seed: int) -> str:
    """The commit that the repository of a seed is at."""
    return hashlib.sha1(b"tiny %d" % seed, usedforsecurity=False).hexdigest()


def _of_the_hub(path: str) -> Stored | None:
    match = _REVISION.fullmatch(path)
    if match:
        return Stored(json.dumps({"sha": commit(int(match[1]))}).encode())
    match = _TREE.fullmatch(path)
    if match:
        return Stored(json.dumps(_listing(int(match[1]))).encode())
    match = _BESIDE.fullmatch(path)
    return Stored(_beside(match[1])) if match else None


def _listing(seed: int) -> list[dict[str, object]]:
    model = _model(seed)
    lfs = {"oid": hashlib.sha256(model).hexdigest(), "size": len(model)}
    files: list[dict[str, object]] = [
        {"type": "file", "path": "model.gguf", "size": 134, "oid": "0" * 40, "lfs": lfs}
    ]
    for name in ("README.md", "load.py"):
        text = _beside(name)
        blob = b"blob %d\0" % len(text) + text
        oid = hashlib.sha1(blob, usedforsecurity=False).hexdigest()
        files.append({"type": "file", "path": name, "size": len(text), "oid": oid})
    return files


def _beside(name: str) -> bytes:
    return f"# {name} of a tiny model\n".encode()


def _small(path: str) -> bytes:
    """A few KiB that are what the name says: GGUF and safetensors headers are read by the worker."""
    seed = hashlib.sha256(path.encode()).digest()
    size = 4096 + int.from_bytes(seed[:2], "big") % 4096
    weights = random.Random(seed).randbytes(size)  # noqa: S311 - content, no secret
    if path.endswith(".gguf"):
        return one_tensor(seed.hex()[:16], weights)
    if path.endswith(".safetensors"):
        tensor = {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}
        header = json.dumps({"weights": tensor}).encode()
        return len(header).to_bytes(8, "little") + header + weights
    if path.endswith((".json", ".txt", ".md", ".yaml")):
        return json.dumps({"content": weights.hex()}).encode()
    if path.endswith(".bin"):
        return b"lmgg" + weights  # the magic of ggml, which whisper.cpp's models have
    return weights


@dataclass(frozen=True, slots=True)
class _Pieces:
    """A file in pieces, with the place where each ends."""

    pieces: list[bytes]
    ends: list[int]


@cache
def _real(name: str) -> _Pieces:
    width, layers = REAL[name]
    parts = pieces(layers=1, width=width, times=layers)
    return _Pieces(parts, list(accumulate(map(len, parts))))


@lru_cache(maxsize=8)
def _model(seed: int) -> bytes:
    return gguf(seed)


@lru_cache(maxsize=8)
def _base_block(seed: str) -> bytes:
    return random.Random(seed).randbytes(BLOCK)  # noqa: S311 - content, no secret
