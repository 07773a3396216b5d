"""What a Gallery's policy and a Model's own say of it: of two words the stricter counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.gallery import Checksums, Formats
from model_gallery.api.v1alpha1.model import ModelPolicy, ModelSpec
from model_gallery.api.v1alpha1.signatures import Signatures
from model_gallery.catalog.entry import InstallRequest
from model_gallery.reconcile.observed import GalleryView
from model_gallery.reconcile.outcome import Stall

__all__ = ["refused", "tightened"]


def tightened(gallery: GalleryView, spec: ModelSpec | None) -> GalleryView:
    """Returns the Gallery as one Model sees it: with what its own policy adds."""
    own = spec.policy if spec else None
    stricter: dict[str, object] = {}
    if own is not None and own.checksums is not None:
        stricter["checksums"] = Checksums.REQUIRED
    if own is not None and own.formats is not None:
        stricter["formats"] = Formats.SAFE
    if own is not None and own.signatures is not None:
        stricter["signatures"] = _common(gallery.spec.policy.signatures, own.signatures)
    if not stricter:
        return gallery
    policy = gallery.spec.policy.model_copy(update=stricter)
    return replace(gallery, spec=gallery.spec.model_copy(update={"policy": policy}))


def refused(request: InstallRequest, gallery: GalleryView, spec: ModelSpec | None) -> Stall | None:
    """Returns what a policy has against a request; also against what is installed."""
    policy, own = gallery.spec.policy, spec.policy if spec else None
    found = _against(
        request, "policy", f" of Gallery {gallery.name}", policy.licenses, policy.allowed_hosts
    )
    if found is None and own is not None:
        found = _against(request, "spec.policy", "", own.licenses, own.allowed_hosts)
        found = found or _without_signers(gallery, own)
    return found


def _without_signers(gallery: GalleryView, own: ModelPolicy) -> Stall | None:
    if own.signatures is None:
        return None
    common = _common(gallery.spec.policy.signatures, own.signatures)
    if common.public_keys or common.identities or common.certificate_authorities:
        return None
    message = (
        "spec.policy.signatures names no key, identity (with its trustedRoot) or authority that"
        f" policy.signatures of Gallery {gallery.name} names, too"
    )
    return Stall(Reason.SIGNATURE_INVALID, message)


def _common(gallery: Signatures | None, own: Signatures) -> Signatures:
    """Returns the signers whom both trust; line ends and spaces make no other key or certificate.

    An identity is one of its Sigstore instance. A Model that names another instance than its Gallery
    shares none; one that names no instance means the Gallery's.
    """
    if gallery is None:
        return own
    elsewhere = own.trusted_root is not None and own.trusted_root != gallery.trusted_root
    return Signatures.model_construct(
        public_keys=_shared(gallery.public_keys, own.public_keys),
        identities=tuple(
            one for one in own.identities if one in gallery.identities and not elsewhere
        ),
        certificate_authorities=_shared(
            gallery.certificate_authorities, own.certificate_authorities
        ),
        trusted_root=gallery.trusted_root,
    )


def _shared(gallery: Sequence[str], own: Sequence[str]) -> tuple[str, ...]:
    trusted = {"".join(pem.split()) for pem in gallery}
    return tuple(pem for pem in own if "".join(pem.split()) in trusted)


def _against(
    request: InstallRequest,
    field: str,
    whose: str,
    licenses: Sequence[str],
    hosts: Sequence[str],
) -> Stall | None:
    if licenses and request.license not in licenses:
        named = f"license {request.license!r}" if request.license else "no license"
        message = f"{field}.licenses{whose} does not hold it: {named}"
        return Stall(Reason.LICENSE_NOT_ALLOWED, message)
    for host in sorted(request.hosts):
        if hosts and not _is_allowed(host, hosts):
            message = f"{field}.allowedHosts{whose} does not hold {host}"
            return Stall(Reason.TARGET_NOT_ALLOWED, message)
    return None


def _is_allowed(host: str, allowed: Sequence[str]) -> bool:
    host = host.lower()
    return any(
        host.endswith(pattern.lower()) if pattern.startswith(".") else host == pattern.lower()
        for pattern in allowed
    )
