"""The volume: the only place that writes files.

Every path is walked by folder descriptors with O_NOFOLLOW: backends share the volume, and a link that
one of them planted must lead nowhere. Errors of the file system become ours here and nowhere else.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_gallery.api.conditions import Reason
from model_gallery.errors import GalleryError, StalledError, TransientError
from model_gallery.storage.layout import ROOT, Parts

__all__ = ["FileFacts", "FolderFacts", "Volume", "translated"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK the open of a planted FIFO would wait for ever.
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_NO_REFLINK = frozenset(
    {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM}
)
_FICLONE = 0x40049409
_COPY_BLOCK = 16 * 1024 * 1024
_MOST_KEPT = 8
"""Folders of ours that stay open: an install looks into them a dozen times for each of its files."""


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What the file system tells of a file.

    Attributes:
        modified_ns: time of the last write to its content.
        changed: time of the last change of content, names or rights, seconds since the epoch.
    """

    size_bytes: int
    inode: int
    links: int
    modified_ns: int
    changed: float


@dataclass(frozen=True, slots=True)
class FolderFacts:
    """What the file system tells of a folder.

    Attributes:
        device: of its file system.
        modified_ns: when a name in it last came, went or changed; nanoseconds since the epoch.
    """

    device: int
    modified_ns: int


class Volume:
    """A mounted volume. Paths are tuples of components below its root.

    Args:
        keep_folders: whether our own folders stay open, for who works on many files and then ends: a
            folder that somebody puts in the place of one of them is not seen.
    """

    def __init__(self, root: Path, *, keep_folders: bool = False) -> None:
        with translated((), "open the volume"):
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._keeps = keep_folders
        self._kept: dict[Parts, int] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Gives the descriptors back."""
        for opened in (self._root, *self._kept.values()):
            os.close(opened)

    def free(self) -> tuple[int, int]:
        """Returns free bytes and free inodes, as an ordinary user has them."""
        facts = os.fstatvfs(self._root)
        inodes = facts.f_favail if facts.f_files else 1 << 62
        return facts.f_bavail * facts.f_frsize, inodes

    def capacity(self) -> int:
        """Returns the size of the file system in bytes."""
        facts = os.fstatvfs(self._root)
        return facts.f_blocks * facts.f_frsize

    def walk(
        self, parts: Parts = (), skip: Collection[Parts] = ()
    ) -> Iterator[tuple[Parts, FileFacts | None]]:
        """Finds all that is below a folder, in no order, one name at a time: a folder may hold millions.

        Links are not followed. What somebody removes or replaces meanwhile is left out.

        Args:
            skip: paths that are passed by.

        Yields:
            A path, and what is told of it where it is a regular file.
        """
        waiting = [parts]
        while waiting:
            current = waiting.pop()
            with contextlib.suppress(FileNotFoundError, StalledError):
                for entry in self._entries(current):
                    inner = (*current, entry.name)
                    if inner in skip:
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(inner)
                    yield inner, _entry_facts(entry)

    def _entries(self, parts: Parts) -> Iterator[os.DirEntry[str]]:
        with (
            self._walked(parts, create=False) as opened,
            translated(parts, "list"),
            os.scandir(opened) as found,
        ):
            yield from found

    @contextmanager
    def folder(self, parts: Parts, *, create: bool = False) -> Iterator[int]:
        """Hands out the descriptor of a folder.

        Raises:
            StalledError: UnsafePath where a component is no folder.
            FileNotFoundError: it does not exist and shall not be made.
        """
        known = self._known(parts)
        if known is not None:
            yield known
            return
        with self._walked(parts, create=create) as walked:
            if self._keeps and parts[:1] == ROOT:
                self._keep(parts, walked)
            yield walked

    def _known(self, parts: Parts) -> int | None:
        """Returns the descriptor of a folder that is open; None for one that somebody removed since."""
        if not parts:
            return self._root
        kept = self._kept.get(parts)
        if kept is None:
            return None
        try:
            return kept if os.fstat(kept).st_nlink else None
        except OSError:
            # Servers of files tell it so.
            return None

    def _keep(self, parts: Parts, opened: int) -> None:
        with self._lock:
            # Another thread may be using one that is kept, so it stays for as long as the volume.
            if parts not in self._kept and len(self._kept) < _MOST_KEPT:
                self._kept[parts] = os.dup(opened)

    @contextmanager
    def _walked(self, parts: Parts, *, create: bool) -> Iterator[int]:
        current = os.dup(self._root)
        try:
            for depth, part in enumerate(parts):
                deeper = _enter(current, part, parts[: depth + 1], create=create)
                os.close(current)
                current = deeper
            yield current
        finally:
            os.close(current)

    def folder_facts(self, parts: Parts) -> FolderFacts | None:
        """Returns what is told of a folder; None where it does not exist.

        Raises:
            StalledError: UnsafePath where a component is no folder.
        """
        try:
            with self.folder(parts) as opened, translated(parts, "look at"):
                found = os.fstat(opened)
        except FileNotFoundError:
            return None
        return FolderFacts(found.st_dev, found.st_mtime_ns)

    def facts(self, parts: Parts) -> FileFacts | None:
        """Returns what is told of a regular file; None where nothing is there.

        Raises:
            StalledError: UnsafePath where something other than a regular file is there.
        """
        try:
            with self.folder(parts[:-1]) as parent, translated(parts, "look at"):
                found = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise StalledError(Reason.UNSAFE_PATH, f"{_shown(parts)} exists and is no regular file")
        return _facts(found)

    def open_file(self, parts: Parts, *, write: bool = False) -> int:
        """Opens a regular file; with `write` it is made, and its folders too, where it is missing.

        Raises:
            StalledError: UnsafePath where something other than a regular file is there, and where one is
                to be written that has a second name.
            FileNotFoundError: it does not exist and was only to be read.
        """
        flags = _FILE | (os.O_RDWR | os.O_CREAT if write else os.O_RDONLY)
        with self.folder(parts[:-1], create=write) as parent, translated(parts, "open"):
            opened = os.open(parts[-1], flags, 0o644, dir_fd=parent)
        found = os.fstat(opened)
        wrong = "" if stat.S_ISREG(found.st_mode) else "exists and is no regular file"
        if write and found.st_nlink > 1:
            # What is written has one name until it is published: this one is somebody's file.
            wrong = wrong or "exists and is a second name of another file"
        if wrong:
            os.close(opened)
            raise StalledError(Reason.UNSAFE_PATH, f"{_shown(parts)} {wrong}")
        return opened

    @contextmanager
    def reading(self, parts: Parts) -> Iterator[Callable[[int, memoryview], int]]:
        """Hands out a function that fills a buffer from an offset of a regular file on.

        Raises:
            StalledError: UnsafePath where something other than a regular file is there.
            FileNotFoundError: it does not exist.
        """
        opened = self.open_file(parts)

        def read_at(offset: int, buffer: memoryview) -> int:
            with translated(parts, "read"):
                return os.preadv(opened, [buffer], offset)

        try:
            yield read_at
        finally:
            os.close(opened)

    def read(self, parts: Parts, limit: int) -> bytes | None:
        """Returns the content of a small file; None where it does not exist or is larger."""
        try:
            opened = self.open_file(parts)
        except FileNotFoundError:
            return None
        with os.fdopen(opened, "rb") as file, translated(parts, "read"):
            content = file.read(limit + 1)
        return content if len(content) <= limit else None

    def write(self, parts: Parts, content: bytes, temporary: str) -> None:
        """Puts a small file in place at once: written beside it, synced, renamed."""
        beside = (*parts[:-1], temporary)
        self.remove(beside)
        opened = self.open_file(beside, write=True)
        try:
            with translated(parts, "write"):
                os.fchmod(opened, 0o644)
                view = memoryview(content)
                while view:
                    view = view[os.write(opened, view) :]
                os.fsync(opened)
        finally:
            os.close(opened)
        self.rename(beside, parts)

    def rename(self, source: Parts, target: Parts, *, durable: bool = True) -> None:
        """Moves a file over whatever file is at the target, and makes that durable."""
        with (
            self.folder(source[:-1]) as here,
            self.folder(target[:-1], create=True) as there,
            translated(target, "rename"),
        ):
            os.rename(source[-1], target[-1], src_dir_fd=here, dst_dir_fd=there)
            if durable:
                os.fsync(there)

    def sync(self, parts: Parts) -> None:
        """Makes the names in a folder durable."""
        with self.folder(parts) as opened, translated(parts, "sync"):
            os.fsync(opened)

    def link(self, source: Parts, target: Parts, temporary: str, *, durable: bool = True) -> bool:
        """Gives a file another name, or a copy where the file system has no links.

        Args:
            durable: False where the caller makes the folder durable.

        Returns:
            False where the target exists already: nothing is overwritten.
        """
        with self.folder(source[:-1]) as here, self.folder(target[:-1], create=True) as there:
            try:
                os.link(
                    source[-1],
                    target[-1],
                    src_dir_fd=here,
                    dst_dir_fd=there,
                    follow_symlinks=False,
                )
                if durable:
                    os.fsync(there)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise _ours(error, target, "link") from error
            else:
                return True
        if self.facts(target) is not None:
            return False
        self._copy(source, (*target[:-1], temporary))
        self.rename((*target[:-1], temporary), target)
        return True

    def remove(self, parts: Parts) -> bool:
        """Removes a file or link (never what it points to); returns whether it was there."""
        try:
            with self.folder(parts[:-1]) as parent, translated(parts, "remove"):
                os.unlink(parts[-1], dir_fd=parent)
        except FileNotFoundError:
            return False
        return True

    def remove_empty(self, parts: Parts) -> None:
        """Removes a folder and its parents as far as they are empty; the root stays."""
        while parts:
            try:
                with self.folder(parts[:-1]) as parent:
                    os.rmdir(parts[-1], dir_fd=parent)
            except (OSError, StalledError):
                return
            parts = parts[:-1]

    def is_file(self, parts: Parts) -> bool:
        """Whether a regular file is there; a link to one is none."""
        try:
            return self.facts(parts) is not None
        except StalledError:
            return False

    def is_folder(self, parts: Parts) -> bool:
        """Whether a folder is there; a link to one is none."""
        try:
            with self.folder(parts):
                return True
        except (FileNotFoundError, StalledError):
            return False

    def names(self, parts: Parts) -> list[str]:
        """Returns the names in a folder, sorted; none where it does not exist."""
        try:
            with self._walked(parts, create=False) as opened, translated(parts, "list"):
                return _names(opened)
        except FileNotFoundError:
            return []

    def remove_tree(self, parts: Parts) -> None:
        """Removes a folder of ours with all that is in it; links are removed, not followed."""
        for name in self.names(parts):
            inner = (*parts, name)
            with self.folder(parts) as parent, translated(inner, "look at"):
                mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                self.remove_tree(inner)
            else:
                self.remove(inner)
        self.remove_empty(parts)

    def copy_in(self, reading: int, target: Parts) -> None:
        """Copies an open file to a new place: by reflink where the file system has it.

        Args:
            reading: descriptor of a regular file, maybe on another volume.
        """
        self.remove(target)
        writing = self.open_file(target, write=True)
        try:
            with translated(target, "copy"):
                _copy_bytes(reading, writing)
                os.fsync(writing)
        finally:
            os.close(writing)

    def _copy(self, source: Parts, target: Parts) -> None:
        self.remove(target)
        reading = self.open_file(source)
        writing = self.open_file(target, write=True)
        try:
            with translated(target, "copy"):
                _copy_bytes(reading, writing)
                os.fchmod(writing, 0o644)
                os.fsync(writing)
        finally:
            os.close(reading)
            os.close(writing)


def _names(opened: int) -> list[str]:
    return sorted(os.listdir(opened))


def _facts(found: os.stat_result) -> FileFacts:
    return FileFacts(found.st_size, found.st_ino, found.st_nlink, found.st_mtime_ns, found.st_ctime)


def _entry_facts(entry: os.DirEntry[str]) -> FileFacts | None:
    with contextlib.suppress(FileNotFoundError):
        if entry.is_file(follow_symlinks=False):
            return _facts(entry.stat(follow_symlinks=False))
    return None


def _copy_bytes(reading: int, writing: int) -> None:
    try:
        fcntl.ioctl(writing, _FICLONE, reading)
    except OSError as error:
        if error.errno not in _NO_REFLINK:
            raise
    else:
        return
    offset, size = 0, os.fstat(reading).st_size
    while offset < size:
        try:
            count = os.copy_file_range(reading, writing, _COPY_BLOCK, offset, offset)
        except OSError as error:
            if error.errno not in _NO_REFLINK:
                raise
            count = os.pwrite(writing, os.pread(reading, _COPY_BLOCK, offset), offset)
        if count == 0:
            return
        offset += count


def _enter(parent: int, part: str, path: Parts, *, create: bool) -> int:
    with translated(path, "open folder"):
        try:
            return os.open(part, _FOLDER, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
        try:
            os.mkdir(part, 0o755, dir_fd=parent)
        except FileExistsError:
            pass
        else:
            os.fsync(parent)
        return os.open(part, _FOLDER, dir_fd=parent)


@contextmanager
def translated(parts: Parts, act: str) -> Iterator[None]:
    """Turns what the file system says into our errors; a missing file stays FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _ours(error, parts, act) from error


def _ours(error: OSError, parts: Parts, act: str) -> GalleryError:
    what = f"cannot {act} {_shown(parts)}: {os.strerror(error.errno or 0)}"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return StalledError(Reason.NO_SPACE, f"{what}; free space on the volume or enlarge it")
        case errno.EROFS | errno.EACCES | errno.EPERM:
            return StalledError(Reason.READ_ONLY_VOLUME, what)
        case errno.ELOOP | errno.ENOTDIR | errno.EISDIR | errno.ENXIO | errno.EEXIST:
            return StalledError(Reason.UNSAFE_PATH, f"{what} (a link or a foreign object)")
        case errno.ENAMETOOLONG:
            return StalledError(Reason.UNSAFE_PATH, what)
        case _:
            return TransientError(Reason.VOLUME_IO_ERROR, what)


def _shown(parts: Parts) -> str:
    return "/".join(parts)[:200] or "/"
