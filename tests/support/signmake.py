"""Signed models for tests: those that model-signing itself signed, and bundles of any statement."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = [
    "IDENTITY",
    "MODEL",
    "RECORDED",
    "authority",
    "bundle",
    "key",
    "recorded",
    "root",
    "statement",
    "with_certificates",
]

RECORDED = Path(__file__).parents[1] / "data" / "signatures"
_FOLDER = RECORDED / "model"
MODEL: Mapping[str, bytes] = {
    str(path.relative_to(_FOLDER)): path.read_bytes()
    for path in sorted(_FOLDER.rglob("*"))
    if path.is_file()
}
"""The files of the recorded model, by name."""
IDENTITY: Mapping[str, str] = json.loads((RECORDED / "keyless" / "index.json").read_text())
"""Who has signed what lies in keyless/: issuer and subject."""
_TYPE = "application/vnd.in-toto+json"


def recorded(name: str) -> bytes:
    """Returns a bundle that model-signing made, or one of sigstore-go's (tests/data/signatures/)."""
    return (RECORDED / f"{name}.sig").read_bytes()


def key(name: str = "p256") -> str:
    """Returns a recorded public key in PEM."""
    return (RECORDED / f"{name}.pub").read_text()


def authority(name: str = "root") -> str:
    """Returns a recorded certificate authority in PEM."""
    return (RECORDED / "certificates" / f"{name}.pem").read_text()


def root(name: str = "root") -> Path:
    """Returns where a recorded trusted root of Sigstore lies."""
    return RECORDED / "keyless" / f"{name}.json"


def with_certificates(content: bytes, certificates: Sequence[bytes]) -> bytes:
    """Returns a bundle with other certificates, in DER, the signer's first."""
    raw = [{"rawBytes": base64.b64encode(one).decode()} for one in certificates]
    material = {"x509CertificateChain": {"certificates": raw}}
    return json.dumps({**json.loads(content), "verificationMaterial": material}).encode()


def statement(files: Mapping[str, bytes], **predicate: Any) -> dict[str, Any]:
    """Returns the statement that model-signing makes of files."""
    digests = {name: hashlib.sha256(content) for name, content in files.items()}
    root = hashlib.sha256(b"".join(digest.digest() for digest in digests.values()))
    resources = [
        {"name": name, "algorithm": "sha256", "digest": digest.hexdigest()}
        for name, digest in digests.items()
    ]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": root.hexdigest()}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
            "resources": resources,
            **predicate,
        },
    }


def bundle(private: ec.EllipticCurvePrivateKey, content: Any, kind: str = _TYPE) -> bytes:
    """Returns the bundle of a statement, or of any bytes, signed as a P-256 key does."""
    payload = content if isinstance(content, bytes) else json.dumps(content).encode()
    message = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    signature = private.sign(message, ec.ECDSA(hashes.SHA256()))
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
    }
    return json.dumps({"dsseEnvelope": envelope}).encode()
