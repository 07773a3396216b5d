"""Signatures of models by identity, without a key to keep: what Sigstore calls keyless.

    trusted root    whose word counts: the certificate authority, and the logs
     +-- certificate      short-lived; of whom (subject), and who says so (issuer)
     +-- entry of a log   when the signature was there; with the proof that the log holds it

All of it is in the bundle and in the trusted root: nothing is asked over the network. Imported where a
policy names identities: `sigstore` costs more to import than the rest of a worker (docs/decisions/0012).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from sigstore import errors
from sigstore import models as sigstore
from sigstore._internal.trust import KeyringPurpose
from sigstore.verify import Verifier, policy

from model_gallery.api.conditions import Reason
from model_gallery.artifact import signature
from model_gallery.artifact.certificates import UNREADABLE
from model_gallery.artifact.signature import Bundle, invalid
from model_gallery.errors import StalledError

__all__ = ["Identities", "Identity", "identities"]

_PURPOSE = KeyringPurpose.VERIFY
_MAX_PROBLEM = 300
_MAX_NAME = 200
_FOREIGN = (errors.Error, OSError, OverflowError, TypeError, *UNREADABLE)
"""What the library raises for bytes that it cannot use: not only its own errors."""
_ISSUER = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
"""Who vouches for the subject, as Fulcio writes it (its `oid-info.md`)."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who may have signed.

    Attributes:
        issuer: URL of whoever the signer logged in at.
        subject: mail address, or the URI of a workflow.
    """

    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class Identities:
    """Trust in whoever could prove one of some identities to a Sigstore instance."""

    identities: tuple[Identity, ...]
    verifier: Verifier

    def payload(self, bundle: Bundle) -> bytes:
        """Returns what one of the identities has signed.

        Raises:
            StalledError: SignatureInvalid, with what is wrong with certificate, log entry or signature.
        """
        try:
            found = sigstore.Bundle.from_json(bundle.raw)
            if not signature.is_usable(found.signing_certificate.public_key()):
                raise invalid(
                    "its certificate is not of a key of the curves P-256, P-384 and P-521"
                )
            _, payload = self.verifier.verify_dsse(found, _Named(self.identities))
        except errors.CertValidationError as error:
            raise invalid(
                "the trusted root holds no authority of its certificate, or the certificate was not"
                f" valid when the log took the signature in: {_said(error)}"
            ) from error
        except _FOREIGN as error:
            raise invalid(f"nobody's identity can be told from it: {_said(error)}") from error
        return payload


def identities(named: Sequence[Identity], root: sigstore.TrustedRoot) -> Identities:
    """Returns the trust in some identities.

    Raises:
        StalledError: InvalidSpec, where the trusted root lacks an authority or a log that can be used.
    """
    try:
        # The library reads these with each bundle, leaves out keys that are none, and blames the bundle.
        for ring in (root.rekor_keyring(_PURPOSE), root.ct_keyring(_PURPOSE)):
            if not ring._keyring:  # noqa: SLF001
                raise errors.MetadataError("a log in it has no key that can be used")
        root.get_timestamp_authorities()
        return Identities(tuple(named), Verifier(trusted_root=root))
    except _FOREIGN as error:
        raise StalledError(
            Reason.INVALID_SPEC,
            f"the trusted root of policy.signatures cannot be used: {_said(error)}",
        ) from error


class _Named:
    """What the library asks of a certificate when it has traced it to the trusted root.

    Attributes:
        identities: of which it must bear one, both parts of it to the letter.
    """

    def __init__(self, identities: tuple[Identity, ...]) -> None:
        self.identities = identities

    def verify(self, certificate: x509.Certificate) -> None:
        """Passes, or says whose certificate it is.

        Raises:
            StalledError: SignatureInvalid, for anybody else's.
        """
        for one in self.identities:
            try:
                policy.Identity(identity=one.subject, issuer=one.issuer).verify(certificate)
            except errors.VerificationError:
                continue
            return
        raise invalid(
            f"it is signed by {_subject(certificate)}, as {_issuer(certificate)} says, whom"
            " policy.signatures.identities of the Gallery does not name"
        )


def _subject(certificate: x509.Certificate) -> str:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = names.get_values_for_type(x509.RFC822Name)
    found += names.get_values_for_type(x509.UniformResourceIdentifier)
    return _bounded(found[0]) if found else "somebody without a mail address or URI"


def _issuer(certificate: x509.Certificate) -> str:
    try:
        extension = certificate.extensions.get_extension_for_oid(_ISSUER).value
    except x509.ExtensionNotFound:
        return "nobody"
    return _bounded(extension.public_bytes().decode(errors="replace"))


def _bounded(text: str) -> str:
    return repr(text[:_MAX_NAME])


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:_MAX_PROBLEM]
