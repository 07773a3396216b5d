"""Makes this folder anew: signatures by certificate of the model beside it, made by model-signing itself.

    python -m venv V && V/bin/pip install model-signing==1.1.1 pyopenssl && V/bin/python make.py

Private keys are not kept, so every file changes. The certificates are valid for 40 years, but for the one
of `expired.sig`, which ended in 2026.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import model_signing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HERE = Path(__file__).parent
START = datetime(2026, 1, 1, tzinfo=UTC)
END = datetime(2066, 1, 1, tzinfo=UTC)
EXPIRED = datetime(2026, 2, 1, tzinfo=UTC)


class Holder:
    """A key and its certificate."""

    def __init__(self, name: str, issuer: Holder | None, *, authority: bool, end: datetime) -> None:
        self.key = ec.generate_private_key(ec.SECP384R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = issuer or self
        public = self.key.public_key()
        usage = {
            "key_cert_sign": authority,
            "crl_sign": authority,
            "digital_signature": not authority,
        }
        others = dict.fromkeys(
            (
                "content_commitment",
                "key_encipherment",
                "data_encipherment",
                "key_agreement",
                "encipher_only",
                "decipher_only",
            ),
            False,
        )
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(START)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage, **others), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()),
                critical=False,
            )
        )
        if not authority:
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING])
            builder = builder.add_extension(purpose, critical=False)
        self.certificate = builder.sign(issuer.key, hashes.SHA384())

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def private(self) -> bytes:
        """The key."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )


def sign(signer: Holder, chain: list[Holder], name: str) -> None:
    """Lets the tool sign as its command line does with `sign certificate --ignore-paths notes`."""
    model = HERE.parent / "model"
    hashing = model_signing.hashing.Config().set_ignored_paths(
        paths=[model / "notes", model / "model.sig"], ignore_git_paths=True
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "key.pem").write_bytes(signer.private)
        (folder / "signer.pem").write_bytes(signer.pem)
        (folder / "chain.pem").write_bytes(b"".join(holder.pem for holder in chain))
        config = model_signing.signing.Config().use_certificate_signer(
            private_key=folder / "key.pem",
            signing_certificate=folder / "signer.pem",
            certificate_chain=[folder / "chain.pem"],
        )
        config.set_hashing_config(hashing).sign(model, HERE / name)


def main() -> None:
    """Writes the authorities and the signatures."""
    root = Holder("root", None, authority=True, end=END)
    between = Holder("between", root, authority=True, end=END)
    other = Holder("other", None, authority=True, end=END)
    (HERE / "root.pem").write_bytes(root.pem)
    (HERE / "other.pem").write_bytes(other.pem)
    signer = Holder("signer", between, authority=False, end=END)
    sign(signer, [between], "signed.sig")
    sign(Holder("late", between, authority=False, end=EXPIRED), [between], "expired.sig")
    sign(Holder("other's", other, authority=False, end=END), [other], "other.sig")


main()
