"""Whose signatures of models are trusted."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from model_gallery.api.v1alpha1.common import ApiType, rules

__all__ = ["Signatures"]

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


class Signatures(ApiType):
    """Whose signatures are trusted."""

    public_keys: tuple[PublicKey, ...] = Field(
        min_length=1,
        max_length=16,
        description="Public keys in PEM (P-256, P-384, P-521). One of them must have signed the model.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
