"""What a Gallery leaves for a Model, and what a removal leaves for a way back."""

from __future__ import annotations

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.planning import install, remove, room
from model_gallery.planning.install import Found, Owned, Wanted
from model_gallery.planning.remove import Removal
from model_gallery.planning.room import Kept

A, B, C = "a" * 64, "b" * 64, "c" * 64


def plan(*wanted: Wanted, **blobs: int) -> install.Plan:
    sizes = {digit * 64: size for digit, size in blobs.items()}
    return install.plan(wanted, Found(others={}, own={}, loose={}, blobs=sizes))


FITS: dict[str, tuple[install.Plan, int | None]] = {
    "no quota": (plan(Wanted("a", A, 2**50)), None),
    "just enough": (plan(Wanted("a", A, 10)), 10),
    "more than enough": (plan(Wanted("a", A, 10), Wanted("b", B, 5)), 16),
    "nothing, of nothing": (plan(), 0),
    "an empty file, of nothing": (plan(Wanted("a", A, 0)), 0),
    "a size that nobody knows": (plan(Wanted("a", A, None)), 0),
}


@pytest.mark.parametrize(("wanted", "quota"), FITS.values(), ids=FITS.keys())
def test_within_the_quota(wanted: install.Plan, quota: int | None) -> None:
    room.check_quota(wanted, quota)

    assert quota is None or sum(step.wanted.size_bytes or 0 for step in wanted.steps) <= quota


OVER: dict[str, tuple[install.Plan, int, str]] = {
    "one byte": (plan(Wanted("a", A, 10)), 9, "10 bytes are needed and .* leaves 9;"),
    "all files together": (
        plan(Wanted("a", A, 10), Wanted("b", B, 10)),
        19,
        "20 bytes are needed and .* leaves 19;",
    ),
    "nothing is left": (plan(Wanted("a", A, 1)), 0, "1 bytes are needed and .* leaves 0;"),
    "less than nothing is left": (plan(Wanted("a", A, 1)), -5, "and .* leaves 0;"),
    "what is on the volume counts too": (plan(Wanted("a", A, 10), a=10), 9, "10 bytes are needed"),
    "documents count too": (
        plan(Wanted("a.yaml", A, 10, fetched=False)),
        9,
        "10 bytes are needed",
    ),
}


@pytest.mark.parametrize(("wanted", "quota", "message"), OVER.values(), ids=OVER.keys())
def test_over_the_quota(wanted: install.Plan, quota: int, message: str) -> None:
    with pytest.raises(StalledError, match=message) as caught:
        room.check_quota(wanted, quota)

    assert caught.value.reason is Reason.QUOTA_EXCEEDED


MINE = Owned("m.gguf", A, "ns/me")
KEPT = Owned("", B, "ns/me")

REMOVALS: dict[str, tuple[list[Owned], list[Owned], Removal]] = {
    "nothing": ([], [], Removal((), ())),
    "all of a Model": ([MINE, KEPT], [], Removal(("m.gguf",), (A, B))),
    "a kept content has no path": ([KEPT], [], Removal((), (B,))),
    "what left, whose content is kept": ([MINE], [Owned("", A, "ns/me")], Removal(("m.gguf",), ())),
    "what left, whose content another keeps": (
        [MINE],
        [Owned("", A, "ns/other")],
        Removal(("m.gguf",), ()),
    ),
    "a kept content that another publishes": ([KEPT], [Owned("x", B, "ns/other")], Removal((), ())),
    "a path that another publishes": ([MINE], [Owned("m.gguf", C, "ns/other")], Removal((), (A,))),
    "a path and a content that others have": (
        [MINE, KEPT],
        [Owned("m.gguf", A, "ns/other"), Owned("", B, "ns/third")],
        Removal((), ()),
    ),
    "one content under two paths": (
        [MINE, Owned("n.gguf", A, "ns/me")],
        [],
        Removal(("m.gguf", "n.gguf"), (A,)),
    ),
    "one content under two paths, of which one stays": (
        [MINE],
        [Owned("n.gguf", A, "ns/me")],
        Removal(("m.gguf",), ()),
    ),
    "a kept content is no reason to keep a path": (
        [MINE],
        [Owned("", C, "ns/other")],
        Removal(("m.gguf",), (A,)),
    ),
}


@pytest.mark.parametrize(("leaving", "others", "want"), REMOVALS.values(), ids=REMOVALS.keys())
def test_what_goes(leaving: list[Owned], others: list[Owned], want: Removal) -> None:
    assert remove.plan(leaving, others) == want


def test_what_comes_once_may_come_as_a_stream() -> None:
    assert remove.plan(iter([MINE]), iter([KEPT])) == Removal(("m.gguf",), (A,))


SOON, LATER = Kept(A, 10, 100), Kept(B, 20, 200)
GOING: dict[str, tuple[list[Kept], int, tuple[str, ...]]] = {
    "nothing is missing": ([SOON, LATER], 0, ()),
    "what is over soonest goes first": ([LATER, SOON], 10, (A,)),
    "and the next where that is not enough": ([LATER, SOON], 11, (A, B)),
    "all of it, to the last byte": ([LATER, SOON], 30, (A, B)),
    "nothing, where all of it is too little": ([LATER, SOON], 31, ()),
    "nothing is kept": ([], 1, ()),
}


@pytest.mark.parametrize(("kept", "missing", "want"), GOING.values(), ids=GOING.keys())
def test_what_is_given_up_for_room(kept: list[Kept], missing: int, want: tuple[str, ...]) -> None:
    assert room.given_up(kept, missing) == want
