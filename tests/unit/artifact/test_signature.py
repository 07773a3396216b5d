"""Signatures of models: what the real tool signs is taken, and nothing else."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from model_gallery.api.conditions import Reason
from model_gallery.artifact import signature
from model_gallery.artifact.signature import Manifest
from model_gallery.errors import StalledError
from support.signmake import MODEL, RECORDED, bundle, key, recorded, statement, with_certificates

OPERATOR = Path(__file__).parents[3] / "operator"
OURS = ec.derive_private_key(7, ec.SECP256R1())
FILES = {"config.json": b"{}", "sub/weights.bin": b"weights"}


def pem(public: Any) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode()


def verified(content: bytes, *names: str) -> Manifest:
    keys = signature.public_keys([key(name) for name in names] or [pem(OURS.public_key())])
    return signature.verify(content, [keys])


@pytest.mark.parametrize("curve", ["p256", "p384", "p521"])
def test_what_the_tool_signed_is_what_it_read(curve: str) -> None:
    index = json.loads((RECORDED / "index.json").read_text())
    assert index["made_by"] == "model-signing 1.1.1"

    manifest = verified(recorded(curve), curve)

    left_out = {".gitattributes", "notes/todo.txt"}
    assert manifest.digests == {
        name: hashlib.sha256(content).hexdigest()
        for name, content in MODEL.items()
        if name not in left_out
    }
    assert {"model.sig", "notes", ".gitattributes"} <= set(manifest.ignored)
    assert all(
        manifest.problem(name, hashlib.sha256(content).hexdigest()) is None
        for name, content in MODEL.items()
    )


def test_nothing_is_left_out_where_the_signer_said_so() -> None:
    manifest = verified(recorded("all"), "p256")

    assert manifest.digests.keys() == MODEL.keys()
    assert manifest.ignored == ()


def test_any_of_the_keys_may_have_signed() -> None:
    assert verified(recorded("p384"), "p256", "p521", "p384").digests


SIGNED = Manifest({"a/b": "1" * 64}, ("notes", ".git"))
SAID = {
    "the signed bytes": ("a/b", "1" * 64, None),
    "bytes that are still to come": ("a/b", None, None),
    "other bytes": ("a/b", "2" * 64, "has the sha256 2222"),
    "a file that nobody signed": ("a/c", None, "is not among the files"),
    "a folder above": ("../a/b", "1" * 64, "is not among the files"),
    "the bundle": ("model.sig", "3" * 64, None),
    "a bundle in a folder": ("a/model.sig", None, "is not among the files"),
    "what the signer ignored": ("notes", None, None),
    "below what he ignored": ("notes/deep/x", None, None),
    "what only begins alike": ("notes.txt", None, "is not among the files"),
    "deeper of the same name": ("a/notes", None, "is not among the files"),
}


@pytest.mark.parametrize(("name", "digest", "problem"), SAID.values(), ids=SAID.keys())
def test_what_a_manifest_says_of_a_file(name: str, digest: str | None, problem: str | None) -> None:
    found = SIGNED.problem(name, digest)

    assert found == problem if problem is None else problem in (found or "")


def changed(**changes: Any) -> bytes:
    """The recorded bundle with another envelope."""
    content = json.loads(recorded("p256"))
    content["dsseEnvelope"].update(changes)
    return json.dumps(content).encode()


def payload(**changes: Any) -> str:
    envelope = json.loads(recorded("p256"))["dsseEnvelope"]
    signed = json.loads(base64.b64decode(envelope["payload"]))
    return base64.b64encode(json.dumps({**signed, **changes}).encode()).decode()


def with_signature(flip: int) -> bytes:
    content = json.loads(recorded("p256"))
    made = bytearray(base64.b64decode(content["dsseEnvelope"]["signatures"][0]["sig"]))
    made[flip] ^= 1
    return changed(signatures=[{"sig": base64.b64encode(made).decode()}])


def chained(certificates: list[bytes]) -> bytes:
    return with_certificates(recorded("p256"), certificates)


NOBODY = "no key in policy.signatures"
ONE = json.loads(recorded("p256"))["dsseEnvelope"]["signatures"]
BROKEN = {
    "another key": (recorded("other"), NOBODY),
    "another statement": (changed(payload=payload(subject=[])), NOBODY),
    "the same statement in other bytes": (changed(payload=payload()), NOBODY),
    "another signature": (with_signature(-1), NOBODY),
    "a signature in another form": (with_signature(0), NOBODY),
    "an empty signature": (changed(signatures=[{"sig": ""}]), NOBODY),
    "no signature": (changed(signatures=[]), "dsseEnvelope.signatures"),
    "two signatures": (changed(signatures=ONE * 2), "dsseEnvelope.signatures"),
    "another type": (changed(payloadType="text/plain"), "dsseEnvelope.payloadType"),
    "no payload": (changed(payload=None), "dsseEnvelope.payload"),
    "no base64": (changed(payload="not base64!"), "no base64"),
    "certificates that are none": (
        recorded("p256").replace(b'"publicKey"', b'"certificate"'),
        "verificationMaterial.certificate",
    ),
    "a chain without an end": (
        chained([b""] * 17),
        "verificationMaterial.x509CertificateChain.certificates",
    ),
    "no envelope": (b'{"messageSignature": {}}', "dsseEnvelope"),
    "a list": (b"[]", "no JSON object"),
    "nothing": (b"", "no JSON"),
    "bytes": (bytes(range(256)), "no JSON"),
    "nested": (b"[" * 100_000, "nested too deeply"),
    "many values": (b"[" + b"0," * 2_000_001 + b"0]", "values"),
    "a key twice": (b'{"dsseEnvelope": 1, "dsseEnvelope": 2}', "twice"),
    "huge": (b" " * signature.MAX_BYTES + b"{}", "bytes"),
    "signed in shards": (recorded("shards"), "predicate.serialization.method"),
    "signed by BLAKE3": (recorded("blake3"), "predicate.serialization.hash_type"),
}


@pytest.mark.parametrize(("content", "problem"), BROKEN.values(), ids=BROKEN.keys())
def test_bundles_that_do_not_hold(content: bytes, problem: str) -> None:
    with pytest.raises(StalledError) as caught:
        verified(content, "p256")

    assert caught.value.reason is Reason.SIGNATURE_INVALID
    assert caught.value.message.startswith("model.sig: ")
    assert problem in caught.value.message
    assert len(caught.value.message) < 600


def resources(*items: dict[str, Any]) -> dict[str, Any]:
    return statement(FILES, resources=list(items))


RESOURCE = {"name": "a", "algorithm": "sha256", "digest": "1" * 64}
LIES = {
    "no JSON": (b"{", "what it signs is no JSON"),
    "another statement": (statement(FILES) | {"_type": "x"}, "_type"),
    "the form before 1.0": (
        statement(FILES) | {"predicateType": "https://model_signing/Digests/v0.1"},
        "predicateType",
    ),
    "no predicate": (statement(FILES) | {"predicate": None}, "predicate"),
    "two subjects": (statement(FILES) | {"subject": statement(FILES)["subject"] * 2}, "subject"),
    "files that its subject is not of": (resources(RESOURCE), "the digest of its subject"),
    "a file twice": (resources(RESOURCE, RESOURCE), "'a' twice"),
    "a digest of another kind": (resources(RESOURCE | {"algorithm": "sha1"}), "algorithm"),
    "a digest that is none": (resources(RESOURCE | {"digest": "1" * 63}), "digest"),
    "upper-case digits": (resources(RESOURCE | {"digest": "A" * 64}), "digest"),
    "a name that is none": (resources(RESOURCE | {"name": 1}), "name"),
}


@pytest.mark.parametrize(("content", "problem"), LIES.values(), ids=LIES.keys())
def test_statements_that_are_signed_and_cannot_be_used(content: Any, problem: str) -> None:
    with pytest.raises(StalledError) as caught:
        verified(bundle(OURS, content))

    assert caught.value.reason is Reason.SIGNATURE_INVALID
    assert problem in caught.value.message


def test_a_statement_of_ours_is_taken() -> None:
    """What the cases above change is right before they do."""
    assert verified(bundle(OURS, statement(FILES))).digests.keys() == FILES.keys()


def test_the_type_is_signed_too() -> None:
    content = json.loads(bundle(OURS, statement(FILES), "text/plain"))
    content["dsseEnvelope"]["payloadType"] = "application/vnd.in-toto+json"

    with pytest.raises(StalledError) as caught:
        verified(json.dumps(content).encode())

    assert NOBODY in caught.value.message


@pytest.mark.parametrize("ends", ["\r\n", " \n"], ids=["CRLF", "a blank"])
def test_what_admission_takes_for_a_key_is_one(ends: str) -> None:
    found = signature.public_keys([f"{ends}{key()}{ends}".replace("\n", ends)])

    assert signature.verify(recorded("p256"), [found])


NO_KEYS = {
    "nothing": "",
    "text": "-----BEGIN PUBLIC KEY-----\nabcd\n-----END PUBLIC KEY-----\n",
    "RSA": pem(rsa.generate_private_key(65537, 2048).public_key()),
    "Ed25519": pem(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()),
    "another curve": pem(ec.derive_private_key(7, ec.SECP256K1()).public_key()),
    "a point beside the curve": key().replace(key().split("\n")[2], "A" * 60 + "BBBB"),
}


@pytest.mark.parametrize("text", NO_KEYS.values(), ids=NO_KEYS.keys())
def test_keys_that_are_none(text: str) -> None:
    with pytest.raises(StalledError) as caught:
        signature.public_keys([key(), text])

    assert caught.value.reason is Reason.INVALID_SPEC
    assert "publicKeys[1]" in caught.value.message


def test_keys_alone_do_not_cost_what_identities_do() -> None:
    code = (
        "import sys, model_gallery.worker.trust as t, model_gallery.protocol.operation as o;"
        "who = o.Owner(namespace='n', name='m', uid='u');"
        f"wish = o.InstallOperation(owner=who, plan_digest='', signature_keys=[{key()!r}]);"
        "t.trusted(wish, '', None); sys.exit('sigstore' in sys.modules)"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(OPERATOR)}, check=False
    )

    assert ran.returncode == 0


def test_of_several_ways_one_is_enough_and_each_says_why_not() -> None:
    first, second = (signature.public_keys([key(name)]) for name in ("p384", "p256"))

    assert signature.verify(recorded("p256"), [first, second]).digests
    with pytest.raises(StalledError) as caught:
        signature.verify(recorded("p521"), [first, second])
    assert caught.value.message.count(NOBODY) == 2


def test_a_worker_that_is_not_asked_does_not_pay() -> None:
    code = (
        "import sys, model_gallery.worker.main;"
        "sys.exit(not {'cryptography', 'sigstore'}.isdisjoint(sys.modules))"
    )

    ran = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(OPERATOR)}, check=False
    )

    assert ran.returncode == 0
