"""Signatures by identity: what sigstore-go's virtual instance signed is taken offline, and nothing else.

The bundles and roots are those of tests/data/signatures/keyless/main.go; the cases change one thing each.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sigstore.models import TrustedRoot

from model_gallery.api.conditions import Reason
from model_gallery.artifact import identities, signature
from model_gallery.artifact.identities import Identity
from model_gallery.errors import StalledError
from support.signmake import IDENTITY, MODEL, recorded, root

SIGNER = Identity(IDENTITY["issuer"], IDENTITY["subject"])
Change = Callable[[dict[str, Any]], object]


def verified(content: bytes, *named: Identity, trusted: Path | None = None) -> signature.Manifest:
    found = TrustedRoot.from_file(str(trusted or root()))
    return signature.verify(content, [identities.identities(named or (SIGNER,), found)])


def refused(content: bytes, *named: Identity, trusted: Path | None = None) -> str:
    with pytest.raises(StalledError) as caught:
        verified(content, *named, trusted=trusted)
    assert caught.value.reason is Reason.SIGNATURE_INVALID
    assert caught.value.message.startswith("model.sig: ")
    assert len(caught.value.message) < 800
    assert "\n" not in caught.value.message
    return caught.value.message


def test_what_an_identity_signed_is_what_it_read() -> None:
    manifest = verified(recorded("keyless/signed"))

    assert all(
        manifest.problem(name, hashlib.sha256(content).hexdigest()) is None
        for name, content in MODEL.items()
    )
    assert manifest.problem("weights/part-1.txt", "0" * 64)
    assert manifest.problem("more.bin", None)


def test_any_of_the_identities_may_have_signed() -> None:
    assert verified(recorded("keyless/signed"), Identity("https://a.example.org", "b"), SIGNER)


SOMEBODY_ELSE = {
    "another subject": Identity(SIGNER.issuer, SIGNER.subject + "x"),
    "the beginning of the subject": Identity(SIGNER.issuer, SIGNER.subject[:-1]),
    "another issuer": Identity("https://evil.example.org", SIGNER.subject),
    "a longer issuer": Identity(SIGNER.issuer + "/", SIGNER.subject),
    "both the other way round": Identity(SIGNER.subject, SIGNER.issuer),
}


@pytest.mark.parametrize("named", SOMEBODY_ELSE.values(), ids=SOMEBODY_ELSE.keys())
def test_somebody_else(named: Identity) -> None:
    said = refused(recorded("keyless/signed"), named)

    assert f"signed by '{SIGNER.subject}', as '{SIGNER.issuer}' says" in said
    assert "policy.signatures.identities" in said


def changed(change: Change, name: str = "signed") -> bytes:
    content = json.loads(recorded(f"keyless/{name}"))
    change(content)
    return json.dumps(content).encode()


def entry(content: dict[str, Any]) -> dict[str, Any]:
    return content["verificationMaterial"]["tlogEntries"][0]


def flipped(text: str, place: int = 40) -> str:
    raw = bytearray(base64.b64decode(text))
    raw[place] ^= 1
    return base64.b64encode(raw).decode()


def flip(part: Callable[[dict[str, Any]], dict[str, Any]], field: str) -> Change:
    return lambda content: part(content).update({field: flipped(part(content)[field])})


def envelope(content: dict[str, Any]) -> dict[str, Any]:
    return content["dsseEnvelope"]


def proof(content: dict[str, Any]) -> dict[str, Any]:
    return entry(content)["inclusionProof"]


def later(content: dict[str, Any]) -> None:
    """Moves the time within the certificate's life; the log has signed another."""
    entry(content)["integratedTime"] = str(int(entry(content)["integratedTime"]) + 1)


def retold(content: dict[str, Any]) -> None:
    """Takes the log's entry of another signature of the same signer."""
    content["verificationMaterial"]["tlogEntries"] = json.loads(recorded("keyless/expired"))[
        "verificationMaterial"
    ]["tlogEntries"]


CHANGED: dict[str, tuple[Change, str]] = {
    "another manifest": (flip(envelope, "payload"), "invalid signature"),
    "another signature": (
        lambda content: envelope(content)["signatures"][0].update(
            sig=flipped(envelope(content)["signatures"][0]["sig"])
        ),
        "invalid signature",
    ),
    "no entry of a log": (
        lambda content: content["verificationMaterial"].update(tlogEntries=[]),
        "exactly one log entry",
    ),
    "two entries": (
        lambda content: content["verificationMaterial"]["tlogEntries"].append(entry(content)),
        "exactly one log entry",
    ),
    "no time": (lambda content: entry(content).pop("integratedTime"), "sources of verified time"),
    "a time that nobody signed": (later, "invalid inclusion promise"),
    "a time that no clock has": (
        lambda content: entry(content).update(integratedTime="9" * 18),
        "nobody's identity",
    ),
    "a time that no calendar has": (
        lambda content: entry(content).update(integratedTime=str(2**64 - 1)),
        "nobody's identity",
    ),
    "no promise of the log": (
        lambda content: entry(content).pop("inclusionPromise"),
        "inclusion promise or signed timestamp",
    ),
    "no proof of the log": (
        lambda content: entry(content).pop("inclusionProof"),
        "inclusionProof",
    ),
    "a proof without the log's word": (
        lambda content: proof(content).pop("checkpoint"),
        "checkpoint",
    ),
    "a proof of another tree": (
        lambda content: proof(content)["hashes"].append(proof(content)["hashes"][0]),
        "inclusion proof has wrong size",
    ),
    "an entry of another signature": (retold, "not valid when the log took the signature in"),
    "another entry": (flip(entry, "canonicalizedBody"), "invalid log entry"),
    "no certificate": (
        lambda content: content["verificationMaterial"].pop("certificate"),
        "certificate",
    ),
    "a certificate that is none": (
        lambda content: content["verificationMaterial"].update(certificate={"rawBytes": "AAAA"}),
        "nobody's identity can be told from it",
    ),
    "a forged certificate": (
        lambda content: content["verificationMaterial"]["certificate"].update(
            rawBytes=flipped(content["verificationMaterial"]["certificate"]["rawBytes"], -2)
        ),
        "holds no authority of its certificate",
    ),
    "another kind of bundle": (
        lambda content: content.update(mediaType="application/json"),
        "mediaType",
    ),
    "a field that nobody knows": (lambda content: content.update(extra=1), "extra"),
}


@pytest.mark.parametrize(("change", "problem"), CHANGED.values(), ids=CHANGED.keys())
def test_bundles_that_do_not_hold(change: Change, problem: str) -> None:
    assert problem in refused(changed(change))


def certified(old: bytes, new: bytes) -> bytes:
    """The bundle in its older form, whose certificate is read before anything is verified, changed."""
    content = json.loads(recorded("keyless/signed"))
    content["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2"
    found = content["verificationMaterial"].pop("certificate")["rawBytes"]
    changed = base64.b64encode(base64.b64decode(found).replace(old, new, 1)).decode()
    chain = {"certificates": [{"rawBytes": changed}]}
    content["verificationMaterial"]["x509CertificateChain"] = chain
    return json.dumps(content).encode()


ISSUER, ISSUER_V2 = (bytes.fromhex("2b0601040183bf3001") + end for end in (b"\x01", b"\x08"))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x0e", "not a valid X509 version"),
        (ISSUER_V2, ISSUER, "Duplicate"),
    ],
    ids=["of no known version", "with an extension twice"],
)
def test_a_certificate_that_cannot_be_read(old: bytes, new: bytes, problem: str) -> None:
    assert verified(certified(b"", b"")).digests
    assert problem in refused(certified(old, new))


def test_a_certificate_that_had_expired_when_the_log_took_it_in() -> None:
    said = refused(recorded("keyless/expired"))

    assert "not valid when the log took the signature in" in said


def test_a_certificate_of_another_kind_of_key() -> None:
    assert "P-256" in refused(recorded("keyless/rsa"))


def test_signed_by_a_key_is_nobodys() -> None:
    assert "nobody's identity" in refused(recorded("p256"))
    assert "nobody's identity" in refused(recorded("certificates/signed"))


def test_another_root() -> None:
    said = refused(recorded("keyless/signed"), trusted=root("other"))

    assert "the trusted root holds no authority of its certificate" in said


@pytest.mark.parametrize(
    ("part", "problem"),
    [
        ("tlogs", "invalid log entry"),
        ("ctlogs", "SCT"),
        ("certificateAuthorities", "holds no authority"),
    ],
)
def test_each_part_of_the_root_counts(tmp_path: Path, part: str, problem: str) -> None:
    mixed = json.loads(root().read_text())
    mixed[part] = json.loads(root("other").read_text())[part]
    (tmp_path / "mixed.json").write_text(json.dumps(mixed))

    assert problem in refused(recorded("keyless/signed"), trusted=tmp_path / "mixed.json")


@pytest.mark.parametrize("part", ["tlogs", "ctlogs", "certificateAuthorities"])
def test_a_root_that_lacks_something(tmp_path: Path, part: str) -> None:
    (tmp_path / "root.json").write_text(json.dumps(json.loads(root().read_text()) | {part: []}))

    with pytest.raises(StalledError) as caught:
        verified(recorded("keyless/signed"), trusted=tmp_path / "root.json")

    assert caught.value.reason is Reason.INVALID_SPEC
    assert "trusted root of policy.signatures" in caught.value.message


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("tlogs", {"publicKey": {"rawBytes": "AAAA", "keyDetails": "PKIX_ECDSA_P256_SHA_256"}}),
        ("ctlogs", {"publicKey": {"rawBytes": "AAAA", "keyDetails": "PKIX_ECDSA_P256_SHA_256"}}),
        ("timestampAuthorities", {"certChain": {"certificates": [{"rawBytes": "AAAA"}]}}),
    ],
)
def test_a_root_with_a_part_that_is_garbage(
    tmp_path: Path, part: str, change: dict[str, Any]
) -> None:
    """It is the root that is told of, and not the bundle."""
    mixed = json.loads(root().read_text())
    one = (mixed.get(part) or mixed["certificateAuthorities"])[0]
    mixed[part] = [one | change]
    (tmp_path / "root.json").write_text(json.dumps(mixed))

    with pytest.raises(StalledError) as caught:
        verified(recorded("keyless/signed"), trusted=tmp_path / "root.json")

    assert caught.value.reason is Reason.INVALID_SPEC
    assert "trusted root of policy.signatures" in caught.value.message


def test_a_root_whose_times_are_of_no_zone(tmp_path: Path) -> None:
    mixed = json.loads(root().read_text())
    mixed["certificateAuthorities"][0]["validFor"]["start"] = "2026-01-01T00:00:00"
    (tmp_path / "root.json").write_text(json.dumps(mixed))

    with pytest.raises(StalledError) as caught:
        verified(recorded("keyless/signed"), trusted=tmp_path / "root.json")

    assert caught.value.reason is Reason.INVALID_SPEC
