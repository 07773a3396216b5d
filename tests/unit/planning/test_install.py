"""What an install may do with the volume: each case is a volume and a wish."""

from __future__ import annotations

import re
from typing import Any

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError
from model_gallery.planning import install, remove, room
from model_gallery.planning.install import Found, Owned, Step, Wanted

A, B = "a" * 64, "b" * 64
OTHER = {"m.gguf": Owned("m.gguf", A, "ns/other")}


def found(**changes: Any) -> Found:
    return Found(**{"others": {}, "own": {}, "loose": {}, "blobs": {}, **changes})


CASES: dict[str, tuple[Wanted, Found, tuple[bool, bool] | Reason]] = {
    "nothing is there": (Wanted("m.gguf", A, 10), found(), (True, False)),
    "the content is there": (Wanted("m.gguf", A, 10), found(blobs={A: 10}), (False, False)),
    "content of another length is not trusted": (
        Wanted("m.gguf", A, 10),
        found(blobs={A: 9}),
        (True, False),
    ),
    "another Model shares the very content": (
        Wanted("m.gguf", A, 10),
        found(others=OTHER, blobs={A: 10}),
        (False, False),
    ),
    "another Model has other content there": (
        Wanted("m.gguf", B, 10),
        found(others=OTHER),
        Reason.PATH_CONFLICT,
    ),
    "another Model is there and no digest is promised": (
        Wanted("m.gguf", None, 10),
        found(others=OTHER),
        Reason.PATH_CONFLICT,
    ),
    "a loose file with the promised content": (
        Wanted("m.gguf", A, 10),
        found(loose={"m.gguf": A}),
        (False, True),
    ),
    "a loose file with other content": (
        Wanted("m.gguf", A, 10),
        found(loose={"m.gguf": B}),
        Reason.PATH_CONFLICT,
    ),
    "our own older content": (
        Wanted("m.gguf", B, 10),
        found(own={"m.gguf": A}),
        (True, False),
    ),
    "a document is never fetched": (
        Wanted("m.yaml", A, 10, fetched=False),
        found(),
        (False, False),
    ),
}


@pytest.mark.parametrize(("wanted", "volume", "want"), CASES.values(), ids=CASES.keys())
def test_one_path(wanted: Wanted, volume: Found, want: tuple[bool, bool] | Reason) -> None:
    if isinstance(want, Reason):
        with pytest.raises(StalledError) as caught:
            install.plan([wanted], volume)

        assert caught.value.reason is want
        assert "m.gguf" in caught.value.message
        return

    (step,) = install.plan([wanted], volume).steps

    assert step == Step(wanted, *want)


@pytest.mark.parametrize(
    "paths", [("a", "a"), ("a", "a/b"), ("a/b/c", "a/b")], ids=["twice", "folder", "above"]
)
def test_paths_that_cannot_be_together(paths: tuple[str, ...]) -> None:
    with pytest.raises(StalledError) as caught:
        install.plan([Wanted(path, A, 1) for path in paths], found())

    assert caught.value.reason is Reason.INVALID_SPEC


OTHERS = {path: Owned(path, A, "ns/other") for path in ("a.gguf", "sets/one/x")}
FOLDERS: dict[str, str] = {
    "a.gguf/x": "'a.gguf/x' would be below 'a.gguf', and Model ns/other publishes 'a.gguf' there",
    "a.gguf/x/y": "'a.gguf/x/y' would be below 'a.gguf'",
    "sets": "'sets' would be a file, and Model ns/other publishes 'sets/one/x' below it",
    "sets/one": "'sets/one' would be a file",
    "a.gguf": "",
    "sets/one/y": "",
    "sets/two": "",
    "a": "",
}


@pytest.mark.parametrize(("path", "message"), FOLDERS.items(), ids=FOLDERS.keys())
def test_a_file_of_another_model_is_no_folder(path: str, message: str) -> None:
    if not message:
        install.check_folders([Wanted(path, A, 1)], OTHERS)
        return
    with pytest.raises(StalledError, match=re.escape(message)) as caught:
        install.check_folders([Wanted(path, A, 1)], OTHERS)
    assert caught.value.reason is Reason.PATH_CONFLICT


def test_what_the_plan_no_longer_has_is_leaving() -> None:
    plan = install.plan([Wanted("new", A, 1)], found(own={"old": B, "new": A}))

    assert plan.leaving == ("old",)


def test_sizes_add_up() -> None:
    wanted = [Wanted("a", A, 10), Wanted("b", B, 5), Wanted("c", None, 7)]
    plan = install.plan(wanted, found(blobs={B: 5}))

    assert (plan.fetch_bytes, plan.reused_bytes) == (17, 5)
    assert install.plan([Wanted("a", A, None)], found()).fetch_bytes is None


@pytest.mark.parametrize(
    ("staged", "free", "inodes", "refused"),
    [(0, 1049, 100, True), (0, 1050, 100, False), (500, 525, 100, False), (0, 2000, 2, True)],
    ids=["no reserve left", "just enough", "half is staged", "no inodes"],
)
def test_room(staged: int, free: int, inodes: int, refused: bool) -> None:
    plan = install.plan([Wanted("a", A, 1000)], found())
    if not refused:
        room.check_free(plan, staged, free, inodes)
        return

    with pytest.raises(StalledError) as caught:
        room.check_free(plan, staged, free, inodes)

    assert caught.value.reason is Reason.NO_SPACE
    assert str(free) in caught.value.message or str(inodes) in caught.value.message


def test_the_missing_room_is_told_with_its_reserve() -> None:
    plan = install.plan([Wanted("a", A, 1000)], found())
    with pytest.raises(StalledError) as caught:
        room.check_free(plan, 0, 50, 100)
    assert caught.value.missing_bytes == 1050 - 50


def test_a_quota_tells_what_is_missing() -> None:
    plan = install.plan([Wanted("a", A, 1000)], found())
    with pytest.raises(StalledError) as caught:
        room.check_quota(plan, 400)
    assert caught.value.missing_bytes == 600


def test_the_last_owner_takes_the_content_along() -> None:
    mine = [Owned("a", A, "me"), Owned("b", B, "me")]
    theirs = [Owned("a", A, "them"), Owned("c", B, "them")]

    assert remove.plan(mine, []) == remove.Removal(("a", "b"), (A, B))
    assert remove.plan(mine, theirs) == remove.Removal(("b",), ())


@pytest.mark.parametrize(
    ("path", "opening"),
    {
        "config.json": True,
        "m/config.json": True,
        "m/model.safetensors.index.json": True,
        "m/modules.json": True,
        "m/tokenizer.json": False,
        "m/model.safetensors": False,
        "config.json/weights": False,
    }.items(),
)
def test_what_loaders_begin_with(path: str, opening: bool) -> None:
    assert install.is_opening(path) is opening
