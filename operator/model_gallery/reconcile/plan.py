"""What shall be on the volume for a Model, and the digests by which two wishes are told apart."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from msgspec import Struct, structs

from model_gallery.api.v1alpha1.model import ModelSource, ModelSpec, StoragePlace
from model_gallery.api.v1alpha1.signatures import Signatures
from model_gallery.artifact.digest import sha256_of_value
from model_gallery.catalog.entry import InstallRequest
from model_gallery.protocol.operation import Repository
from model_gallery.reconcile.observed import ClaimView, GalleryView

__all__ = ["Plan", "plan_of", "repository_facts", "source_facts"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What shall be on the volume, and where.

    Attributes:
        secret_name: Secret with credentials for the source; empty without one.
        digest: over all that publishing depends on; equal digests are equal wishes.
        wish_digest: over the part that people wrote into Model and Gallery; where it is equal and the
            digest is not, the index has changed.
    """

    request: InstallRequest
    place: StoragePlace
    secret_name: str
    digest: str
    wish_digest: str = ""


def plan_of(
    request: InstallRequest, gallery: GalleryView, claim: ClaimView, spec: ModelSpec
) -> Plan:
    """Returns the plan of a request on its Gallery's volume.

    A policy is part of it, so that a changed one is applied to what is installed; so is the Secret's
    name, so that a Model that was refused is tried again with another.
    """
    place = StoragePlace(
        claim_name=claim.name, claim_uid=claim.uid, sub_path=gallery.spec.storage.sub_path
    )
    secret_name = spec.credentials.secret_name if spec.credentials else ""
    policy = gallery.spec.policy
    common: dict[str, object] = {
        "place": place.model_dump(),
        "formats": policy.formats,
        "checksums": policy.checksums,
        "secret": secret_name,
    }
    if policy.signatures is not None:
        common["signatures"] = _signers(policy.signatures)
    digest = sha256_of_value(
        {
            # Without a field that is not set, so that a new version leaves published plans alone.
            "files": [_facts(file, later=("unpack",)) for file in request.files],
            "documents": [structs.asdict(document) for document in request.documents],
            "repository": repository_facts(request.repository) if request.repository else None,
            **common,
        }
    )
    wish_digest = sha256_of_value(
        {
            "source": source_facts(spec.source),
            "config": spec.config,
            "servedName": spec.served_name,
            "rewrites": [rewrite.model_dump() for rewrite in gallery.spec.rewrites],
            **common,
        }
    )
    return Plan(request, place, secret_name, digest, wish_digest)


def repository_facts(repository: Repository) -> dict[str, object]:
    """Returns what digests hold of a repository; without a field that came later and is not set."""
    return _facts(repository, later=("path",))


def _facts(message: Struct, later: Collection[str]) -> dict[str, object]:
    facts = structs.asdict(message)
    return {name: value for name, value in facts.items() if value or name not in later}


def source_facts(source: ModelSource) -> dict[str, object]:
    """Returns what digests hold of a source; without a kind that came later and is not set."""
    return source.model_dump(mode="json", exclude=None if source.git_hub else {"git_hub"})


def _signers(signatures: Signatures) -> object:
    """Returns what tells two sets of signers apart: in another order they take the same models."""
    keys = sorted(signatures.public_keys)
    if not signatures.identities and not signatures.certificate_authorities:
        # As it was when there were keys only, so that a new version leaves published plans alone.
        return keys
    root = signatures.trusted_root
    return {
        "keys": keys,
        "identities": sorted([one.issuer, one.subject] for one in signatures.identities),
        "authorities": sorted(signatures.certificate_authorities),
        "root": root.config_map_name if root else "",
    }
