"""Brings one file into staging, whole and verified, through whatever the network does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import short
from model_gallery.errors import GalleryError, StalledError, TransientError
from model_gallery.protocol.operation import WantedFile
from model_gallery.sources.base import Resolved, Source
from model_gallery.storage.staging import StagedFile
from model_gallery.transport.waiting import wait_before_try
from model_gallery.worker.report import Reporter

__all__ = ["Transfer"]

_BUFFER_BYTES = 1024 * 1024
_MAX_FAILURES = 5
"""Tries in a row that bring no byte before the Job's own backoff takes over."""
_MAX_CHANGES = 1
_HEAD_BYTES = 256


@dataclass(slots=True)
class Transfer:
    """One file on its way from a source into staging."""

    source: Source
    wanted: WantedFile
    resolved: Resolved
    reporter: Reporter
    reopen: Callable[[Resolved], StagedFile]

    def run(self) -> StagedFile:
        """Returns the staged file, verified.

        Raises:
            StalledError: ChecksumMismatch or SizeMismatch after a second time from zero,
                InvalidFormat, or what the source refuses.
            TransientError: what the worker's own tries did not get past.
        """
        staged = self.reopen(self.resolved)
        self.reporter.begin(self.wanted.path, staged.done)
        try:
            staged = self._fetched(staged)
            error = self._problem(staged)
            if error is not None:
                # A mirror or a proxy may have been caught in the middle: once more, not for ever.
                self._restart(staged)
                staged = self._fetched(staged)
                error = self._problem(staged)
            if error is not None:
                self._restart(staged)
                raise error
        except GalleryError:
            staged.close()
            raise
        return staged

    def _fetched(self, staged: StagedFile) -> StagedFile:
        failures = changes = 0
        while True:
            before = staged.done
            try:
                self._stream(staged)
            except TransientError as error:
                if error.reason is Reason.SOURCE_CHANGED:
                    changes += 1
                    if changes > _MAX_CHANGES:
                        raise
                    staged = self._resolved_anew(staged)
                    continue
                failures = 0 if staged.done > before else failures + 1
                if failures > _MAX_FAILURES or not wait_before_try(failures, error.retry_after):
                    staged.mark()
                    raise
            else:
                return staged

    def _stream(self, staged: StagedFile) -> None:
        """Reads to the end; returns with the whole file or raises."""
        size = self.resolved.size_bytes
        if staged.done and not self._can_resume():
            self._restart(staged)
        if size is not None and staged.done >= size > 0:
            return
        buffer = memoryview(bytearray(_BUFFER_BYTES))
        with self.source.read(self.resolved, staged.done) as content:
            while count := content.readinto(buffer):
                staged.append(buffer[:count])
                self.reporter.moved(count)
                if size is not None and staged.done > size:
                    return
        if size is not None and staged.done < size:
            message = f"{self.wanted.path}: the server ended after {staged.done} of {size} bytes"
            raise TransientError(Reason.INTERRUPTED, message)

    def _can_resume(self) -> bool:
        proven = self.resolved.validator is not None or self.wanted.sha256 is not None
        return self.resolved.ranges and proven

    def _resolved_anew(self, staged: StagedFile) -> StagedFile:
        self.reporter.moved(-staged.done)
        staged.close()
        self.resolved = self.source.resolve(self.wanted.url)
        fresh = self.reopen(self.resolved)
        fresh.restart()
        return fresh

    def _restart(self, staged: StagedFile) -> None:
        self.reporter.moved(-staged.done)
        staged.restart()

    def _problem(self, staged: StagedFile) -> StalledError | None:
        path, size = self.wanted.path, self.resolved.size_bytes
        seen = _not_a_model(staged.head(_HEAD_BYTES), path)
        promised = self.wanted.sha256
        if promised is None and seen:
            return StalledError(Reason.INVALID_FORMAT, f"{path} is {seen}; correct the URI")
        if size is not None and staged.done != size:
            message = f"{path} has {staged.done} bytes, the server announced {size}"
            return StalledError(Reason.SIZE_MISMATCH, message)
        found = staged.digest.hexdigest()
        if promised is None or promised == found:
            return None
        hint = f" (what came is {seen})" if seen else ""
        return StalledError(
            Reason.CHECKSUM_MISMATCH,
            f"sha256 of {path} is {found}, promised was {promised}{hint};"
            f" correct the promised sha256 or the upstream file ({short(found)}...)",
        )


def _not_a_model(head: bytes, path: str) -> str:
    """Returns what the content obviously is instead of a model file; empty if nothing."""
    start = head.lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        return "a git-LFS pointer"
    is_page = start.startswith((b"<!doctype html", b"<html"))
    if is_page and not path.lower().endswith((".html", ".htm", ".txt", ".md")):
        return "an HTML page"
    return ""
