"""Archives, read member by member: what is in them, by rules that leave no room for tricks.

Nothing is written here, and no member is trusted: names are checked as relative paths, only regular files
and folders are let through, and all that an archive says is bounded. What readers of archives are known to
judge differently (links, sparse members, names given twice, entries that overlap) is refused, not guessed.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from zipfile import BadZipFile

from model_gallery.api.conditions import Reason
from model_gallery.artifact.path import ArtifactPath
from model_gallery.errors import StalledError

__all__ = [
    "MAX_MEMBERS",
    "MAX_PASSED_OVER",
    "MAX_RATIO",
    "Bounded",
    "Member",
    "Names",
    "Window",
    "broken",
    "decompressed",
    "readable",
    "room",
    "unsafe",
]

MAX_MEMBERS = 10_000
MAX_PASSED_OVER = 500_000
"""Members that are not unpacked: an image may bring a whole operating system beside its model."""
MAX_RATIO = 200
"""Unpacked bytes for each packed one."""
MAX_DEPTH = 10
"""Folders, one in the other."""
_ALWAYS_ALLOWED = 1024 * 1024
"""Unpacked bytes that no archive is too small for: padding and headers compress well."""
_MAX_NAME_BYTES = 1024 * 1024
_MAX_READ = 8 * 1024 * 1024
_MAX_XZ_MEMORY = 128 * 1024 * 1024
_CHUNK = 128 * 1024
_WHEN_BROKEN = (
    *(zlib.error, lzma.LZMAError, BadZipFile, struct.error),
    *(EOFError, OSError, ValueError, RuntimeError, OverflowError),
)

ReadAt = Callable[[int, memoryview], int]


@dataclass(frozen=True, slots=True)
class Member:
    """One member, at the moment when it is read.

    Attributes:
        name: as it is written, without the `/` at the end of a folder's; not yet judged.
        size_bytes: length of the content.
        blocks: the content, to be taken before the next member; shorter or longer never.
    """

    name: str
    size_bytes: int
    is_folder: bool
    blocks: Iterator[bytes]


def broken(problem: str) -> StalledError:
    """Returns the error for an archive that cannot be read, or should not."""
    return StalledError(Reason.INVALID_FORMAT, problem)


def unsafe(problem: str) -> StalledError:
    """Returns the error for a member that would not stay a plain file in its place."""
    return StalledError(Reason.UNSAFE_PATH, problem)


def room(packed_bytes: int) -> int:
    """Returns how many bytes may come out of an archive."""
    return max(_ALWAYS_ALLOWED, MAX_RATIO * packed_bytes)


@contextmanager
def readable() -> Iterator[None]:
    """Turns what the standard library says of broken archives into our error.

    The volume's own errors are ours already when they come by.
    """
    try:
        yield
    except MemoryError as error:
        raise broken("needs too much memory to unpack") from error
    except _WHEN_BROKEN as error:
        problem = str(error)[:200] or "it ends too early"
        raise broken(f"is broken or cut: {problem}") from error


class Window(io.RawIOBase):
    """An archive as a file to read and seek in; no single read is large."""

    def __init__(self, read_at: ReadAt, size_bytes: int) -> None:
        super().__init__()
        self._read_at, self._size, self._position = read_at, size_bytes, 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be sought in."""
        return True

    def tell(self) -> int:
        """Returns where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place, also behind the end; returns it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("it points before its beginning")
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Returns up to `size` bytes, or all that are left.

        Raises:
            StalledError: InvalidFormat, where that would be many at once.
        """
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > _MAX_READ:
            raise broken(f"has a directory of {wanted} bytes, at most {_MAX_READ} are read")
        buffer = memoryview(bytearray(wanted))
        done = 0
        while done < wanted and (count := self._read_at(self._position, buffer[done:])):
            done += count
            self._position += count
        return bytes(buffer[:done])


class Bounded:
    """Reads a stream, and refuses to give more than is allowed."""

    def __init__(self, stream: io.RawIOBase | io.BufferedIOBase, packed_bytes: int) -> None:
        self._stream, self._left = stream, room(packed_bytes)

    def read(self, size: int) -> bytes:
        """Returns up to `size` bytes; none at the end.

        Raises:
            StalledError: InvalidFormat, where the stream is broken or too much came out of it.
        """
        if not size:
            return b""  # xz takes a read of nothing for an error
        with readable():
            data = self._stream.read(size) or b""
        self.allow(len(data))
        self._left -= len(data)
        return data

    def allow(self, size: int) -> None:
        """Refuses so many bytes more where they are too many; they need not have come yet."""
        if size > self._left:
            raise broken(f"unpacks to more than {MAX_RATIO} times its size")

    def exactly(self, size: int, what: str) -> bytes:
        """Returns as many bytes.

        Raises:
            StalledError: InvalidFormat, as `read`, and where the stream ends before.
        """
        data = self.read(size)
        while len(data) < size:
            more = self.read(size - len(data))
            if not more:
                raise broken(f"is cut: it ends in {what}")
            data += more
        return data


class _Xz(io.RawIOBase):
    """An xz stream with a bound on the memory that it may ask for."""

    def __init__(self, file: Window) -> None:
        super().__init__()
        self._file = file
        self._state: lzma.LZMADecompressor | None = self._fresh()

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        size = _CHUNK if size is None or size < 0 else size
        while self._state is not None:
            data = self._file.read(_CHUNK) if self._state.needs_input else b""
            if self._state.needs_input and not data:
                raise EOFError("it ends too early")
            out = self._state.decompress(data, max_length=size)
            if self._state.eof:
                self._state = self._next_stream(self._state.unused_data)
            if out:
                return out
        return b""

    def _next_stream(self, rest: bytes) -> lzma.LZMADecompressor | None:
        """Returns the state for the next of several streams in one file; None after the last."""
        rest = rest.lstrip(b"\0")
        while not rest and (more := self._file.read(_CHUNK)):
            rest = more.lstrip(b"\0")
        if not rest:
            return None
        self._file.seek(-len(rest), io.SEEK_CUR)
        return self._fresh()

    @staticmethod
    def _fresh() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_MEMORY)


def decompressed(file: Window, head: bytes) -> io.RawIOBase | io.BufferedIOBase:
    """Returns the stream that a compressed archive holds; the file itself for one that is not.

    Args:
        head: the first bytes; they decide, not the name.

    Raises:
        StalledError: InvalidFormat, for a compression that the standard library does not have.
    """
    if head.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file, mode="rb")
    if head.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if head.startswith(b"\xfd7zXZ\0"):
        return _Xz(file)
    for kind, magic in _UNSUPPORTED:
        if head.startswith(magic):
            raise broken(f"is a {kind} archive, which cannot be unpacked; offer tar.gz or zip")
    return file


_UNSUPPORTED = (
    ("zstd", b"\x28\xb5\x2f\xfd"),
    ("lz4", b"\x04\x22\x4d\x18"),
    ("7z", b"7z\xbc\xaf\x27\x1c"),
    ("rar", b"Rar!\x1a\x07"),
    ("snappy", b"\xff\x06\0\0sNaPpY"),
)


@dataclass(slots=True)
class Names:
    """The names of the members of one plan, judged as they come.

    Members are counted over all archives of the plan, since one receipt lists them all.
    """

    _count: int = 0
    _passed_over: int = 0
    _bytes: int = 0
    _files: set[str] = field(default_factory=set)
    _folders: set[str] = field(default_factory=set)

    def begin(self) -> None:
        """Forgets the names of the archive before; they are counted on."""
        self._files, self._folders = set(), set()

    def take(self, member: Member) -> str | None:
        """Returns the path of a file below the archive's folder; None for a folder.

        Raises:
            StalledError: UnsafePath for a name that leaves the folder or is there twice; InvalidFormat
                for too many members.
        """
        self.count(member.name)
        name = member.name.removeprefix("./")
        if member.is_folder and name in {"", "."}:
            return None
        parts = _parts(name)
        if len(parts) > MAX_DEPTH + 1:
            raise unsafe(f"member {name[:200]!r} lies more than {MAX_DEPTH} folders deep")
        return self._place(name, parts, is_folder=member.is_folder)

    def count(self, name: str) -> None:
        """Counts a member that is remembered, under whatever name.

        Raises:
            StalledError: InvalidFormat, where there are too many.
        """
        self._count += 1
        self._bytes += len(name.encode(errors="surrogatepass"))
        if self._count > MAX_MEMBERS:
            raise broken(f"has more than {MAX_MEMBERS} members")
        if self._bytes > _MAX_NAME_BYTES:
            raise broken(f"has names of more than {_MAX_NAME_BYTES} bytes in all")

    def pass_over(self) -> None:
        """Counts a member of which nothing is remembered.

        Raises:
            StalledError: InvalidFormat, where there are too many.
        """
        self._passed_over += 1
        if self._passed_over > MAX_PASSED_OVER:
            raise broken(f"has more than {MAX_PASSED_OVER} members beside those that are wanted")

    def _place(self, name: str, parts: tuple[str, ...], *, is_folder: bool) -> str | None:
        if not is_folder and name in self._files:
            raise unsafe(f"member {name[:200]!r} is there twice")
        above = {"/".join(parts[:count]) for count in range(1, len(parts) + is_folder)}
        if not above.isdisjoint(self._files) or (not is_folder and name in self._folders):
            raise unsafe(f"member {name[:200]!r} is both a file and a folder")
        self._folders |= above
        if is_folder:
            return None
        self._files.add(name)
        return name


def _parts(name: str) -> tuple[str, ...]:
    try:
        return ArtifactPath.parse(name).parts
    except StalledError as error:
        raise unsafe(f"member: {error.message}") from error
