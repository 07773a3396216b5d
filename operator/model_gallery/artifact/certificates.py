"""Signatures of models by certificate: the signer is whom an authority of the policy vouches for.

No log says when such a signature was made. So the certificates must be valid now: of one that has expired
nobody can tell whether it was used in time. Imported where a policy names authorities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from model_gallery.api.conditions import Reason
from model_gallery.artifact import signature
from model_gallery.artifact.signature import Bundle, invalid
from model_gallery.errors import StalledError

__all__ = ["UNREADABLE", "Authorities", "authorities"]

_MAX_PROBLEM = 200
UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for certificates that are none, or of a kind that it does not know."""

_FOR_SIGNERS = frozenset(
    {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
)
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Authorities:
    """Trust in whom some certificate authorities vouch for.

    Attributes:
        roots: where a chain may end.
        now: when the certificates must be valid; with its time zone.
    """

    roots: list[x509.Certificate]
    now: datetime

    def payload(self, bundle: Bundle) -> bytes:
        """Returns what the holder of a certificate has signed.

        Raises:
            StalledError: SignatureInvalid, with what is wrong with the certificates or the signature.
        """
        try:
            signer, *others = map(x509.load_der_x509_certificate, bundle.certificates)
            key = signer.public_key()
        except UNREADABLE as error:
            raise invalid("the bundle brings no certificate that can be read") from error
        self._check_chain(signer, others)
        _check_usage(signer)
        if not signature.is_usable(key):
            raise invalid("its certificate is not of a key of the curves P-256, P-384 and P-521")
        if not signature.holds(key, bundle):
            raise invalid("the key of its certificate has not made this signature")
        return bundle.payload

    def _check_chain(self, signer: x509.Certificate, others: list[x509.Certificate]) -> None:
        if self.now > signer.not_valid_after_utc:
            raise invalid(
                f"its certificate was valid until {signer.not_valid_after_utc:%Y-%m-%d}, and nothing"
                " proves that it was used before; sign the model again"
            )
        # The purpose of the signer's is judged below: the profile here is that of clients of the web.
        ca_policy = verification.ExtensionPolicy.webpki_defaults_ca().may_be_present(
            x509.ExtendedKeyUsage, verification.Criticality.AGNOSTIC, _check_purposes
        )
        verifier = (
            verification.PolicyBuilder()
            .store(verification.Store(self.roots))
            .time(self.now)
            .extension_policies(
                ca_policy=ca_policy, ee_policy=verification.ExtensionPolicy.permit_all()
            )
            .build_client_verifier()
        )
        try:
            verifier.verify(signer, others)
        except (verification.VerificationError, *UNREADABLE) as error:
            raise invalid(
                "its certificate leads to no authority of policy.signatures.certificateAuthorities"
                f" that is valid now: {str(error)[:_MAX_PROBLEM]}"
            ) from error


def authorities(pems: Sequence[str], now: datetime) -> Authorities:
    """Returns the certificate authorities of a policy.

    Raises:
        StalledError: InvalidSpec, with the number of the first text that is no certificate.
    """
    return Authorities([_certificate(number, pem) for number, pem in enumerate(pems)], now)


def _certificate(number: int, pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except UNREADABLE as error:
        raise StalledError(
            Reason.INVALID_SPEC,
            f"policy.signatures.certificateAuthorities[{number}] of the Gallery is no certificate in PEM",
        ) from error


def _check_usage(signer: x509.Certificate) -> None:
    """Refuses a certificate that was given for something else, such as a server's."""
    usage = _extension(signer, x509.KeyUsage)
    purposes = _extension(signer, x509.ExtendedKeyUsage)
    if usage is None and purposes is None:
        raise invalid("its certificate does not say that its key may sign")
    if usage is not None and not usage.digital_signature:
        raise invalid("the key of its certificate may not sign (keyUsage)")
    if purposes is not None and ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise invalid("its certificate is not for signing code (extendedKeyUsage)")


def _check_purposes(
    _policy: object, _authority: x509.Certificate, purposes: x509.ExtendedKeyUsage | None
) -> None:
    """Refuses an authority that was made for something else, such as servers: it speaks for no signer."""
    if purposes is not None and not _FOR_SIGNERS.intersection(purposes):
        raise ValueError("an authority between is not for signing code (extendedKeyUsage)")


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
