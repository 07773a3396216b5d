"""The Gallery's listing as its status shows it."""

from __future__ import annotations

from model_gallery.api.v1alpha1.gallery import (
    MAX_STATUS_LISTED,
    GallerySpec,
    ListedModel,
    ListingStatus,
    ModelKind,
)
from model_gallery.catalog import listing
from model_gallery.errors import StalledError
from model_gallery.reconcile.observed import ObservedGallery

__all__ = ["filter_of", "listing_of"]


def filter_of(spec: GallerySpec) -> listing.Filter:
    """Returns the filter that a Gallery's spec asks for."""
    wanted = spec.listing
    return listing.Filter(wanted.name_regex, wanted.tags, wanted.backend, wanted.use_case)


def listing_of(observed: ObservedGallery, spec: GallerySpec) -> ListingStatus | None:
    """Returns the listing; as it stands where nothing is known of loose files since a restart."""
    if observed.loose is None:
        return observed.status.listing
    try:
        listed = listing.list_models(
            observed.models, observed.loose, filter_of(spec), spec.listing.loose_file_policy
        )
    except StalledError:
        # The schema refuses such an expression; an object from before it shows no listing.
        return None
    configured = sum(1 for item in listed if item.kind is ModelKind.CONFIGURED)
    shown = tuple(
        ListedModel(
            name=item.name[:1024], kind=item.kind, ready=item.ready, size_bytes=item.size_bytes
        )
        for item in listed[:MAX_STATUS_LISTED]
    )
    return ListingStatus(
        configured=configured,
        loose=len(listed) - configured,
        total=len(listed),
        models=shown,
        omitted=len(listed) - len(shown),
    )
