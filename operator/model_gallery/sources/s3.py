"""Files in an S3 bucket, or in what speaks its protocol: one key, or all below a prefix."""

from __future__ import annotations

import base64
import binascii
import re
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from urllib.parse import quote, unquote, urlencode, urlsplit
from xml.etree import ElementTree as ET

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import sha256_of_value
from model_gallery.artifact.path import ArtifactPath
from model_gallery.errors import GalleryError, StalledError, TransientError
from model_gallery.protocol.operation import Repository
from model_gallery.sources.base import Authorize, RemoteFile, Resolution, nobody
from model_gallery.sources.credentials import Credentials
from model_gallery.sources.sigv4 import Keys, signed
from model_gallery.transport import answers
from model_gallery.transport.client import HttpClient, Response

__all__ = ["Listed", "Page", "S3Source", "parse_listing"]

_OK = 200
_EXPLAINED = frozenset({400, 401, 403, 404, 503})
"""Statuses of which S3 says more in the body than the status does."""
_CHECKSUM = {"x-amz-checksum-mode": "ENABLED"}

_MAX_PAGES = 100
_PAGE_KEYS = 1000
_MAX_KEYS = _MAX_PAGES * _PAGE_KEYS
_MAX_PAGE_BYTES = 8 * 1024 * 1024
_MAX_PAGE_TAGS = 100_000
"""A true page has some 30 tags per key; a tree of millions of elements would eat the memory."""
_MAX_ERROR_BYTES = 64 * 1024
_MAX_READ_SECONDS = 120.0
_BLOCK = 64 * 1024
_SHOWN_NAMES = 5

_SCHEMES = frozenset({"http", "https"})
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]\Z")
_REGION = re.compile(r"[a-z0-9-]{1,32}\Z")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9.]{1,63}\Z")
_SIZE = re.compile(r"[0-9]{1,19}\Z")
_STRONG_ETAG = re.compile(r'"[\x21\x23-\x7e]{1,256}"\Z')
_SHA256_BYTES = 32

_ELSEWHERE = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed"})
_CHECK_KEYS = "check the keys in the Secret of spec.credentials and the bucket's policy"
_MEANINGS = {
    "NoSuchBucket": (Reason.NOT_FOUND, "correct the bucket"),
    "NoSuchKey": (Reason.NOT_FOUND, "correct the key; a prefix ends in a slash"),
    "NoSuchVersion": (Reason.NOT_FOUND, "correct the version"),
    "AccessDenied": (Reason.UNAUTHORIZED, _CHECK_KEYS),
    "ExpiredToken": (Reason.UNAUTHORIZED, _CHECK_KEYS),
    "InvalidAccessKeyId": (Reason.UNAUTHORIZED, _CHECK_KEYS),
    "InvalidToken": (Reason.UNAUTHORIZED, _CHECK_KEYS),
    "RequestTimeTooSkewed": (Reason.UNAUTHORIZED, "set the clock of the node"),
    "SignatureDoesNotMatch": (Reason.UNAUTHORIZED, _CHECK_KEYS),
}


@dataclass(frozen=True, slots=True)
class Listed:
    """One key of a listing.

    Attributes:
        etag: strong, as the header of the object itself gives it; None where it is none.
    """

    key: str
    size_bytes: int
    etag: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing.

    Attributes:
        next_token: asks for the next page; empty on the last.
    """

    keys: tuple[Listed, ...]
    next_token: str


@dataclass(frozen=True, slots=True)
class _Place:
    """A key or prefix in a bucket; `base` is the bucket's URL with a slash at its end."""

    endpoint: str
    base: str
    key: str

    @property
    def is_prefix(self) -> bool:
        return not self.key or self.key.endswith("/")

    def url(self, key: str, version: str = "") -> str:
        query = f"?{_query({'versionId': version})}" if version else ""
        return self.base + quote(key, safe="/-_.~") + query


@dataclass(frozen=True, slots=True)
class S3Source:
    """Resolves keys and prefixes."""

    client: HttpClient
    credentials: Credentials

    def resolve(self, wanted: Repository) -> Resolution:
        """Returns one object, pinned to its version where it has one, or all below a prefix.

        Raises:
            StalledError: NotFound, Unauthorized, UnsafePath, SourceInvalid, InvalidSpec,
                SecretNotAllowed.
            GalleryError: as `HttpClient.open` does.
        """
        place = _place(wanted)
        if not place.is_prefix:
            return self._object(place, wanted)
        if wanted.revision:
            raise StalledError(
                Reason.INVALID_SPEC, "a version belongs to one key, and the URI names a prefix"
            )
        return self._prefix(place, wanted)

    def _object(self, place: _Place, wanted: Repository) -> Resolution:
        url = place.url(place.key, wanted.revision)
        authorize = self._authorize(place, wanted, _CHECKSUM)
        # Without a range, though no byte is read: S3 keeps the checksum back from answers to ranges.
        with self._asked(url, _CHECKSUM, authorize) as response:
            headers = response.headers
        version = headers.get("x-amz-version-id", "")
        if wanted.revision and version != wanted.revision:
            raise StalledError(
                Reason.NOT_FOUND, f"{answers.shown(url)}: the server keeps no versions of it"
            )
        # The version called null is overwritten in place.
        version = "" if version == "null" else version
        length = headers.get("content-length", "")
        file = RemoteFile(
            name=place.key.rpartition("/")[2],
            url=place.url(place.key, version or wanted.revision),
            size_bytes=int(length) if _SIZE.match(length) else None,
            sha256=_promised(headers),
            validator=_strong(headers.get("etag", "")),
            authorize=self._authorize(place, wanted),
        )
        return _resolution([file], wanted, version)

    def _prefix(self, place: _Place, wanted: Repository) -> Resolution:
        authorize = self._authorize(place, wanted)
        files = []
        for listed in self._listed(place, authorize):
            if not listed.key.startswith(place.key):
                raise _invalid(place.base, "the listing has keys that do not begin with the prefix")
            if listed.key.endswith("/") and not listed.size_bytes:
                continue  # consoles make such to show an empty folder
            file = RemoteFile(
                name=listed.key.removeprefix(place.key),
                url=place.url(listed.key),
                size_bytes=listed.size_bytes,
                validator=listed.etag,
                authorize=authorize,
            )
            files.append(file)
        return _resolution(files, wanted, "")

    def _listed(self, place: _Place, authorize: Authorize) -> list[Listed]:
        keys: list[Listed] = []
        query = {"list-type": "2", "max-keys": str(_PAGE_KEYS), "prefix": place.key}
        for _ in range(_MAX_PAGES):
            with self._asked(f"{place.base}?{_query(query)}", {}, authorize) as response:
                page = parse_listing(_body(response, _MAX_PAGE_BYTES))
            keys += page.keys
            if len(keys) > _MAX_KEYS:
                break
            if not page.next_token:
                return keys
            query["continuation-token"] = page.next_token
        raise _invalid(place.base, f"more than {_MAX_KEYS} keys are listed; name a longer prefix")

    @contextmanager
    def _asked(
        self, url: str, headers: Mapping[str, str], authorize: Authorize
    ) -> Iterator[Response]:
        with self.client.open(url, headers, authorize=authorize, expect=_EXPLAINED) as response:
            if response.status != _OK:
                raise _refused(response)
            yield response

    def _authorize(
        self, place: _Place, wanted: Repository, headers: Mapping[str, str] | None = None
    ) -> Authorize:
        self.credentials.require(place.endpoint)
        values = self.credentials.values
        key_id, secret = values.get("accessKeyId", ""), values.get("secretAccessKey", "")
        if not key_id and not secret and not self.credentials.named:
            return nobody
        if not key_id or not secret:
            raise StalledError(
                Reason.SECRET_NOT_ALLOWED,
                "the Secret of spec.credentials must hold accessKeyId and secretAccessKey",
            )
        keys = Keys(key_id, secret, values.get("sessionToken", ""))
        return signed(place.base, keys, wanted.region or "us-east-1", headers=headers)


def parse_listing(body: bytes) -> Page:
    """Returns what one answer to ListObjectsV2 holds.

    Raises:
        StalledError: SourceInvalid.
    """
    root = _tree(body)
    if root.tag.rpartition("}")[2] != "ListBucketResult":
        raise _invalid("the listing", "is no ListBucketResult")
    keys = tuple(_listed_key(element) for element in root.iterfind("{*}Contents"))
    token = ""
    if _text(root, "IsTruncated") == "true":
        token = _text(root, "NextContinuationToken")
        if not token:
            raise _invalid("the listing", "is cut off and does not say how it goes on")
    return Page(keys, token)


def _listed_key(element: ET.Element) -> Listed:
    key, size, etag = (_text(element, name) for name in ("Key", "Size", "ETag"))
    if not key or not _SIZE.match(size):
        raise _invalid("the listing", "has an entry without a key or a size")
    # Some servers list the tag without the quotes that the header has.
    quoted = etag if etag.startswith(('"', "W/")) else f'"{etag}"'
    return Listed(key, int(size), _strong(quoted))


def _tree(body: bytes) -> ET.Element:
    try:
        text = body.decode()
        # Entities are declared nowhere else, and nothing in S3 has a document type.
        if "<!DOCTYPE" in text or "<!ENTITY" in text or text.count("<") > _MAX_PAGE_TAGS:
            raise _invalid("the server's XML", "has a document type, entities or too many tags")
        # Text and not bytes: so no declaration in it can choose an encoding unseen by the check.
        return ET.fromstring(text)  # noqa: S314 - guarded above
    except (ET.ParseError, ValueError) as error:
        raise _invalid("the server's answer", "is no XML") from error


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""


def _place(wanted: Repository) -> _Place:
    shown = wanted.url.partition("?")[0][:200]
    try:
        parts = urlsplit(wanted.url)
        raw_bucket, _, raw_key = parts.path.removeprefix("/").partition("/")
        key = unquote(raw_key, errors="strict")
    except ValueError as error:
        raise _wrong(shown, "cannot be read") from error
    plain = parts.scheme in _SCHEMES and parts.hostname and "@" not in parts.netloc
    if not plain or parts.query or parts.fragment or not _BUCKET.match(raw_bucket):
        raise _wrong(shown, "must have the form https://<endpoint>/<bucket>/<key or prefix/>")
    if {".", ".."} & set(key.split("/")):
        # HTTP clients and servers resolve them, so that another key would be asked for.
        raise StalledError(Reason.UNSAFE_PATH, f"{shown!r} must not have `.` or `..` in its key")
    endpoint = f"{parts.scheme}://{parts.netloc}/"
    if wanted.path_style:
        return _Place(endpoint, f"{endpoint}{raw_bucket}/", key)
    return _Place(endpoint, f"{parts.scheme}://{raw_bucket}.{parts.netloc}/", key)


def _query(values: Mapping[str, str]) -> str:
    return urlencode(values, quote_via=quote, safe="-_.~")


def _resolution(files: Sequence[RemoteFile], wanted: Repository, version: str) -> Resolution:
    taken = sorted(
        (file for file in files if _is_wanted(file.name, wanted)), key=lambda file: file.name
    )
    if not taken:
        raise StalledError(
            Reason.NOT_FOUND,
            f"{answers.shown(wanted.url)}: no file is there that include and exclude let pass",
        )
    _check_names([file.name for file in taken])
    facts = [[file.name, file.validator, file.size_bytes] for file in taken]
    return Resolution(version or sha256_of_value(facts), tuple(taken))


def _is_wanted(name: str, wanted: Repository) -> bool:
    included = not wanted.include or any(fnmatchcase(name, glob) for glob in wanted.include)
    return included and not any(fnmatchcase(name, glob) for glob in wanted.exclude)


def _check_names(names: Sequence[str]) -> None:
    """Refuses what a volume cannot hold: unsafe names, and two names for one place.

    Raises:
        StalledError: UnsafePath, with the first of them.
    """
    bad = [name for name in names if not _is_safe(name)] or _clashing(names)
    if bad:
        some = ", ".join(ascii(name[:100]) for name in bad[:_SHOWN_NAMES])
        raise StalledError(
            Reason.UNSAFE_PATH,
            f"{len(bad)} keys are unsafe as file names or clash with each other: {some};"
            " rename or exclude them",
        )


def _is_safe(name: str) -> bool:
    try:
        ArtifactPath.parse(name)
    except StalledError:
        return False
    return True


def _clashing(names: Sequence[str]) -> list[str]:
    # Sorted by components, a file stands directly before the first one that needs it as a folder.
    ordered = sorted(
        (unicodedata.normalize("NFC", name.casefold()).split("/"), name) for name in names
    )
    clashes = [
        {one, other}
        for (parts, one), (others, other) in pairwise(ordered)
        if others[: len(parts)] == parts
    ]
    return sorted(set[str]().union(*clashes))


def _strong(etag: str) -> str | None:
    return etag if _STRONG_ETAG.match(etag) else None


def _promised(headers: Mapping[str, str]) -> str | None:
    """Returns the sha256 of the whole object; a multipart one (`...-3`) is of its parts' digests."""
    try:
        digest = base64.b64decode(headers.get("x-amz-checksum-sha256", ""), validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest.hex() if len(digest) == _SHA256_BYTES else None


def _body(response: Response, limit: int) -> bytes:
    where = answers.shown(response.url)
    body, block = bytearray(), memoryview(bytearray(_BLOCK))
    end = time.monotonic() + _MAX_READ_SECONDS
    while read := response.readinto(block):
        body += block[:read]
        if len(body) > limit:
            raise _invalid(where, f"the answer is larger than {limit} bytes")
        if time.monotonic() > end:
            raise TransientError(Reason.INTERRUPTED, f"{where}: the answer took too long to arrive")
    # Python's client reports no error where less comes than was announced.
    if response.headers.get("content-length", str(len(body))) != str(len(body)):
        raise TransientError(Reason.INTERRUPTED, f"{where}: the transfer broke off")
    return bytes(body)


def _refused(response: Response) -> GalleryError:
    """Returns what a refusal means. Of its body, which may repeat secrets, only two words are used."""
    code, region = _explanation(response)
    where, status = answers.shown(response.url), response.status
    if code in _ELSEWHERE:
        return _wrong(where, f"is in another region ({code}); set the region to {region}")
    if code == "SlowDown":
        after = answers.retry_after_seconds(response.headers.get("retry-after", ""))
        return TransientError(Reason.RATE_LIMITED, f"{where}: {code}", retry_after=after)
    if code in _MEANINGS:
        reason, advice = _MEANINGS[code]
        return StalledError(reason, f"{where}: {code} (HTTP {status}); {advice}")
    refusal = answers.refusal(status, response.headers, response.url)
    return refusal or _invalid(where, f"HTTP {status} with no content")


def _explanation(response: Response) -> tuple[str, str]:
    """Returns code and region of an error, as far as they are told and are what they should be."""
    try:
        root = _tree(_body(response, _MAX_ERROR_BYTES))
        code, region = _text(root, "Code"), _text(root, "Region")
    except GalleryError:
        code, region = "", ""
    region = response.headers.get("x-amz-bucket-region", region)
    return (
        code if _CODE.match(code) else "",
        region if _REGION.match(region) else "that of the bucket",
    )


def _invalid(where: str, problem: str) -> StalledError:
    return StalledError(Reason.SOURCE_INVALID, f"{where}: {problem}")


def _wrong(where: str, problem: str) -> StalledError:
    return StalledError(Reason.INVALID_SPEC, f"{where} {problem}")
