"""Layers of images: where a member lies, what a whiteout hides, and what is left when all are applied."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from model_gallery.api.conditions import Reason
from model_gallery.artifact import imagelayer
from model_gallery.artifact.imagelayer import Layer
from model_gallery.errors import StalledError

INNER = {
    "models/m.gguf": "m.gguf",
    "./models/m.gguf": "m.gguf",
    "/models/a/m.gguf": "a/m.gguf",
    "models": "",
    ".": None,
    "": None,
    "model/m.gguf": None,
    "modelsx/m.gguf": None,
    "Models/m.gguf": None,
    "usr/models/m.gguf": None,
    ".wh.models": ".wh..wh..opq",
    ".wh..wh..opq": ".wh..wh..opq",
    ".wh.usr": None,
    ".wh..wh.plnk": None,
    "usr/.wh.models": None,
    "models/.wh.m.gguf": ".wh.m.gguf",
}


@pytest.mark.parametrize("name", INNER)
def test_only_what_lies_below_models_counts(name: str) -> None:
    assert imagelayer.inner(name) == INNER[name]


@pytest.mark.parametrize(
    "name",
    [
        "usr/../models/x",
        "../models/x",
        "models/../x",
        "..",
        "models//x",
        "models/./x",
        "//models/x",
    ],
)
def test_names_that_a_runtime_would_find_its_own_place_for_are_refused(name: str) -> None:
    with pytest.raises(StalledError) as caught:
        imagelayer.inner(name)

    assert caught.value.reason is Reason.UNSAFE_PATH


HIDDEN = {
    "m.gguf": None,
    "a/m.wh.gguf": None,
    ".wh.m.gguf": "m.gguf",
    "a/b/.wh.c": "a/b/c",
    ".wh..wh..opq": "/",
    "a/.wh..wh..opq": "a/",
    ".wh..hidden": ".hidden",
}


@pytest.mark.parametrize("path", HIDDEN)
def test_what_a_whiteout_hides(path: str) -> None:
    assert imagelayer.hidden(path) == HIDDEN[path]


@pytest.mark.parametrize(
    "path", [".wh.", ".wh..", ".wh...", "a/.wh...", ".wh.d/x", ".wh..wh.plnk", ".wh.d/.wh.x"]
)
def test_whiteouts_that_hide_nothing_of_their_folder_are_refused(path: str) -> None:
    """`.wh...` would have a careless reader remove the folder above."""
    with pytest.raises(StalledError) as caught:
        imagelayer.hidden(path)

    assert caught.value.reason is Reason.UNSAFE_PATH


def layer(*files: str, hides: tuple[str, ...] = (), content: str = "") -> Layer[str]:
    return Layer({path: content or path for path in files}, hides)


MERGED = {
    "no layers": ([], {}),
    "layers add up": ([layer("a"), layer("d/b")], {"a": "a", "d/b": "d/b"}),
    "the later file wins": ([layer("a"), layer("a", content="new")], {"a": "new"}),
    "a file is hidden": ([layer("a", "b"), layer(hides=("a",))], {"b": "b"}),
    "a folder is hidden": ([layer("d/a", "d/e/b", "da"), layer(hides=("d",))], {"da": "da"}),
    "below a folder": ([layer("d/a", "d/b"), layer(hides=("d/a",))], {"d/b": "d/b"}),
    "an opaque folder": (
        [layer("d/a", "d/e/b", "x"), layer("d/c", hides=("d/",))],
        {"x": "x", "d/c": "d/c"},
    ),
    "an opaque folder is no file": ([layer("d"), layer(hides=("d/",))], {"d": "d"}),
    "all is hidden": ([layer("a", "d/b"), layer("c", hides=("/",))], {"c": "c"}),
    "nothing of its own layer": ([layer("a", hides=("a", "/"))], {"a": "a"}),
    "nothing of later layers": ([layer(hides=("a", "/")), layer("a")], {"a": "a"}),
    "hidden, and there again": (
        [layer("a"), layer(hides=("a",)), layer("a", content="new")],
        {"a": "new"},
    ),
    "a file takes the place of a folder": ([layer("d/a"), layer("d")], {"d": "d"}),
    "a folder takes the place of a file": ([layer("d"), layer("d/a")], {"d/a": "d/a"}),
    "an empty folder takes the place of a file": ([layer("d"), layer(hides=("d/.",))], {}),
    "a folder that was there stays": ([layer("d/a"), layer(hides=("d/.",))], {"d/a": "d/a"}),
    "names that begin alike": ([layer("a", "ab"), layer(hides=("a",))], {"ab": "ab"}),
}


@pytest.mark.parametrize("case", MERGED)
def test_layers_are_applied_in_order(case: str) -> None:
    layers, want = MERGED[case]

    assert imagelayer.merged(layers) == want


paths = some.lists(some.sampled_from("ab"), min_size=1, max_size=3).map("/".join)
marks = some.one_of(
    paths, paths.map(lambda path: f"{path}/"), paths.map(imagelayer.folder), some.just("/")
)
layers_ = some.builds(
    lambda files, hides: Layer(dict.fromkeys(files, "x"), frozenset(hides)),
    some.sets(paths, max_size=3).filter(
        lambda files: not any(one.startswith(f"{other}/") for one in files for other in files)
    ),
    some.sets(marks, max_size=2),
)


@given(some.lists(layers_, max_size=5))
def test_no_file_is_the_folder_of_another(layers: list[Layer[str]]) -> None:
    """And the last layer is there as it is."""
    found = imagelayer.merged(layers)

    assert not any(one.startswith(f"{other}/") for one in found for other in found)
    assert not layers or layers[-1].files.items() <= found.items()
