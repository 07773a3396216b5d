"""Registries of the OCI distribution protocol: tokens, manifests, and where blobs lie.

A manifest is trusted for its own digest only, computed here. Credentials go to the registry's origin, and
to a token service that is at the same origin or that the Secret allows by name; nowhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import sha256_of_bytes
from model_gallery.errors import StalledError
from model_gallery.sources import challenge, listing
from model_gallery.sources.base import Authorize, RemoteFile, nobody
from model_gallery.sources.credentials import Credentials, bound, origin_of
from model_gallery.transport.client import HttpClient

__all__ = ["Descriptor", "Manifest", "Registry", "parse_manifest"]

_MEDIA_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_MAX_TOKEN_BYTES = 64 * 1024
_MAX_LAYERS = 1000
_MAX_SIZE = 2**53
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
_UNAUTHORIZED = 401


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
    authorize: Authorize = nobody

    def manifest(self, reference: str) -> Manifest:
        """Returns the manifest of a tag or a digest.

        Raises:
            StalledError: ChecksumMismatch where a digest was asked for and other bytes came;
                SourceInvalid, NotFound, Unauthorized.
            TransientError: as the client does.
        """
        url = f"{self._base}/manifests/{reference}"
        fetched = self._authorized_fetch(url)
        body = fetched[0]
        digest = f"sha256:{sha256_of_bytes(body)}"
        if _DIGEST.match(reference) and digest != reference:
            raise StalledError(
                Reason.CHECKSUM_MISMATCH,
                f"the registry answered a manifest with digest {digest}, asked for was {reference}",
            )
        return parse_manifest(body, digest, fetched[1])

    def blob(self, name: str, layer: Descriptor) -> RemoteFile:
        """Returns the file that a layer is."""
        url = f"{self._base}/blobs/sha256:{layer.sha256}"
        return RemoteFile(name, url, layer.size_bytes, layer.sha256, authorize=self.authorize)

    @property
    def _base(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/v2/{parts.path.strip('/')}"

    def _authorized_fetch(self, url: str) -> tuple[bytes, str]:
        self.credentials.require(url)
        headers = {"Accept": ", ".join(_MEDIA_TYPES)}
        with self.client.open(url, headers, expect={_UNAUTHORIZED}) as response:
            asked = response.headers.get("www-authenticate", "")
            refused = response.status == _UNAUTHORIZED
        if refused:
            self.authorize = self._answer(asked)
        fetched = self.client.fetch(
            url,
            max_bytes=_MAX_MANIFEST_BYTES,
            accept=headers["Accept"],
            authorize=self.authorize,
            too_large=Reason.SOURCE_INVALID,
        )
        return fetched.body or b"", fetched.headers.get("content-type", "").partition(";")[
            0
        ].strip()

    def _answer(self, header: str) -> Authorize:
        origin = origin_of(self.url)
        basic = self._basic()
        for asked in challenge.parse(header):
            if asked.scheme == "bearer" and asked.parameters.get("realm"):
                token = self._token(asked.parameters)
                return bound(origin, {"Authorization": f"Bearer {token}"})
            if asked.scheme == "basic" and basic is not None:
                return bound(origin, {"Authorization": basic})
        raise StalledError(
            Reason.UNAUTHORIZED,
            f"the registry {origin[1]} asks for credentials; give spec.credentials a Secret for it",
        )

    def _token(self, parameters: Mapping[str, str]) -> str:
        realm, origin = parameters["realm"], origin_of(self.url)
        other = origin_of(realm)
        if other[0] != "https" and other[0] != origin[0]:
            raise listing.invalid("the registry names a token service without TLS")
        trusted = other == origin or (other[0] == "https" and self.credentials.allows(realm))
        basic = self._basic() if trusted else None
        headers = {"Authorization": basic} if basic else {}
        path = urlsplit(self.url).path.strip("/")
        query = {"scope": f"repository:{path}:pull"}
        if parameters.get("service"):
            query["service"] = parameters["service"]
        separator = "&" if urlsplit(realm).query else "?"
        fetched = self.client.fetch(
            f"{realm}{separator}{urlencode(query)}",
            max_bytes=_MAX_TOKEN_BYTES,
            authorize=bound(other, headers),
            too_large=Reason.SOURCE_INVALID,
        )
        answer = _object(fetched.body or b"", "the token service's answer")
        token = answer.get("token") or answer.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise listing.invalid("the token service's answer holds no token")
        return token

    def _basic(self) -> str | None:
        return self.credentials.docker_basic(urlsplit(self.url).netloc)


def parse_manifest(body: bytes, digest: str, content_type: str) -> Manifest:
    """Returns the manifest that the bytes are.

    Args:
        content_type: what the server called it; empty where it did not say.

    Raises:
        StalledError: SourceInvalid, naming what is wrong.
    """
    document = _object(body, "the manifest")
    media_type = document.get("mediaType", content_type)
    if not isinstance(media_type, str):
        raise listing.invalid("mediaType of the manifest is no text")
    if "mediaType" in document and content_type in _MEDIA_TYPES and media_type != content_type:
        raise listing.invalid(
            f"the manifest is {media_type[:100]!r}, the server says {content_type}"
        )
    if "manifests" in document and "layers" in document:
        raise listing.invalid("the manifest is an index and an image at the same time")
    if "manifests" in document:
        return Manifest(digest, media_type, manifests=_descriptors(document, "manifests"))
    layers = _descriptors(document, "layers")
    sizes: dict[str, int] = {}
    for layer in layers:
        if sizes.setdefault(layer.sha256, layer.size_bytes) != layer.size_bytes:
            raise listing.invalid(f"layer sha256:{layer.sha256} is listed with two sizes")
    return Manifest(digest, media_type, layers)


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
