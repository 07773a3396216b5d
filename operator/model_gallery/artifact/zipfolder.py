"""Zip archives: regular files and folders whose two descriptions agree, and that lie apart.

A zip describes each member twice, and readers differ in which they believe; entries that share bytes make
bombs of any ratio. Both are refused before anything is unpacked.
"""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Iterator

from model_gallery.artifact.archive import (
    MAX_MEMBERS,
    MAX_RATIO,
    Member,
    Window,
    broken,
    readable,
    room,
    unsafe,
)

__all__ = ["MAGIC", "members"]

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")
_PIECE = 1024 * 1024
_LOCAL = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_SIZES_FOLLOW = 0x8
_IN_EXTRA_FIELD = 0xFFFFFFFF
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}


def members(file: Window, packed_bytes: int) -> Iterator[Member]:
    """Yields the members of a zip, in the order of its directory.

    Raises:
        StalledError: UnsafePath for what is no regular file or folder; InvalidFormat for a broken, cut,
            encrypted or ambiguous archive, and for one that unpacks to too much.
    """
    with readable():
        archive = zipfile.ZipFile(file)
    found = archive.infolist()
    if len(found) > MAX_MEMBERS:
        raise broken(f"has more than {MAX_MEMBERS} members")
    for info in found:
        _check(info)
    if sum(info.file_size for info in found) > room(packed_bytes):
        raise broken(f"unpacks to more than {MAX_RATIO} times its size")
    _check_layout(file, found, archive.start_dir)
    for info in found:
        name = info.orig_filename
        is_folder = name.endswith("/")
        yield Member(name.removesuffix("/"), info.file_size, is_folder, _blocks(archive, info))


def _check(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename[:200]
    if info.filename != info.orig_filename:
        raise unsafe(f"member {name!r} has a second name")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise unsafe(f"member {name!r} is a link or device; only files and folders are unpacked")
    if info.flag_bits & _ENCRYPTED:
        raise broken(f"member {name!r} is encrypted")
    if info.compress_type not in _METHODS:
        raise broken(f"member {name!r} is compressed by other means than deflate")
    if name.endswith("/") and info.file_size:
        raise broken(f"member {name!r} is a folder with content")


def _check_layout(file: Window, found: list[zipfile.ZipInfo], directory: int) -> None:
    """Refuses entries that share bytes, or that are described in two ways."""
    end = 0
    for info in sorted(found, key=lambda one: one.header_offset):
        if info.header_offset < end:
            raise broken(f"member {info.orig_filename[:200]!r} shares its bytes with another")
        end = _end(file, info)
    if end > directory:
        raise broken("has members that overlap its directory")


def _end(file: Window, info: zipfile.ZipInfo) -> int:
    """Returns where the content of a member ends, by the description before it."""
    with readable():
        file.seek(info.header_offset)
        head = file.read(_LOCAL.size)
    if len(head) < _LOCAL.size or not head.startswith(b"PK\x03\x04"):
        raise broken(f"is broken: member {info.orig_filename[:200]!r} is not where it should be")
    _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack(head)
    same = (flags & ~_SIZES_FOLLOW, method) == (info.flag_bits & ~_SIZES_FOLLOW, info.compress_type)
    if not flags & _SIZES_FOLLOW:
        same = same and crc == info.CRC
        same = same and packed in {info.compress_size, _IN_EXTRA_FIELD}
        same = same and size in {info.file_size, _IN_EXTRA_FIELD}
    if not same:
        raise broken(f"member {info.orig_filename[:200]!r} is described in two ways")
    before = _LOCAL.size + int(name_length) + int(extra_length)
    return info.header_offset + before + info.compress_size


def _blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    left = info.file_size
    with readable():
        content = archive.open(info)
    with content:
        while True:
            with readable():
                data = content.read(_PIECE)
            if not data:
                break
            left -= len(data)
            yield data
    if left:
        raise broken(f"member {info.orig_filename[:200]!r} is not as long as it says")
