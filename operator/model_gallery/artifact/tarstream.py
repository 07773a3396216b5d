"""Tar archives as streams: regular files and folders, and nothing else.

The standard library's reader is not used: it follows what archives say in more ways than we want (sparse
maps, links, headers of any length kept in memory, headers that recurse), and has been broken by each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from model_gallery.artifact.archive import Bounded, Member, broken, unsafe

__all__ = ["members"]

_BLOCK = 512
_PIECE = 1024 * 1024
_MAX_HEADER_BYTES = 1024 * 1024
_MAX_SIZE = 1 << 62
_FILE = b"0\0" + b"7"
_FOLDER, _LONG_NAME, _LONG_LINK, _PAX, _PAX_FOR_ALL = b"5", b"L", b"K", b"x", b"g"
_PASSED_OVER = frozenset({b"1", b"2", b"3", b"4", b"6"})
"""What may be beside wanted members. Readers agree where the next one begins only if it has no content."""
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a FIFO",
    b"S": "a sparse file",
}
_NUMBER = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_RECORD_LENGTH = re.compile(rb"([1-9][0-9]{0,7}) ")
_DECIMAL = re.compile(rb"[0-9]{1,19}")
_LINK = b"linkpath"
_FORBIDDEN = (b"hdrcharset", b"GNU.sparse.", b"SCHILY.realsize")


@dataclass(frozen=True, slots=True)
class _Header:
    """One header block; `name` is bytes, since nothing says which characters they are."""

    name: bytes
    size_bytes: int
    kind: bytes


@dataclass(slots=True)
class _Extension:
    """What headers before a member say of it; `link` is why it could be no plain file."""

    name: bytes | None = None
    size_bytes: int | None = None
    link: str = ""
    pending: set[bytes] = field(default_factory=set)


def members(stream: Bounded, is_wanted: Callable[[str], bool] = lambda _: True) -> Iterator[Member]:
    """Yields the members of an uncompressed tar, in its order.

    Args:
        is_wanted: judges a name; what it does not want may be of any kind, and is passed over.

    Raises:
        StalledError: UnsafePath for what is no regular file or folder; InvalidFormat for a broken, cut or
            ambiguous archive.
    """
    extension = _Extension()
    while (header := _header(stream)) is not None:
        if header.kind in {_LONG_NAME, _LONG_LINK, _PAX, _PAX_FOR_ALL}:
            _extend(extension, header, stream)
            continue
        member = _member(header, extension, stream)
        wanted = is_wanted(member.name)
        if wanted or member.size_bytes or header.kind not in _PASSED_OVER:
            _check_kind(header, extension, member.name)
        if wanted:
            yield member
        for _ in member.blocks:
            pass
        stream.exactly(-member.size_bytes % _BLOCK, "the padding of a member")
        extension = _Extension()
    if extension.pending:
        raise broken("is cut: a header has no member")
    while stream.read(_PIECE):
        pass  # the sums of the compression stand at its end


def _header(stream: Bounded) -> _Header | None:
    """Returns the next header; None at the mark of the end."""
    block = stream.exactly(_BLOCK, "a header, without the mark of its end")
    if not any(block):
        return None
    if _number(block[148:156]) != sum(block[:148]) + 8 * ord(" ") + sum(block[156:]):
        raise broken("is no tar archive, or broken: the sum of a header does not hold")
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and (prefix := _text(block[345:500])):
        name = prefix + b"/" + name
    return _Header(name, _number(block[124:136]), block[156:157])


def _member(header: _Header, extension: _Extension, stream: Bounded) -> Member:
    written = extension.name if extension.name is not None else header.name
    size = header.size_bytes if extension.size_bytes is None else extension.size_bytes
    try:
        name = written.decode()
    except UnicodeDecodeError as error:
        raise unsafe(f"member {written[:200]!r} has a name that is no UTF-8") from error
    # The oldest archives have no kind for folders.
    is_folder = header.kind == _FOLDER or name.endswith("/")
    if is_folder and size:
        raise broken(f"member {name[:200]!r} is a folder with content")
    stream.allow(size)
    return Member(name.removesuffix("/"), size, is_folder, _blocks(stream, size, name))


def _check_kind(header: _Header, extension: _Extension, name: str) -> None:
    if extension.link:
        raise unsafe(f"member {name[:200]!r} {extension.link}")
    if header.kind not in {_FOLDER, *(bytes([kind]) for kind in _FILE)}:
        what = _KINDS.get(header.kind, f"of the unknown kind {header.kind!r}")
        raise unsafe(f"member {name[:200]!r} is {what}; only files and folders are unpacked")


def _blocks(stream: Bounded, size: int, name: str) -> Iterator[bytes]:
    while size:
        data = stream.read(min(size, _PIECE))
        if not data:
            raise broken(f"is cut: it ends in member {name[:200]!r}")
        size -= len(data)
        yield data


def _extend(extension: _Extension, header: _Header, stream: Bounded) -> None:
    if header.size_bytes > _MAX_HEADER_BYTES:
        raise broken(f"has a header of {header.size_bytes} bytes, at most {_MAX_HEADER_BYTES}")
    content = stream.exactly(header.size_bytes, "a header")
    stream.exactly(-header.size_bytes % _BLOCK, "a header")
    if header.kind == _PAX_FOR_ALL:
        if {b"path", b"size", _LINK} & _records(content).keys():
            raise broken("has one name, link or size for all members")
        return
    # GNU's two go together, one for each name that a link has; with pax there is one for all.
    before = extension.pending
    if header.kind in before or (before and _PAX in {*before, header.kind}):
        raise broken("has two headers for one member")
    extension.pending.add(header.kind)
    if header.kind == _LONG_NAME:
        extension.name = _text(content)
        return
    if header.kind == _LONG_LINK:
        extension.link = "is a link with a long name"
        return
    records = _records(content)
    if _LINK in records:
        extension.link = f"has {_LINK.decode()!r} in its header"
    extension.name = records.get(b"path")
    size = records.get(b"size")
    if size is not None:
        if not _DECIMAL.fullmatch(size) or int(size) > _MAX_SIZE:
            raise broken("has a header with a size that is none")
        extension.size_bytes = int(size)


def _records(content: bytes) -> dict[bytes, bytes]:
    """Returns the records of a pax header: `<length> <key>=<value>`, each ended by a newline."""
    found: dict[bytes, bytes] = {}
    start = 0
    while start < len(content):
        length = _RECORD_LENGTH.match(content, start)
        end = start + int(length[1]) if length else 0
        record = content[length.end() : end] if length else b""
        key, equals, value = record[:-1].partition(b"=")
        if end > len(content) or record[-1:] != b"\n" or not equals or key in found:
            raise broken("has a pax header that is none, or that says something twice")
        if key.startswith(_FORBIDDEN):
            raise unsafe(f"a member has {key[:50].decode(errors='replace')!r} in its header")
        found[key] = value
        start = end
    return found


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Returns the number in octal digits, or in base 256 where the first bit says so."""
    if field[0] == 0x80:  # noqa: PLR2004 - the mark of base 256, positive
        value = int.from_bytes(field[1:], "big")
    else:
        digits = _NUMBER.fullmatch(field)
        if digits is None:
            raise broken("is no tar archive, or broken: a header has a number that is none")
        value = int(digits[1] or b"0", 8)
    if value > _MAX_SIZE:
        raise broken("has a member of an impossible size")
    return value
