"""Signatures by certificate: what model-signing signed is taken while its certificates are valid."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from model_gallery.api.conditions import Reason
from model_gallery.artifact import certificates, signature
from model_gallery.errors import StalledError
from support.signmake import MODEL, authority, bundle, key, recorded, statement, with_certificates

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FILES = {"a.bin": b"a"}
ROOT = ec.derive_private_key(11, ec.SECP256R1())
SIGNER = ec.derive_private_key(12, ec.SECP256R1())
CODE = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def usage(*, sign: bool = False, certify: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(sign, False, False, False, False, certify, False, False, False)


def certificate(
    name: str,
    public: ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey,
    *extensions: x509.ExtensionType,
    issuer: str = "root",
    by: ec.EllipticCurvePrivateKey = ROOT,
    ca: bool = False,
    start: datetime = NOW - timedelta(days=1),
) -> x509.Certificate:
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in (name, issuer)]
    builder = (
        x509.CertificateBuilder(names[1], names[0], public, 1, start, NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False
        )
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(by, hashes.SHA256())


TRUSTED = certificate("root", ROOT.public_key(), usage(certify=True), ca=True)
PEM = TRUSTED.public_bytes(Encoding.PEM).decode()


def signed(*chain: x509.Certificate, by: ec.EllipticCurvePrivateKey = SIGNER) -> bytes:
    content = bundle(by, statement(FILES))
    return with_certificates(content, [one.public_bytes(Encoding.DER) for one in chain])


def verified(content: bytes, *pems: str, now: datetime = NOW) -> signature.Manifest:
    return signature.verify(content, [certificates.authorities(pems or [PEM], now)])


def refused(content: bytes, *pems: str, now: datetime = NOW) -> str:
    with pytest.raises(StalledError) as caught:
        verified(content, *pems, now=now)
    assert caught.value.reason is Reason.SIGNATURE_INVALID
    assert caught.value.message.startswith("model.sig: ")
    assert len(caught.value.message) < 600
    return caught.value.message


def test_what_the_tool_signed_is_what_it_read() -> None:
    manifest = verified(recorded("certificates/signed"), authority("other"), authority())

    assert manifest.digests.keys() == MODEL.keys() - {".gitattributes", "notes/todo.txt"}


def test_of_another_authority() -> None:
    said = refused(recorded("certificates/signed"), authority("other"))

    assert "leads to no authority of policy.signatures.certificateAuthorities" in said


def test_nobody_is_trusted_for_bringing_his_own_authority() -> None:
    assert "leads to no authority" in refused(recorded("certificates/other"), authority())


def test_expired() -> None:
    """Nothing says when it was used: a log is not asked for here."""
    said = refused(recorded("certificates/expired"), authority())

    assert "valid until 2026-02-01" in said
    assert verified(
        recorded("certificates/expired"), authority(), now=datetime(2026, 1, 15, tzinfo=UTC)
    )


def test_an_authority_that_has_expired() -> None:
    """Though the signer's certificate outlives it."""
    said = refused(
        signed(certificate("signer", SIGNER.public_key(), usage(sign=True))),
        authority(),
        now=datetime(2066, 6, 1, tzinfo=UTC),
    )

    assert "valid" in said


TAKEN = {
    "for signatures": (usage(sign=True),),
    "for code": (CODE,),
    "for both": (usage(sign=True), CODE),
}


@pytest.mark.parametrize("extensions", TAKEN.values(), ids=TAKEN.keys())
def test_certificates_that_may_sign(extensions: tuple[x509.ExtensionType, ...]) -> None:
    assert verified(signed(certificate("signer", SIGNER.public_key(), *extensions)))


ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
BETWEEN = ec.derive_private_key(13, ec.SECP256R1())


def below(*extensions: x509.ExtensionType, ca: bool) -> bytes:
    """A certificate below one that lies between it and the root."""
    between = certificate("between", BETWEEN.public_key(), *extensions, ca=ca)
    signer = certificate(
        "signer", SIGNER.public_key(), usage(sign=True), issuer="between", by=BETWEEN
    )
    return signed(signer, between)


UNKNOWN = b"\xa0\x03\x02\x01\x0e"
REFUSED = {
    "for nothing": (signed(certificate("signer", SIGNER.public_key())), "does not say"),
    "for a server": (
        signed(certificate("signer", SIGNER.public_key(), usage(sign=True), SERVER)),
        "extendedKeyUsage",
    ),
    "for certificates": (
        signed(certificate("signer", SIGNER.public_key(), usage(certify=True), CODE)),
        "keyUsage",
    ),
    "of another key": (
        signed(certificate("signer", BETWEEN.public_key(), usage(sign=True))),
        "the key of its certificate has not made this signature",
    ),
    "of another kind of key": (
        signed(certificate("signer", ED25519, usage(sign=True))),
        "P-256",
    ),
    "not yet valid": (
        signed(
            certificate(
                "signer", SIGNER.public_key(), usage(sign=True), start=NOW + timedelta(hours=1)
            )
        ),
        "valid now",
    ),
    "below a certificate that is no authority": (
        below(usage(sign=True), ca=False),
        "leads to no authority",
    ),
    "below an authority for servers": (
        below(usage(certify=True), SERVER, ca=True),
        "leads to no authority",
    ),
    "none": (signed(), "brings no certificate"),
    "a key's": (recorded("p256"), "brings no certificate"),
    "of no known version": (
        with_certificates(
            bundle(SIGNER, b"{}"),
            [TRUSTED.public_bytes(Encoding.DER).replace(b"\xa0\x03\x02\x01\x02", UNKNOWN, 1)],
        ),
        "brings no certificate",
    ),
    "garbage": (with_certificates(bundle(SIGNER, b"{}"), [b"\x30\x80"]), "brings no certificate"),
}


@pytest.mark.parametrize(("content", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_certificates_that_may_not(content: bytes, problem: str) -> None:
    assert problem in refused(content)


ANY = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])


@pytest.mark.parametrize("purposes", [(), (CODE,), (ANY,)])
def test_an_authority_between(purposes: tuple[x509.ExtensionType, ...]) -> None:
    """What the cases above change is right before they do."""
    assert verified(below(usage(certify=True), *purposes, ca=True))


def test_a_changed_manifest() -> None:
    content = json.loads(recorded("certificates/signed"))
    other = statement({**MODEL, "more.bin": b"m"})
    content["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(other).encode()).decode()

    assert "has not made this signature" in refused(json.dumps(content).encode(), authority())


def test_a_bundle_with_one_certificate() -> None:
    """The newer form has no chain."""
    content = json.loads(bundle(SIGNER, statement(FILES)))
    der = certificate("signer", SIGNER.public_key(), CODE).public_bytes(Encoding.DER)
    content["verificationMaterial"] = {"certificate": {"rawBytes": base64.b64encode(der).decode()}}

    assert verified(json.dumps(content).encode())


@pytest.mark.parametrize("text", ["", "text", key(), authority().replace("MII", "AAA", 1)])
def test_authorities_that_are_none(text: str) -> None:
    with pytest.raises(StalledError) as caught:
        certificates.authorities([authority(), text], NOW)

    assert caught.value.reason is Reason.INVALID_SPEC
    assert "certificateAuthorities[1]" in caught.value.message
