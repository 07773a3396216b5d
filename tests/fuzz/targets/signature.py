"""The signature of a model: a bundle from a source, and a statement that somebody trusted has signed."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sigstore.models import TrustedRoot

from fuzz.targets.guard import allowed
from model_gallery.api.conditions import Reason
from model_gallery.artifact import certificates, identities, signature
from model_gallery.artifact.digest import is_sha256
from model_gallery.artifact.identities import Identity
from model_gallery.artifact.signature import Manifest
from model_gallery.errors import StalledError
from support.signmake import (
    IDENTITY,
    authority,
    bundle,
    key,
    recorded,
    root,
    statement,
    with_certificates,
)

_OURS = ec.derive_private_key(7, ec.SECP256R1())
_PEM = _OURS.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
_KEYS = signature.public_keys([key(), _PEM.decode()])
_TRUSTED = (
    _KEYS,
    certificates.authorities([authority(), authority("other")], datetime(2030, 1, 1, tzinfo=UTC)),
    identities.identities(
        [Identity(IDENTITY["issuer"], IDENTITY["subject"])], TrustedRoot.from_file(str(root()))
    ),
)
_IGNORING = {"method": "files", "hash_type": "sha256", "ignore_paths": ["notes", ""]}


def _of_no_version() -> bytes:
    """A certificate that once was not taken well."""
    known, unknown = (b"\xa0\x03\x02\x01" + version for version in (b"\x02", b"\x0e"))
    found = x509.load_pem_x509_certificate(authority().encode())
    return found.public_bytes(serialization.Encoding.DER).replace(known, unknown, 1)


SEEDS = (
    recorded("p256"),
    recorded("other"),
    recorded("shards"),
    recorded("certificates/signed"),
    recorded("certificates/other"),
    recorded("keyless/signed"),
    recorded("keyless/rsa"),
    with_certificates(recorded("p256"), [_of_no_version()]),
    re.sub(rb'("integratedTime":)"[0-9]+"', rb'\1"99999999999999999"', recorded("keyless/signed")),
    json.dumps(statement({"a": b"a", "b/c": b"c"})).encode(),
    json.dumps(statement({"a": b"a"}, serialization=_IGNORING)).encode(),
    json.dumps(statement({"\ud800": b"a"})).encode(),
)


def one(data: bytes) -> None:
    """Says SignatureInvalid, or names files with digests; nothing that is not named passes."""
    for content in (data, bundle(_OURS, data)):
        with allowed():
            _judge(content)


def _judge(content: bytes) -> None:
    try:
        _sound(signature.verify(content, _TRUSTED))
    except StalledError as error:
        if error.reason is not Reason.SIGNATURE_INVALID:
            raise AssertionError(error.reason) from error
        raise


def _sound(manifest: Manifest) -> None:
    assert all(map(is_sha256, manifest.digests.values()))
    for name, digest in manifest.digests.items():
        assert manifest.problem(name, digest) is None
    assert manifest.problem("unsigned.bin", None) is not None
