"""The Models that a Gallery keeps: which are made, which go, which stay, and under which names."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from model_gallery.api.v1alpha1.gallery import GallerySpec, GalleryStatus, InstallStatus
from model_gallery.api.v1alpha1.model import ModelSpec
from model_gallery.catalog import index
from model_gallery.catalog.selection import Selection
from model_gallery.reconcile import names, stocking
from model_gallery.reconcile.actions import ApplyModel, DeleteModel
from model_gallery.reconcile.observed import IndexView, ObservedGallery, OwnedModel
from support import builders as b

DATA = Path(
    os.environ.get("MODEL_GALLERY_DATA")
    or Path(__file__).parents[4] / "shared" / "data" / "localai-gallery"
)
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
NOTHING, NAMED, BY_TAG = {}, {"entries": ["a"]}, {"matching": {"tags": ["llm"]}}


def observed(install: dict[str, Any], selection: Selection | None, **changes: Any):
    spec = GallerySpec.model_validate({**b.GALLERY_SPEC, "install": install})
    start = ObservedGallery(
        meta=b.meta(name="g", uid="uid-g", has_finalizer=False),
        spec=spec,
        status=GalleryStatus(),
        index=IndexView(),
        selection=selection,
    )
    return replace(start, **changes)


def own(entry: str, by: str = "entries", **changes: Any) -> OwnedModel:
    return replace(OwnedModel(f"g-{entry}", f"uid-{entry}", entry, by), **changes)


def made(seen: ObservedGallery) -> list[str]:
    return [
        action.model["spec"]["source"]["entry"]["name"]
        for action in stocking.stock(seen).actions
        if isinstance(action, ApplyModel)
    ]


def removed(seen: ObservedGallery) -> list[DeleteModel]:
    return [action for action in stocking.stock(seen).actions if isinstance(action, DeleteModel)]


GONE = [DeleteModel("g-a", "uid-a")]
Case = tuple[dict[str, Any], Selection | None, dict[str, Any], list[str], list[DeleteModel]]

CASES: dict[str, Case] = {
    "nothing is asked for": (NOTHING, Selection(), {}, [], []),
    "an entry is named": (NAMED, Selection(named=("a",)), {}, ["a"], []),
    "an entry is selected": (BY_TAG, Selection(matched=("a", "b")), {}, ["a", "b"], []),
    "an entry is there": (NAMED, Selection(named=("a",)), {"owned": (own("a"),)}, [], []),
    "an entry is named that the index does not hold": (
        NAMED,
        Selection(missing=("a",)),
        {},
        [],
        [],
    ),
    "somebody else installs the entry": (
        NAMED,
        Selection(named=("a",)),
        {"foreign_entries": frozenset({"a", ""})},
        [],
        [],
    ),
    "somebody else installs it beside the Gallery": (
        NAMED,
        Selection(named=("a",)),
        {"owned": (own("a"),), "foreign_entries": frozenset({"a"})},
        [],
        [],
    ),
    "an entry is no longer named": (NOTHING, Selection(), {"owned": (own("a"),)}, [], GONE),
    "an entry is no longer selected": (
        BY_TAG,
        Selection(),
        {"owned": (own("a", "matching"),)},
        [],
        GONE,
    ),
    "nothing is selected any longer": (
        NOTHING,
        Selection(),
        {"owned": (own("a", "matching"),)},
        [],
        GONE,
    ),
    "it is on its way out already": (
        NOTHING,
        Selection(),
        {"owned": (own("a", deleting=True),)},
        [],
        [],
    ),
    "it is on its way out and named again": (
        NAMED,
        Selection(named=("a",)),
        {"owned": (own("a", deleting=True),)},
        [],
        [],
    ),
    "a named entry vanished upstream": (
        NAMED,
        Selection(missing=("a",)),
        {"owned": (own("a"),), "vanished_entries": frozenset({"a"})},
        [],
        [],
    ),
    "a selected entry vanished upstream": (
        BY_TAG,
        Selection(),
        {"owned": (own("a", "matching"),), "vanished_entries": frozenset({"a"})},
        [],
        [],
    ),
    "a vanished entry is no longer named": (
        NOTHING,
        Selection(),
        {"owned": (own("a"),), "vanished_entries": frozenset({"a"})},
        [],
        GONE,
    ),
    "nothing is selected any longer, and the entry vanished": (
        NOTHING,
        Selection(),
        {"owned": (own("a", "matching"),), "vanished_entries": frozenset({"a"})},
        [],
        GONE,
    ),
    "it was selected, then named, and vanished": (
        NAMED,
        Selection(missing=("a",)),
        {"owned": (own("a", "matching"),), "vanished_entries": frozenset({"a"})},
        [],
        [],
    ),
    "it was named, then selected, and vanished": (
        BY_TAG,
        Selection(),
        {"owned": (own("a", "entries"),), "vanished_entries": frozenset({"a"})},
        [],
        [],
    ),
    "it was named, is selected": (
        BY_TAG,
        Selection(matched=("a",)),
        {"owned": (own("a", "entries"),)},
        [],
        [],
    ),
    "the index is not loaded": (NAMED, None, {"owned": (own("b"),)}, [], []),
    "the Gallery does not fit the schema": (
        NAMED,
        Selection(),
        {"owned": (own("b"),), "spec": None},
        [],
        [],
    ),
}


@pytest.mark.parametrize(
    ("install", "selection", "changes", "want_made", "want_removed"), CASES.values(), ids=CASES
)
def test_what_is_made_and_removed(
    install: dict[str, Any],
    selection: Selection | None,
    changes: dict[str, Any],
    want_made: list[str],
    want_removed: list[DeleteModel],
) -> None:
    seen = observed(install, selection, **changes)

    assert made(seen) == want_made
    assert removed(seen) == want_removed


def test_what_is_made() -> None:
    seen = observed(NAMED, Selection(named=("Llama 3.2:1b_q4",)))
    (action,) = stocking.stock(seen).actions

    assert isinstance(action, ApplyModel)
    metadata, spec = action.model["metadata"], action.model["spec"]
    assert re.fullmatch(r"g-llama-3-2-1b-q4-[0-9a-f]{6}", metadata["name"])
    assert metadata["namespace"] == "ns"
    assert metadata["annotations"] == {"modelgallery.dev/installed-by": "entries"}
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Gallery", "uid-g", True)
    assert spec == {"galleryName": "g", "source": {"entry": {"name": "Llama 3.2:1b_q4"}}}
    assert ModelSpec.model_validate(spec).gallery_name == "g"


def test_a_selected_one_says_so() -> None:
    (action,) = stocking.stock(observed(BY_TAG, Selection(matched=("a",)))).actions

    assert isinstance(action, ApplyModel)
    (by,) = action.model["metadata"]["annotations"].values()
    assert by.startswith("matching-")


def test_what_is_made_twice_is_made_once() -> None:
    seen = observed(NAMED, Selection(named=("a",)))

    assert stocking.stock(seen) == stocking.stock(seen)


def test_fifty_objects_in_one_go_and_removals_first() -> None:
    entries = tuple(f"e{number}" for number in range(70))
    owned = tuple(own(f"o{number}") for number in range(20))
    seen = observed({"entries": list(entries)}, Selection(named=entries), owned=owned)

    found = stocking.stock(seen)

    assert len(found.actions) == 50
    assert len(removed(seen)) == 20
    assert made(seen) == list(entries[:30])
    assert found.status == InstallStatus(wanted=70, ready=0)


STATUSES: dict[str, tuple[Selection | None, dict[str, Any], InstallStatus | None]] = {
    "nothing is kept": (Selection(), {}, None),
    "the index is not loaded": (None, {}, None),
    "something is still there": (
        Selection(),
        {"owned": (own("z", deleting=True),)},
        InstallStatus(wanted=0, ready=0),
    ),
    "some are ready": (
        Selection(named=("a", "b"), matched=("c",)),
        {"owned": (own("a", ready=True), own("b"), own("c", ready=True))},
        InstallStatus(wanted=3, ready=2),
    ),
    "some are missing": (
        Selection(named=("a",), missing=("x", "y")),
        {"owned": (own("a", ready=True),)},
        InstallStatus(wanted=3, ready=1, missing=("x", "y")),
    ),
    "only missing ones": (
        Selection(missing=("x",)),
        {},
        InstallStatus(wanted=1, ready=0, missing=("x",)),
    ),
    "what leaves is not counted": (
        Selection(named=("a",)),
        {"owned": (own("a"), own("z", ready=True))},
        InstallStatus(wanted=1, ready=0),
    ),
    "more missing than are told": (
        Selection(missing=tuple("abcdefghijklmnopqrst")),
        {},
        InstallStatus(wanted=20, ready=0, missing=tuple("abcdefghijklmnop")),
    ),
}


@pytest.mark.parametrize(("selection", "changes", "want"), STATUSES.values(), ids=STATUSES)
def test_the_numbers(
    selection: Selection | None, changes: dict[str, Any], want: InstallStatus | None
) -> None:
    assert stocking.stock(observed(NAMED, selection, **changes)).status == want


# Names


def name_of(entry: str, gallery: str = "g") -> str:
    seen = observed(
        NAMED, Selection(named=(entry,)), meta=b.meta(name=gallery, has_finalizer=False)
    )
    (action,) = stocking.stock(seen).actions
    assert isinstance(action, ApplyModel)
    return str(action.model["metadata"]["name"])


@pytest.mark.parametrize(
    "entry",
    ["a", "_", "---", "ÄÖ", "x" * 256, "a." * 64, "ends-", "x" * 39 + "-y", "Qwen/Qwen3:8b"],
)
@pytest.mark.parametrize(
    "gallery",
    ["g", "a.b", "x" * 253, "a." * 126 + "a", ("a" * 149) + ".b", ("a" * 149) + "-b"],
    ids=["short", "dotted", "longest", "dots", "a dot at the cut", "a dash at the cut"],
)
def test_every_name_is_legal(entry: str, gallery: str) -> None:
    name = name_of(entry, gallery)

    assert SUBDOMAIN.match(name)
    assert len(name) <= 253


def test_names_that_come_down_to_the_same_letters_differ() -> None:
    entries = ["voice-en-us-ryan-high", "voice-en_US-ryan-high", "voice en us ryan high"]

    assert len({name_of(entry) for entry in entries}) == 3
    assert name_of("a", "x" * 200 + "1") != name_of("a", "x" * 200 + "2")


PINNED = {
    "llama-3.2-1b-instruct:q4_k_m": "localai-llama-3-2-1b-instruct-q4-k-m-16adc1",
    "voice-pt_PT-tugão-medium": "localai-voice-pt-pt-tug-o-medium-ed0b35",
    "voice-en-us-ryan-high": "localai-voice-en-us-ryan-high-7bb1c2",
    "voice-en_US-ryan-high": "localai-voice-en-us-ryan-high-1ab7db",
    "Llama-3.2-1B-Instruct-Q4_K_M.gguf": "localai-llama-3-2-1b-instruct-q4-k-m-gguf-e9fdc1",
}


@pytest.mark.parametrize(("entry", "want"), PINNED.items(), ids=PINNED)
def test_names_are_the_same_from_one_release_to_the_next(entry: str, want: str) -> None:
    """People write them into their own manifests; the digits are those they were born with."""
    assert name_of(entry, "localai") == want


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no gallery in {DATA}")
def test_the_names_of_the_whole_real_gallery() -> None:
    """512 of them are no object's name; Jobs are named after the objects once more."""
    entries = index.parse((DATA / "index.yaml").read_bytes()).names()
    found = {name_of(entry, "localai") for entry in entries}
    jobs = {names.worker_name(name, "install", "uid", 1) for name in found}

    assert sum(1 for entry in entries if not SUBDOMAIN.match(entry)) == 512
    assert len(entries) == len(found) == len(jobs) == 1709
    assert all(SUBDOMAIN.match(name) and len(name) <= 63 for name in found | jobs)
    assert not any("." in name for name in jobs)


def test_what_this_selection_made_stays_when_its_entry_says_something_else() -> None:
    """A tag edited upstream removes no files; another selection does."""
    (action,) = stocking.stock(observed(BY_TAG, Selection(matched=("a",)))).actions
    assert isinstance(action, ApplyModel)
    (by,) = action.model["metadata"]["annotations"].values()
    kept = {"owned": (own("a", by=by),)}
    assert removed(observed(BY_TAG, Selection(), **kept)) == []
    assert removed(observed({"matching": {"tags": ["other"]}}, Selection(), **kept)) == GONE


DEFAULTS = {"entries": ["a"], "defaults": {"evictable": True, "updatePolicy": {"mode": "Track"}}}


def applied(install: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    seen = observed(install, Selection(named=("a",)), **changes)
    actions = stocking.stock(seen).actions
    return [action.model for action in actions if isinstance(action, ApplyModel)]


def digest_of(manifest: dict[str, Any]) -> str:
    return str(manifest["metadata"]["annotations"].get("modelgallery.dev/install-defaults", ""))


def test_defaults_stand_in_the_spec_of_what_is_made() -> None:
    (manifest,) = applied(DEFAULTS)
    spec = ModelSpec.model_validate(manifest["spec"])
    assert (spec.evictable, spec.update_policy.mode) == (True, "Track")
    assert "serving" not in manifest["spec"]
    (plain,) = applied(NAMED)
    assert plain["spec"].keys() == {"galleryName", "source"}
    assert digest_of(plain) == ""


def test_changed_defaults_reach_what_was_made_and_nothing_is_written_twice() -> None:
    plain = own("a")
    (manifest,) = applied(DEFAULTS, owned=(plain,))
    assert manifest["metadata"]["annotations"]["modelgallery.dev/installed-by"] == "entries"
    standing = replace(plain, defaults=digest_of(manifest))
    assert applied(DEFAULTS, owned=(standing,)) == []
    (bare,) = applied(NAMED, owned=(standing,))
    assert (digest_of(bare), "evictable" in bare["spec"]) == ("", False)
    assert applied(NAMED, owned=(plain,)) == []


def test_defaults_reach_one_whose_entry_vanished_and_none_that_goes() -> None:
    kept = own("gone", "matching-1")
    seen = observed(
        {"matching": {"tags": ["llm"]}, "defaults": {"evictable": True}},
        Selection(),
        owned=(kept, own("b", deleting=True)),
        vanished_entries=frozenset({"gone"}),
    )
    (action,) = stocking.stock(seen).actions
    assert isinstance(action, ApplyModel)
    assert action.model["spec"]["source"] == {"entry": {"name": "gone"}}
    assert action.model["metadata"]["annotations"]["modelgallery.dev/installed-by"] == kept.by


def test_what_is_no_longer_asked_for_is_removed_and_not_written() -> None:
    install = {"defaults": {"evictable": True}}
    seen = observed(install, Selection(), owned=(own("a"),))
    assert list(stocking.stock(seen).actions) == GONE
