"""The listing in a Gallery's status: capped, counted, and no emptier after a restart than before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from model_gallery.api.v1alpha1.gallery import (
    GallerySpec,
    GalleryStatus,
    ListedModel,
    ListingStatus,
    ModelKind,
)
from model_gallery.catalog.listing import Configured, Filter, Loose
from model_gallery.reconcile import gallery, listing
from model_gallery.reconcile.observed import IndexView, ObservedGallery
from support import builders as b

KNOWN = ListingStatus(configured=1, loose=1, total=2)
MODELS = (Configured("b", "weights", "whisper", ("asr",), ("transcript",), True, 7),)
FILES = (Loose("a.gguf", 5), Loose("weights", 7), Loose("README.md", 1))


def spec(**wanted: Any) -> GallerySpec:
    return GallerySpec.model_validate({**b.GALLERY_SPEC, "listing": wanted})


def observed(**changes: Any) -> ObservedGallery:
    start = ObservedGallery(
        meta=b.meta(name="g", has_finalizer=False),
        spec=spec(),
        status=GalleryStatus(listing=KNOWN),
        index=IndexView(),
        claim=b.CLAIM,
        models=MODELS,
        loose=FILES,
    )
    return replace(start, **changes)


def test_what_is_offered() -> None:
    assert listing.listing_of(observed(), spec()) == ListingStatus(
        configured=1,
        loose=1,
        total=2,
        models=(
            ListedModel(name="a.gguf", kind=ModelKind.LOOSE, ready=True, size_bytes=5),
            ListedModel(name="b", kind=ModelKind.CONFIGURED, ready=True, size_bytes=7),
        ),
    )


WISHES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all of it": ({"looseFilePolicy": "AlwaysInclude"}, ["a.gguf", "b", "weights"]),
    "loose files only": ({"looseFilePolicy": "LooseOnly"}, ["a.gguf"]),
    "Models only": ({"looseFilePolicy": "SkipAlways"}, ["b"]),
    "a name": ({"nameRegex": "^a"}, ["a.gguf"]),
    "a tag": ({"tags": ["asr"]}, ["b"]),
    "another tag": ({"tags": ["llm"]}, []),
    "a backend": ({"backend": "whisper"}, ["b"]),
    "a use case": ({"useCase": "Transcript"}, ["b"]),
}


@pytest.mark.parametrize(("wanted", "want"), WISHES.values(), ids=WISHES.keys())
def test_what_the_spec_says(wanted: dict[str, Any], want: list[str]) -> None:
    found = listing.listing_of(observed(), spec(**wanted))

    assert found is not None
    assert [item.name for item in found.models] == want


def test_the_filter_of_a_spec() -> None:
    wanted = spec(nameRegex="a", tags=["b", "c"], backend="d", useCase="e")

    assert listing.filter_of(wanted) == Filter("a", ("b", "c"), "d", "e")


def test_an_empty_volume_is_told_as_empty() -> None:
    found = listing.listing_of(observed(models=(), loose=()), spec())

    assert found == ListingStatus(configured=0, loose=0, total=0)


def test_a_restart_does_not_empty_the_listing() -> None:
    assert listing.listing_of(observed(loose=None), spec()) == KNOWN


def test_before_the_first_scan_there_is_none() -> None:
    assert listing.listing_of(observed(loose=None, status=GalleryStatus()), spec()) is None


def test_an_expression_that_is_none_shows_nothing() -> None:
    assert listing.listing_of(observed(), spec(nameRegex="a(")) is None


def test_no_more_than_a_hundred_are_shown() -> None:
    models = tuple(Configured(f"m{number:03}") for number in range(80))
    files = tuple(Loose(f"n{number:03}", 1) for number in range(80))
    found = listing.listing_of(observed(models=models, loose=files), spec())

    assert found is not None
    assert (found.configured, found.loose, found.total) == (80, 80, 160)
    assert (len(found.models), found.omitted) == (100, 60)
    assert (found.models[0].name, found.models[99].name) == ("m000", "n019")


def test_no_path_is_too_long_for_the_status() -> None:
    found = listing.listing_of(observed(models=(), loose=(Loose("a/" * 2000 + "a", 1),)), spec())

    assert found is not None
    assert len(found.models[0].name) == 1024


@pytest.mark.parametrize("suspend", [False, True])
def test_the_status_of_a_gallery_holds_its_listing(suspend: bool) -> None:
    seen = observed(
        spec=GallerySpec.model_validate({**b.GALLERY_SPEC, "suspend": suspend}),
        index=IndexView(loading=True),
    )
    status = gallery.status_after(seen, gallery.decide(seen, b.NOW), b.NOW)

    assert status.listing is not None
    assert status.listing.total == 2
