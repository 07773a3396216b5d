"""Registries of the OCI distribution protocol: tokens, manifests, and where blobs lie.

A manifest is trusted for its own digest only, computed here. Credentials go to the registry's origin, and
to a token service that is at the same origin or that the Secret allows by name; nowhere else.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from model_gallery.api.conditions import Reason
from model_gallery.artifact import reference
from model_gallery.artifact.digest import sha256_of_bytes
from model_gallery.errors import StalledError
from model_gallery.sources import challenge, listing
from model_gallery.sources.base import Packed, RemoteFile
from model_gallery.transport import answers
from model_gallery.transport.authorize import Authorize, nobody
from model_gallery.transport.client import Fetched, HttpClient
from model_gallery.transport.credentials import Credentials, bound, origin_of

__all__ = ["Descriptor", "Manifest", "Registry", "parse_manifest"]

_MEDIA_TYPES = {
    "application/vnd.oci.image.manifest.v1+json": "layers",
    "application/vnd.oci.image.index.v1+json": "manifests",
    "application/vnd.docker.distribution.manifest.v2+json": "layers",
    "application/vnd.docker.distribution.manifest.list.v2+json": "manifests",
}
"""Which list each kind of document has."""
_ACCEPT = {"Accept": ", ".join(_MEDIA_TYPES)}
_SAYS_NOTHING = {"", "application/json", "application/octet-stream", "text/plain"}
_MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_MAX_TOKEN_BYTES = 64 * 1024
_MAX_LAYERS = 1000
_MAX_SIZE = 2**53
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
_REFERENCE = re.compile(r"(?:sha256:[0-9a-f]{64}|[A-Za-z0-9_][A-Za-z0-9._-]{0,127})\Z")
_UNAUTHORIZED = 401
_DEFAULT_LIFE_SECONDS, _LONGEST_LIFE_SECONDS = 60, 3600
"""Of a token that does not say when it ends, as the distribution's specification has it."""
_SHARE_OF_LIFE = 0.75


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a manifest says of one content.

    Attributes:
        sha256: 64 lower-case hex digits.
    """

    media_type: str
    sha256: str
    size_bytes: int
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest, or an index of manifests.

    Attributes:
        digest: `sha256:` and the digest of its bytes.
        layers: in order; empty for an index.
        manifests: of an index; empty otherwise.
    """

    digest: str
    media_type: str
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()


@dataclass(slots=True)
class Registry:
    """One repository of a registry.

    Attributes:
        url: `https://host[:port]/<repository path>`.
    """

    client: HttpClient
    credentials: Credentials
    url: str
    _access: _Access = field(init=False)

    def __post_init__(self) -> None:
        self._access = _Access(self.client, self.credentials, self.url)

    def manifest(self, wanted: str) -> Manifest:
        """Returns the manifest of a tag or a digest.

        Raises:
            StalledError: ChecksumMismatch where a digest was asked for and other bytes came;
                SourceInvalid, NotFound, Unauthorized, SecretNotAllowed.
            TransientError: as the client does.
        """
        if not _REFERENCE.match(wanted):
            message = f"{wanted[:100]!r} is neither a tag nor a sha256: digest"
            raise StalledError(Reason.INVALID_SPEC, message)
        fetched = self._fetch(f"{self._base}/manifests/{wanted}")
        body = fetched.body or b""
        digest = f"sha256:{sha256_of_bytes(body)}"
        if _DIGEST.match(wanted) and digest != wanted:
            raise StalledError(
                Reason.CHECKSUM_MISMATCH,
                f"the registry answered a manifest with digest {digest}, asked for was {wanted}",
            )
        return parse_manifest(body, digest, fetched.headers.get("content-type", ""))

    def blob(self, name: str, layer: Descriptor, packed: Packed | None = None) -> RemoteFile:
        """Returns the file that a layer is, or the archive."""
        url = f"{self._base}/blobs/sha256:{layer.sha256}"
        size, sha256 = layer.size_bytes, layer.sha256
        return RemoteFile(name, url, size, sha256, authorize=self._access, packed=packed)

    @property
    def _base(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/v2/{parts.path.strip('/')}"

    def _fetch(self, url: str) -> Fetched:
        self.credentials.require(url)
        try:
            return self._fetch_once(url)
        except StalledError as error:
            if error.reason is not Reason.UNAUTHORIZED:
                raise
            if self._access.answered:
                raise self._access.explained(error) from error
        # A second request for the header alone: asking beforehand would count against the rate limits
        # of registries that need no token.
        with self.client.open(url, _ACCEPT, expect={_UNAUTHORIZED}) as response:
            self._access.answer(response.headers.get("www-authenticate", ""))
        try:
            return self._fetch_once(url)
        except StalledError as error:
            raise self._access.explained(error) from error

    def _fetch_once(self, url: str) -> Fetched:
        return self.client.fetch(
            url,
            max_bytes=_MAX_MANIFEST_BYTES,
            accept=_ACCEPT["Accept"],
            authorize=self._access,
            too_large=Reason.SOURCE_INVALID,
        )


@dataclass(slots=True)
class _Access:
    """Authorizes requests to one repository, from several threads.

    Tokens end after minutes and downloads after hours, so a token is asked for anew when it is old.

    Attributes:
        answered: whether a challenge was answered already.
    """

    client: HttpClient
    credentials: Credentials
    url: str
    answered: bool = False
    _authorize: Authorize = nobody
    _service: Mapping[str, str] = field(default_factory=dict)
    _renew_at: float = math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, url: str) -> Mapping[str, str]:
        if origin_of(url) == origin_of(self.url):
            with self._lock:
                if time.monotonic() >= self._renew_at:
                    self._renew()
        return self._authorize(url)

    def answer(self, header: str) -> None:
        """Prepares what the challenge asks for; a token is preferred to the password.

        Raises:
            StalledError: Unauthorized, where there is nothing to answer with.
        """
        origin, basic, self.answered = origin_of(self.url), self._basic(), True
        asked = {one.scheme: one.parameters for one in reversed(challenge.parse(header))}
        if asked.get("bearer", {}).get("realm"):
            self._service, self._renew_at = asked["bearer"], -math.inf
        elif "basic" in asked and basic is not None:
            self._authorize = bound(origin, {"Authorization": basic})
        else:
            raise StalledError(
                Reason.UNAUTHORIZED,
                f"the registry {origin[1]} asks for credentials;"
                " give spec.credentials a Secret for it",
            )

    def explained(self, error: StalledError) -> StalledError:
        """Returns what the refusal of an answered challenge means for the user."""
        if error.reason is not Reason.UNAUTHORIZED:
            return error
        what = f"the registry refuses {answers.shown(self.url)}: check its name"
        realm = self._service.get("realm")
        if not self.credentials.named:
            what += "; where it is private, give spec.credentials a Secret"
        elif realm and not self._is_trusted(realm):
            what += f", or add {origin_of(realm)[1][:100]}, its token service, to allowed-hosts"
        return StalledError(Reason.UNAUTHORIZED, what)

    def _renew(self) -> None:
        token, seconds = self._token()
        self._authorize = bound(origin_of(self.url), {"Authorization": f"Bearer {token}"})
        self._renew_at = time.monotonic() + seconds * _SHARE_OF_LIFE

    def _token(self) -> tuple[str, float]:
        realm = _checked_realm(self._service["realm"], self.url)
        basic = self._basic() if self._is_trusted(realm) else None
        query = {"scope": f"repository:{urlsplit(self.url).path.strip('/')}:pull"}
        if self._service.get("service"):
            query["service"] = self._service["service"]
        fetched = self.client.fetch(
            f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}",
            max_bytes=_MAX_TOKEN_BYTES,
            authorize=bound(origin_of(realm), {"Authorization": basic} if basic else {}),
            too_large=Reason.SOURCE_INVALID,
        )
        answer = _object(fetched.body or b"", "the token service's answer")
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise listing.invalid("the token service's answer holds no token")
        seconds = answer.get("expires_in")
        if not isinstance(seconds, int) or seconds < 0:
            seconds = _DEFAULT_LIFE_SECONDS
        return token, min(seconds, _LONGEST_LIFE_SECONDS)

    def _is_trusted(self, realm: str) -> bool:
        own, other = origin_of(self.url), origin_of(realm)
        return other == own or (other[0] == "https" and self.credentials.allows(realm))

    def _basic(self) -> str | None:
        place = urlsplit(self.url)
        return self.credentials.docker_basic(place.netloc) or self.credentials.docker_basic(
            place.hostname or ""
        )


def _checked_realm(realm: str, registry: str) -> str:
    try:
        realm = reference.redirect_target(realm)
    except StalledError as error:
        raise listing.invalid("the registry names a token service that is no URL") from error
    if origin_of(realm)[0] == "http" and origin_of(registry)[0] != "http":
        raise listing.invalid("the registry names a token service without TLS")
    return realm


def parse_manifest(body: bytes, digest: str, content_type: str) -> Manifest:
    """Returns the manifest that the bytes are.

    Args:
        content_type: what the server called it; empty where it did not say.

    Raises:
        StalledError: SourceInvalid, naming what is wrong.
    """
    document = _object(body, "the manifest")
    if "manifests" in document and "layers" in document:
        raise listing.invalid("the manifest is an index and an image at the same time")
    key = "manifests" if "manifests" in document else "layers"
    media_type = _media_type(document, content_type.partition(";")[0].strip().lower(), key)
    found = _descriptors(document, key)
    sizes: dict[str, int] = {}
    for one in found:
        if sizes.setdefault(one.sha256, one.size_bytes) != one.size_bytes:
            raise listing.invalid(f"sha256:{one.sha256} is listed with two sizes")
    if key == "manifests":
        return Manifest(digest, media_type, manifests=found)
    return Manifest(digest, media_type, found)


def _media_type(document: Mapping[str, Any], content_type: str, key: str) -> str:
    """Returns what server and document both call the document, and what it looks like."""
    named = document.get("mediaType", "")
    if not isinstance(named, str):
        raise listing.invalid("mediaType of the manifest is no text")
    # Ollama's registry and plain file servers do not say that it is a manifest.
    said = "" if content_type in _SAYS_NOTHING else content_type
    if named and said and named != said:
        raise listing.invalid(f"the manifest is {named[:100]!r}, the server says {said[:100]!r}")
    media_type = named or said
    if media_type and _MEDIA_TYPES.get(media_type) != key:
        raise listing.invalid(f"the manifest is {media_type[:100]!r}, but has {key}")
    return media_type


def _descriptors(document: Mapping[str, Any], key: str) -> tuple[Descriptor, ...]:
    items = document.get(key)
    if not isinstance(items, list) or len(items) > _MAX_LAYERS:
        raise listing.invalid(f"{key} of the manifest must be a list of at most {_MAX_LAYERS}")
    return tuple(_descriptor(item, f"{key}[{number}]") for number, item in enumerate(items))


def _descriptor(item: Any, where: str) -> Descriptor:
    if not isinstance(item, dict):
        raise listing.invalid(f"{where} of the manifest is no object")
    digest, size = item.get("digest"), item.get("size")
    match = _DIGEST.match(digest) if isinstance(digest, str) else None
    if match is None:
        raise listing.invalid(f"digest of {where} is {str(digest)[:100]!r}, which is no sha256")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise listing.invalid(f"size of {where} is {str(size)[:40]}")
    media_type, notes = item.get("mediaType", ""), item.get("annotations") or {}
    platform = item.get("platform") or {}
    if not (isinstance(media_type, str) and isinstance(notes, dict) and isinstance(platform, dict)):
        raise listing.invalid(f"{where} of the manifest has fields of wrong types")
    texts = {key: value for key, value in notes.items() if isinstance(value, str)}
    return Descriptor(media_type, match[1], size, texts, platform)


def _object(body: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise listing.invalid(f"{what} is no JSON") from error
    if not isinstance(value, dict):
        raise listing.invalid(f"{what} is no object")
    return value
