"""Archives for tests: sound ones by the standard library, hostile ones byte by byte."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["COMPRESSED", "pax_record", "tar", "tar_block", "tar_raw", "zipped"]

COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "tar.gz": gzip.compress,
    "tar.bz2": bz2.compress,
    "tar.xz": lzma.compress,
}


def tar(
    files: Iterable[tuple[str, bytes]], *, form: int = tarfile.PAX_FORMAT, **facts: Any
) -> bytes:
    """Returns a tar as Python writes it; names that end in a slash are folders."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            for key, value in facts.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def tar_block(
    name: bytes,
    content: bytes = b"",
    *,
    kind: bytes = b"0",
    link: bytes = b"",
    size: int | None = None,
) -> bytes:
    """Returns one header with a sum that holds, its content and its padding."""
    head = bytearray(512)
    head[: len(name)] = name
    head[100:108] = b"0000644\0"
    head[108:124] = b"0000000\0" * 2
    head[124:136] = b"%011o\0" % (len(content) if size is None else size)
    head[136:148] = b"00000000000\0"
    head[156:157] = kind
    head[157 : 157 + len(link)] = link
    head[257:265] = b"ustar\x0000"
    head[148:156] = b"        "
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + content + bytes(-len(content) % 512)


def tar_raw(*blocks: bytes) -> bytes:
    """Returns the blocks with the mark of the end."""
    return b"".join(blocks) + bytes(1024)


def pax_record(key: str, value: str) -> bytes:
    """Returns a record with the length that it says."""
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def zipped(files: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> bytes:
    """Returns a zip as Python writes it, the same one every day: tests look for bytes in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            entry = name
            if isinstance(name, str):
                entry = zipfile.ZipInfo(name)
                entry.compress_type = zipfile.ZIP_DEFLATED
                folder = 0o40775 << 16 | 0x10
                entry.external_attr = folder if name.endswith("/") else 0o600 << 16
            archive.writestr(entry, content)
    return buffer.getvalue()
