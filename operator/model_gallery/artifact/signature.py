"""Signatures of models as the OpenSSF's model-signing makes them: a bundle, and the manifest inside.

    model.sig   a Sigstore bundle in JSON
     +-- dsseEnvelope      payload, and one signature over its type and bytes (DSSE v1)
          +-- statement    in-toto v1: which files, with the sha256 of each

Only what somebody trusted has signed is read: the statement is parsed after its signature holds. Who that
is, a `Trust` says: public keys (here), certificates (`certificates.py`), identities (`identities.py`). The
key's hint in the bundle is nobody's word and is not looked at. Imported where a Gallery's policy asks for
signatures and nowhere else, since `cryptography` costs memory and start-up time (docs/decisions/0012).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, TypeGuard, TypeVar

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import Sha256
from model_gallery.artifact.formats import bounded_json
from model_gallery.errors import StalledError

__all__ = [
    "MAX_BYTES",
    "NAME",
    "Bundle",
    "Keys",
    "Manifest",
    "Trust",
    "holds",
    "invalid",
    "is_usable",
    "public_keys",
    "verify",
]

NAME = "model.sig"
"""What the project calls the bundle; it lies beside the files that it speaks of."""
MAX_BYTES = 8 * 1024 * 1024
"""A bundle of 30,000 files is smaller; a source resolves to 20,000 at most."""

_MAX_CERTIFICATES = 16
"""More than any chain in use has."""
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}
"""The project's table: a curve has one hash."""

PublicKey = ec.EllipticCurvePublicKey
_Message = TypeVar("_Message", bound=BaseModel)
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a signature says of a model.

    Attributes:
        digests: sha256 of each signed file, by its path below the model's root.
        ignored: paths that the signer left out on purpose, with all below them.
    """

    digests: Mapping[str, str]
    ignored: tuple[str, ...]

    def problem(self, name: str, sha256: str | None) -> str | None:
        """Returns why a file must not be published; None: nothing speaks against it.

        Args:
            name: path below the model's root.
            sha256: None while it is not known.
        """
        if name == NAME or self._is_ignored(name):
            return None
        signed = self.digests.get(name)
        if signed is None:
            return "is not among the files that are signed"
        if sha256 not in {None, signed}:
            return f"has the sha256 {sha256}, {signed} is signed"
        return None

    def _is_ignored(self, name: str) -> bool:
        return any(name == path or name.startswith(f"{path}/") for path in self.ignored)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as it was read; nothing of it is verified.

    Attributes:
        raw: the JSON text.
        payload: what the envelope holds.
        signature: over `message`.
        certificates: in DER, the signer's first; empty where the bundle brings none.
    """

    raw: bytes
    payload: bytes
    signature: bytes
    certificates: tuple[bytes, ...]

    @property
    def message(self) -> bytes:
        """The bytes that are signed: the payload and its type, in the form of DSSE."""
        head = f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(self.payload)} "
        return head.encode() + self.payload


class Trust(Protocol):
    """One way to know a signer."""

    def payload(self, bundle: Bundle) -> bytes:
        """Returns what somebody trusted has signed.

        Raises:
            StalledError: SignatureInvalid, with why nobody has.
        """


@dataclass(frozen=True, slots=True)
class Keys:
    """Trust in whoever holds one of some private keys."""

    keys: tuple[PublicKey, ...]

    def payload(self, bundle: Bundle) -> bytes:
        """Returns what one of the keys has signed.

        Raises:
            StalledError: SignatureInvalid, where none has.
        """
        if not any(holds(key, bundle) for key in self.keys):
            raise invalid("no key in policy.signatures of the Gallery has made this signature")
        return bundle.payload


def public_keys(pems: Sequence[str]) -> Keys:
    """Returns the keys of a policy.

    Raises:
        StalledError: InvalidSpec, with the number of the first text that is no usable key.
    """
    return Keys(tuple(_public_key(number, pem) for number, pem in enumerate(pems)))


def verify(bundle: bytes, trusted: Sequence[Trust]) -> Manifest:
    """Returns what a signer has signed whom one of the ways to trust knows.

    Raises:
        StalledError: SignatureInvalid, with what is wrong; of several ways, by each.
    """
    try:
        payload = _signed(_read(bundle), trusted)
        statement = _parsed(_Statement, payload, "what it signs")
        return _manifest(statement)
    except StalledError as error:
        raise invalid(f"{NAME}: {error.message}") from error


def is_usable(key: object) -> TypeGuard[PublicKey]:
    """Whether a key is of a curve that models are signed with."""
    return isinstance(key, PublicKey) and key.curve.name in _HASHES


def holds(key: PublicKey, bundle: Bundle) -> bool:
    """Whether a key has made the signature of a bundle."""
    try:
        key.verify(bundle.signature, bundle.message, ec.ECDSA(_HASHES[key.curve.name]()))
    except InvalidSignature:
        return False
    return True


def invalid(problem: str) -> StalledError:
    """Returns the error of a signature that does not hold."""
    return StalledError(Reason.SIGNATURE_INVALID, problem)


class _Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, frozen=True, extra="ignore")


class _Signature(_Part):
    sig: str


class _Envelope(_Part):
    payload: str
    payload_type: Literal["application/vnd.in-toto+json"]
    signatures: tuple[_Signature, ...] = Field(min_length=1, max_length=1)


class _Certificate(_Part):
    raw_bytes: str


class _Chain(_Part):
    certificates: tuple[_Certificate, ...] = Field(max_length=_MAX_CERTIFICATES)


class _Material(_Part):
    certificate: _Certificate | None = None
    x509_certificate_chain: _Chain | None = None


class _Bundle(_Part):
    dsse_envelope: _Envelope
    verification_material: _Material = _Material()


class _Digests(_Part):
    sha256: _Digest


class _Subject(_Part):
    digest: _Digests


class _Resource(BaseModel):
    name: str
    algorithm: Literal["sha256"]
    digest: _Digest


class _Serialization(BaseModel):
    """How the files were read; shards and other digests cannot be compared with ours."""

    method: Literal["files"]
    hash_type: Literal["sha256"]
    ignore_paths: tuple[str, ...] = ()


class _Predicate(BaseModel):
    serialization: _Serialization
    resources: tuple[_Resource, ...]


class _Statement(_Part):
    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    predicate_type: Literal["https://model_signing/signature/v1.0"]
    subject: tuple[_Subject, ...] = Field(min_length=1, max_length=1)
    predicate: _Predicate


def _public_key(number: int, pem: str) -> PublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not is_usable(key):
        raise StalledError(
            Reason.INVALID_SPEC,
            f"policy.signatures.publicKeys[{number}] of the Gallery is no public key of the curves"
            " P-256, P-384 and P-521 in PEM",
        )
    return key


def _read(text: bytes) -> Bundle:
    if len(text) > MAX_BYTES:
        raise invalid(f"has more than {MAX_BYTES} bytes")
    found = _parsed(_Bundle, text, "the bundle")
    material = found.verification_material
    chain = material.x509_certificate_chain.certificates if material.x509_certificate_chain else ()
    certificates = (material.certificate, *chain) if material.certificate else chain
    envelope = found.dsse_envelope
    return Bundle(
        text,
        _decoded(envelope.payload),
        _decoded(envelope.signatures[0].sig),
        tuple(_decoded(certificate.raw_bytes) for certificate in certificates),
    )


def _signed(bundle: Bundle, trusted: Sequence[Trust]) -> bytes:
    problems: list[str] = []
    for trust in trusted:
        try:
            return trust.payload(bundle)
        except StalledError as error:
            problems.append(error.message)
    raise invalid("; ".join(problems))


def _manifest(statement: _Statement) -> Manifest:
    digests: dict[str, str] = {}
    root = Sha256()
    for resource in statement.predicate.resources:
        if resource.name in digests:
            raise invalid(f"names {resource.name[:200]!r} twice")
        digests[resource.name] = resource.digest
        root.update(bytes.fromhex(resource.digest))
    if root.hexdigest() != statement.subject[0].digest.sha256:
        raise invalid("the digest of its subject is not that of the files it names")
    return Manifest(digests, statement.predicate.serialization.ignore_paths)


def _parsed(kind: type[_Message], text: bytes, what: str) -> _Message:
    value: Mapping[str, Any] = bounded_json(text, what)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise invalid(f"{what} cannot be used at {where[:200]}: {first['msg'][:200]}") from error


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise invalid("the bundle holds something that is no base64") from error
