"""Files over http(s): what a URL is now, and its bytes from an offset on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.errors import TransientError
from model_gallery.sources.base import Resolved
from model_gallery.transport.client import HttpClient, Response

__all__ = ["HttpSource"]

_PARTIAL, _BEHIND_END = 206, 416
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)\Z")


@dataclass(frozen=True, slots=True)
class HttpSource:
    """Reads files over http(s)."""

    client: HttpClient

    def resolve(self, url: str) -> Resolved:
        """Returns size and validator, asked with the first byte: HEAD is refused or lies too often.

        Raises:
            GalleryError: as `HttpClient.open` does.
        """
        with self.client.open(url, {"Range": "bytes=0-0"}) as response:
            validator = _validator(response)
            if response.status in {_PARTIAL, _BEHIND_END}:
                _, total = _range(response)
                return Resolved(url, total, validator, ranges=response.status == _PARTIAL)
            length = response.headers.get("content-length", "")
            size = int(length) if length.isdecimal() else None
            return Resolved(url, size, validator, ranges=False)

    @contextmanager
    def read(self, resolved: Resolved, offset: int) -> Iterator[Response]:
        """Hands out the bytes from the offset on.

        Raises:
            TransientError: SourceChanged, where the answer belongs to another state of the file or
                does not begin at the offset; nothing of it may be appended.
        """
        headers = {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if resolved.validator:
                headers["If-Range"] = resolved.validator
        with self.client.open(resolved.url, headers) as response:
            _check(response, resolved, offset)
            yield response


def _check(response: Response, resolved: Resolved, offset: int) -> None:
    validator = _validator(response)
    if resolved.validator and validator and validator != resolved.validator:
        raise _changed(resolved, "its ETag or date is another now")
    if not offset:
        length = response.headers.get("content-length", "")
        if resolved.size_bytes is not None and length not in {"", str(resolved.size_bytes)}:
            raise _changed(resolved, f"its length is {length} now, it was {resolved.size_bytes}")
        return
    if response.status != _PARTIAL:
        raise _changed(resolved, f"the server answered {response.status} to a range")
    start, total = _range(response)
    if start != offset or total not in {None, resolved.size_bytes}:
        raise _changed(resolved, "the server answered another range than was asked for")


def _range(response: Response) -> tuple[int | None, int | None]:
    """Returns first byte and total of Content-Range; None for what it does not tell."""
    match = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
    if match is None:
        return None, None
    start = int(match[1]) if match[1] else None
    return start, None if match[3] == "*" else int(match[3])


def _validator(response: Response) -> str | None:
    """Returns a strong validator: only such may stand in If-Range."""
    etag = response.headers.get("etag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return response.headers.get("last-modified") or None


def _changed(resolved: Resolved, what: str) -> TransientError:
    name = resolved.url.partition("?")[0]
    return TransientError(Reason.SOURCE_CHANGED, f"{name[:160]}: {what}; it is fetched from zero")
