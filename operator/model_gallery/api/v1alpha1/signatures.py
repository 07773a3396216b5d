"""Whose signatures of models are trusted."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from model_gallery.api.v1alpha1.common import ApiType, ObjectName, rules

__all__ = ["Signatures", "SignerIdentity", "TrustedRoot"]

_PUBLIC_KEY = (
    "^[[:space:]]*-----BEGIN PUBLIC KEY-----[[:space:]]+"
    "(MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE|MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE"
    "|MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQ)[A-Za-z0-9+/=[:space:]]+"
    "-----END PUBLIC KEY-----[[:space:]]*$"
)
"""What the keys of the three curves begin with, uncompressed, as every tool writes them."""

PublicKey = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=rules(
            (
                "!self.contains('PRIVATE KEY')",
                "must be a public key; who can read this object could sign with a private one",
            ),
            (
                f"self.matches('{_PUBLIC_KEY}')",
                "must be one public key in PEM, of the curve P-256, P-384 or P-521",
            ),
        ),
    ),
]


_CERTIFICATE = (
    "^[[:space:]]*-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=[:space:]]+"
    "-----END CERTIFICATE-----[[:space:]]*$"
)

Certificate = Annotated[
    str,
    Field(
        min_length=1,
        max_length=8192,
        json_schema_extra=rules(
            (f"self.matches('{_CERTIFICATE}')", "must be one certificate in PEM, and nothing else"),
        ),
    ),
]


class SignerIdentity(ApiType):
    """Somebody who signs without a key to keep, and who says that it is he."""

    issuer: str = Field(
        min_length=1,
        max_length=1024,
        description="URL of whoever the signer logs in at, to the letter.",
    )
    subject: str = Field(
        min_length=1,
        max_length=1024,
        description="Mail address or workflow URI of the signer, to the letter.",
    )


class TrustedRoot(ApiType):
    """A Sigstore instance."""

    config_map_name: ObjectName = Field(
        description="A ConfigMap whose key trusted_root.json holds the instance's trusted root."
    )


class Signatures(ApiType):
    """Whose signatures are trusted: one that is named in any of the three lists must have signed."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (
                "size(self.publicKeys) + size(self.identities) + size(self.certificateAuthorities) > 0",
                "at least one of publicKeys, identities, certificateAuthorities must name somebody",
            ),
            (
                "!has(self.trustedRoot) || size(self.identities) > 0",
                "trustedRoot is where identities are proved; identities must be set as well",
            ),
        )
    )

    public_keys: tuple[PublicKey, ...] = Field(
        default=(),
        max_length=16,
        description="Public keys in PEM (P-256, P-384, P-521).",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    identities: tuple[SignerIdentity, ...] = Field(
        default=(),
        max_length=16,
        description="Who may have signed with Sigstore, without a key (keyless).",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["issuer", "subject"],
        },
    )
    certificate_authorities: tuple[Certificate, ...] = Field(
        default=(),
        max_length=16,
        description=(
            "Certificates in PEM. The holder of a certificate below one of them must have signed, and all"
            " of them must be valid when the model is fetched."
        ),
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    trusted_root: TrustedRoot | None = Field(
        default=None,
        description="Where the identities are proved; absent: Sigstore's public instance.",
    )
