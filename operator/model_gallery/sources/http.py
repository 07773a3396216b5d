"""Files over http(s): what a URL is now, and any stretch of its bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import is_sha256
from model_gallery.errors import TransientError
from model_gallery.protocol.operation import WantedFile
from model_gallery.sources.base import RemoteFile
from model_gallery.transport import answers
from model_gallery.transport.client import HttpClient, Response
from model_gallery.transport.credentials import Credentials

__all__ = ["HttpSource", "probe", "read"]

_PARTIAL, _BEHIND_END = 206, 416
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,19})-(\d{1,19})|\*)/(\d{1,19}|\*)\Z")


@dataclass(frozen=True, slots=True)
class HttpSource:
    """Resolves single files over http(s)."""

    client: HttpClient
    credentials: Credentials

    def resolve(self, wanted: WantedFile) -> RemoteFile:
        """Returns size and validator, asked with the first byte: HEAD is refused or lies too often.

        Raises:
            GalleryError: as `HttpClient.open` does.
        """
        return probe(
            self.client,
            RemoteFile(
                name=unquote(urlsplit(wanted.url).path.rpartition("/")[2]),
                url=wanted.url,
                sha256=wanted.sha256,
                authorize=self.credentials.bearer_or_basic(wanted.url),
            ),
        )


def probe(client: HttpClient, file: RemoteFile) -> RemoteFile:
    """Returns the file with size and validator of this moment.

    Raises:
        GalleryError: as `HttpClient.open` does.
    """
    with client.open(file.place(), {"Range": "bytes=0-0"}, authorize=file.authorize) as response:
        response.readinto(memoryview(bytearray(1)))
        if response.status in {_PARTIAL, _BEHIND_END}:
            _, _, size = _range(response.headers)
        else:
            length = response.headers.get("content-length", "")
            size = int(length) if length.isdecimal() else None
        return replace(
            file,
            size_bytes=size,
            sha256=file.sha256 or _promised([*response.trail, response.headers]),
            validator=_validator(response.headers),
            ranges=response.status == _PARTIAL,
        )


@contextmanager
def read(
    client: HttpClient, file: RemoteFile, start: int, end: int | None, *, url: str = ""
) -> Iterator[Response]:
    """Hands out the bytes from `start` up to before `end`; to the last one where `end` is None.

    Args:
        url: where the file's URL redirected to before; empty: begin at the file's own URL.

    Raises:
        TransientError: SourceChanged, where the answer belongs to another state of the file or is
            not the stretch that was asked for; nothing of it may be kept.
        GalleryError: as `HttpClient.open` does.
    """
    headers = {}
    if start or end is not None:
        headers["Range"] = f"bytes={start}-{'' if end is None else end - 1}"
        if file.validator:
            headers["If-Range"] = file.validator
    with client.open(url or file.place(), headers, authorize=file.authorize) as response:
        _check(response, file, start, end)
        yield response


def _check(response: Response, file: RemoteFile, start: int, end: int | None) -> None:
    validator = _validator(response.headers)
    if file.validator and validator and validator != file.validator:
        raise _changed(file, "its ETag or date is another now")
    if start == 0 and end is None:
        length = response.headers.get("content-length", "")
        if file.size_bytes is not None and length not in {"", str(file.size_bytes)}:
            raise _changed(file, f"its length is {length} now, it was {file.size_bytes}")
        return
    if response.status != _PARTIAL:
        raise _changed(file, f"the server answered {response.status} to a range")
    first, last, total = _range(response.headers)
    wrong_end = end is not None and last != end - 1
    if first != start or wrong_end or total not in {None, file.size_bytes}:
        raise _changed(file, "the server answered another range than was asked for")


def _range(headers: Mapping[str, str]) -> tuple[int | None, int | None, int | None]:
    """Returns first byte, last byte and total of Content-Range; None for what it does not tell."""
    match = _CONTENT_RANGE.match(headers.get("content-range", ""))
    if match is None:
        return None, None, None
    first, last = (int(match[1]), int(match[2])) if match[1] else (None, None)
    return first, last, None if match[3] == "*" else int(match[3])


def _validator(headers: Mapping[str, str]) -> str | None:
    """Returns a strong validator: only such may stand in If-Range."""
    etag = headers.get("etag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return headers.get("last-modified") or None


def _promised(answers_headers: Sequence[Mapping[str, str]]) -> str | None:
    """Returns the digest that the Hub and its mirrors promise for a file kept in LFS or Xet.

    The Hub says it in the answer that redirects to its store.
    """
    etags = [headers.get("x-linked-etag", "").strip('"') for headers in answers_headers]
    return next((etag for etag in etags if is_sha256(etag)), None)


def _changed(file: RemoteFile, what: str) -> TransientError:
    return TransientError(
        Reason.SOURCE_CHANGED, f"{answers.shown(file.url)}: {what}; it is fetched from zero"
    )
