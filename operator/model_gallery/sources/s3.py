"""S3-compatible stores: one object, or all below a prefix.

A version pins a single object; ETags pin the others (If-Range), and a sha256 that the store computed over
the whole object is a promise like any other.
"""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import quote, unquote, urlencode, urlsplit

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import sha256_of_value
from model_gallery.errors import GalleryError, StalledError, TransientError
from model_gallery.protocol.operation import Repository
from model_gallery.sources import http, listing, sigv4
from model_gallery.sources.base import RemoteFile, Resolution
from model_gallery.transport.authorize import Authorize, nobody
from model_gallery.transport.client import HttpClient, Response
from model_gallery.transport.credentials import Credentials

__all__ = ["Listing", "S3Source", "parse_listing"]

_MAX_PAGES = 100
_MAX_PAGE_BYTES = 8 * 1024 * 1024
_PAGE_SECONDS = 120.0
_MAX_SIZE = 2**53
_SIZE_DIGITS = 16
_DEFAULT_REGION = "us-east-1"
_SHA256_BYTES = 32
_FINE = frozenset({200, 206, 416})
"""416 is what a range of an empty object gets."""
_ERRORS = frozenset({400, 401, 403, 404, 503})
_DECLARATIONS = re.compile(r"<!(?:DOCTYPE|ENTITY)", re.IGNORECASE)
_STRONG = re.compile(r"\"[!-~]{1,128}\"")
_CHECKSUMS = {"x-amz-checksum-mode": "ENABLED"}
"""Asked for with the whole object: a store computes none for a range."""
_ABSENT = frozenset({"NoSuchKey", "NoSuchBucket", "NoSuchVersion"})
_ELSEWHERE = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "TemporaryRedirect"})


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a bucket's listing.

    Attributes:
        objects: of each its key, its size, and what its answers carry until it changes: ETag or date.
        following: token of the next page; empty on the last.
    """

    objects: tuple[tuple[str, int, str], ...]
    following: str


@dataclass(frozen=True, slots=True)
class S3Source:
    """Resolves objects and prefixes."""

    client: HttpClient
    credentials: Credentials

    def resolve(self, wanted: Repository) -> Resolution:
        """Returns what lies under the key or prefix now.

        Raises:
            StalledError: NotFound, Unauthorized, SourceInvalid, UnsafePath, SecretNotAllowed.
            TransientError: as the client does.
        """
        bucket, key = _place(wanted)
        authorize = self._authorize(bucket, wanted)
        if key and not key.endswith("/"):
            asking = self._authorize(bucket, wanted, _CHECKSUMS)
            return self._object(f"{bucket}/{quote(key)}", key, wanted.revision, authorize, asking)
        found = list(self._below(bucket, key, authorize))
        files = listing.chosen(found, wanted.include, wanted.exclude)
        revision = sha256_of_value([[file.name, file.validator, file.size_bytes] for file in files])
        return Resolution(revision, files)

    def _authorize(
        self, bucket: str, wanted: Repository, headers: Mapping[str, str] | None = None
    ) -> Authorize:
        values = self.credentials.values
        self.credentials.require(bucket)
        if not values.get("accessKeyId"):
            return nobody
        keys = sigv4.Keys(
            values["accessKeyId"], values.get("secretAccessKey", ""), values.get("sessionToken", "")
        )
        return sigv4.signed(bucket, keys, wanted.region or _DEFAULT_REGION, headers=headers)

    def _object(
        self, url: str, key: str, version: str, authorize: Authorize, asking: Authorize
    ) -> Resolution:
        asked = f"{url}?versionId={quote(version, safe='')}" if version else url
        with self._opened(asked, asking, _CHECKSUMS) as response:
            found, digest = response.headers.get("x-amz-version-id", ""), _sha256(response.headers)
        version = version or (found if found != "null" else "")
        pinned = f"{url}?versionId={quote(version, safe='')}" if version else url
        name = key.rpartition("/")[2]
        file = http.probe(self.client, RemoteFile(name, pinned, sha256=digest, authorize=authorize))
        files = listing.chosen([file], (), ())
        return Resolution(version or (file.validator or "").strip('"')[:128], files)

    def _below(self, bucket: str, prefix: str, authorize: Authorize) -> Iterator[RemoteFile]:
        query = {"list-type": "2", "prefix": prefix, "max-keys": "1000"}
        for _ in range(_MAX_PAGES):
            page = self._page(
                f"{bucket}/?{urlencode(sorted(query.items()), quote_via=quote)}", authorize
            )
            for key, size, validator in page.objects:
                name = key.removeprefix(prefix)
                if not key.startswith(prefix):
                    raise listing.invalid(f"the listing has key {key[:200]!r} of another prefix")
                if not key.endswith("/"):
                    url = f"{bucket}/{quote(key)}"
                    yield RemoteFile(
                        name, url, size, validator=validator or None, authorize=authorize
                    )
            if not page.following:
                return
            query["continuation-token"] = page.following
        raise listing.invalid(f"the listing has more than {_MAX_PAGES} pages")

    def _page(self, url: str, authorize: Authorize) -> Listing:
        with self._opened(url, authorize, {}) as response:
            return parse_listing(_body(response))

    def _opened(self, url: str, authorize: Authorize, headers: Mapping[str, str]) -> _Judged:
        return _Judged(self.client, url, authorize, headers)


class _Judged:
    """An open answer; an S3 error in it is raised as ours."""

    def __init__(
        self, client: HttpClient, url: str, authorize: Authorize, headers: Mapping[str, str]
    ) -> None:
        self._open = client.open(url, headers, authorize=authorize, expect=_ERRORS)

    def __enter__(self) -> Response:
        response = self._open.__enter__()
        try:
            if response.status not in _FINE:
                raise _refusal(_body(response), response.status)
        except GalleryError:
            self._open.__exit__(None, None, None)
            raise
        return response

    def __exit__(self, *error: object) -> None:
        self._open.__exit__(None, None, None)


def parse_listing(body: bytes) -> Listing:
    """Returns the page that a ListObjectsV2 answer is.

    Raises:
        StalledError: SourceInvalid, naming what is wrong.
    """
    root = _xml(body)
    if root.tag.rpartition("}")[2] != "ListBucketResult":
        raise listing.invalid("the store's answer is no listing of a bucket")
    objects = []
    for item in _all(root, "Contents"):
        key, size = _text(item, "Key"), _text(item, "Size")
        if not key or not size.isdecimal() or len(size) > _SIZE_DIGITS or int(size) > _MAX_SIZE:
            raise listing.invalid("the listing of the bucket has an object without key or size")
        objects.append((key, int(size), _validator(item)))
    following = _text(root, "NextContinuationToken")
    if _text(root, "IsTruncated") != "true":
        return Listing(tuple(objects), "")
    if not following:
        raise listing.invalid("the listing of the bucket is cut and does not say how it goes on")
    return Listing(tuple(objects), following)


def _validator(item: ET.Element) -> str:
    """Returns the strong ETag; of a store without one, the date as the header Last-Modified has it."""
    etag = _text(item, "ETag")
    if etag:
        return etag if _STRONG.fullmatch(etag) else ""
    try:
        moment = datetime.fromisoformat(_text(item, "LastModified"))
        return format_datetime(moment.astimezone(UTC), usegmt=True)
    except (ValueError, OverflowError):
        return ""


def _place(wanted: Repository) -> tuple[str, str]:
    """Returns the URL of the bucket, without a slash, and the key."""
    parts = urlsplit(wanted.url)
    bucket, _, key = parts.path.lstrip("/").partition("/")
    if wanted.path_style:
        return f"{parts.scheme}://{parts.netloc}/{bucket}", unquote(key)
    return f"{parts.scheme}://{bucket}.{parts.netloc}", unquote(key)


def _sha256(headers: Mapping[str, str]) -> str | None:
    """Returns the digest that the store computed over the whole object."""
    try:
        digest = base64.b64decode(headers.get("x-amz-checksum-sha256", ""), validate=True)
    except ValueError:
        return None
    whole = headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT"
    return digest.hex() if whole and len(digest) == _SHA256_BYTES else None


def _refusal(body: bytes, status: int) -> GalleryError:
    try:
        root = _xml(body)
        code = _text(root, "Code")
    except StalledError:
        code = ""
    shown = f"the store answered {status} {code[:60]}".rstrip()
    if code == "SlowDown" or status == 503:  # noqa: PLR2004 - what S3 throttles with
        return TransientError(Reason.RATE_LIMITED, shown)
    if code in _ELSEWHERE:
        region = _text(root, "Region")[:40] or "another one"
        return StalledError(Reason.SOURCE_INVALID, f"{shown}: set the region to {region}")
    if code in _ABSENT or status == 404:  # noqa: PLR2004
        return StalledError(Reason.NOT_FOUND, f"{shown}; correct bucket and key")
    return StalledError(
        Reason.UNAUTHORIZED, f"{shown}; check spec.credentials and the key's rights"
    )


def _body(response: Response) -> bytes:
    return response.whole(_MAX_PAGE_BYTES, _PAGE_SECONDS, Reason.SOURCE_INVALID)


def _xml(body: bytes) -> ET.Element:
    try:
        # Decoded here, since a parser may see another encoding and other declarations in the bytes.
        text = body.decode()
        if _DECLARATIONS.search(text):
            # No entity may be declared: a few lines of them unfold to gigabytes.
            raise listing.invalid("the store's answer declares entities")
        return ET.fromstring(text)  # noqa: S314 - without declarations nothing unfolds
    except (ET.ParseError, ValueError) as error:
        raise listing.invalid("the store's answer is no XML") from error


def _all(root: ET.Element, name: str) -> list[ET.Element]:
    return [child for child in root if child.tag.rpartition("}")[2] == name]


def _text(root: ET.Element, name: str) -> str:
    found = _all(root, name)
    return (found[0].text or "").strip() if found else ""
