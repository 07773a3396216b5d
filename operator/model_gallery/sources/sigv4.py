"""AWS Signature Version 4, for requests without a body: a request and keys in, headers out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from model_gallery.artifact.digest import hmac_sha256, sha256_of_bytes
from model_gallery.transport.authorize import Authorize
from model_gallery.transport.credentials import origin_of

__all__ = ["UNSIGNED_PAYLOAD", "Keys", "sign", "signed"]

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "s3"
_DEFAULT_PORTS = frozenset({("http", 80), ("https", 443)})


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """What a request is signed with; without a repr, so that no traceback shows it.

    Attributes:
        token: of temporary keys; empty for lasting ones.
    """

    key_id: str
    secret: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    payload_hash: str = UNSIGNED_PAYLOAD

    def canonical(self) -> str:
        parts = urlsplit(self.url)
        lines = [f"{name}:{self.headers[name]}" for name in self.names]
        return "\n".join(
            [
                self.method,
                # S3, unlike the other services, encodes a path once and leaves its dots alone.
                quote(unquote(parts.path) or "/", safe="/-_.~"),
                _canonical_query(parts.query),
                *lines,
                "",
                ";".join(self.names),
                self.payload_hash,
            ]
        )

    @property
    def names(self) -> list[str]:
        return sorted(self.headers)


def sign(
    method: str,
    url: str,
    keys: Keys,
    region: str,
    now: datetime,
    *,
    headers: Mapping[str, str] | None = None,
    payload_hash: str = UNSIGNED_PAYLOAD,
) -> Mapping[str, str]:
    """Returns the headers that authorize a request.

    Args:
        headers: others that the request carries and the signature shall cover: S3 demands it of all
            whose names begin with `x-amz-`.
        payload_hash: sha256 of the body.
    """
    stamp = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    own = {"x-amz-content-sha256": payload_hash, "x-amz-date": stamp}
    if keys.token:
        own["x-amz-security-token"] = keys.token
    carried = {**(headers or {}), **own, "host": _host(url)}
    covered = {name.lower(): " ".join(value.split()) for name, value in carried.items()}
    request = _Request(method, url, covered, payload_hash)
    scope = f"{stamp[:8]}/{region}/{_SERVICE}/aws4_request"
    digest = sha256_of_bytes(request.canonical().encode())
    signature = hmac_sha256(
        _signing_key(keys.secret, scope), f"{_ALGORITHM}\n{stamp}\n{scope}\n{digest}".encode()
    ).hex()
    own["Authorization"] = (
        f"{_ALGORITHM} Credential={keys.key_id}/{scope},"
        f"SignedHeaders={';'.join(request.names)},Signature={signature}"
    )
    return own


def signed(
    url: str, keys: Keys, region: str, *, headers: Mapping[str, str] | None = None
) -> Authorize:
    """Returns who signs GET requests to the URL's origin, and to no other, when they are made.

    Args:
        headers: as of `sign`.
    """
    origin = origin_of(url)

    def authorize(asked: str) -> Mapping[str, str]:
        if origin_of(asked) != origin:
            return {}
        now = datetime.now(UTC)  # noqa: TID251 - an edge reads the clock; a signature is soon stale
        return sign("GET", asked, keys, region, now, headers=headers)

    return authorize


def _host(url: str) -> str:
    """Returns the Host header as the HTTP client sends it: without the scheme's own port."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if ":" in host:
        host = f"[{host}]"
    if parts.port is None or (parts.scheme, parts.port) in _DEFAULT_PORTS:
        return host
    return f"{host}:{parts.port}"


def _canonical_query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac_sha256(key, part.encode())
    return key
