"""Layers of images that carry a model: what each puts below /models, and what it hides of those below it.

KServe calls such an image a modelcar. The rules are those of the OCI image specification for changesets:

1. Layers are applied in order; a later file takes the place of an earlier one, and of a folder.
2. `.wh.NAME` hides NAME with all below it, `.wh..wh..opq` all that the folder of that name has; of earlier
   layers only, wherever it stands in its own.
3. What does not lie below /models is not looked at. Names that do not say plainly where they lie are
   refused, since a runtime would find its own place for them.

What a layer hides is text, as receipts keep it: `a/b` that path with all below it; `a/b/` what lies below
it; `/` everything; `a/b/.` a file of that name, since the layer has a folder there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from model_gallery.artifact.archive import unsafe

__all__ = ["ROOT", "Layer", "folder", "hidden", "inner", "merged"]

ROOT = "models"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_RESERVED = ".wh..wh."
_Content = TypeVar("_Content")


@dataclass(frozen=True, slots=True)
class Layer(Generic[_Content]):
    """One layer, as far as it lies below /models.

    Attributes:
        files: by path below /models.
        hides: of the layers below, as the module says.
    """

    files: Mapping[str, _Content]
    hides: Collection[str] = ()


def inner(name: str) -> str | None:
    """Returns what a member is called below /models: empty for the folder itself, None for others.

    What hides the folder itself is called as one that hides all below it.

    Raises:
        StalledError: UnsafePath, for a name that leads up or around.
    """
    name = name.removeprefix("./").removeprefix("/")
    if name in {"", "."}:
        return None
    parts = name.split("/")
    if not {"", ".", ".."}.isdisjoint(parts):
        raise unsafe(f"member {name[:200]!r} does not say plainly where it lies")
    if name in {_WHITEOUT + ROOT, _OPAQUE}:
        return _OPAQUE
    return "/".join(parts[1:]) if parts[0] == ROOT else None


def hidden(path: str) -> str | None:
    """Returns what a member hides, None for one that is no whiteout.

    Args:
        path: as of `inner`.

    Raises:
        StalledError: UnsafePath, for a whiteout that hides nothing in its own folder.
    """
    *above, name = path.split("/")
    if any(part.startswith(_WHITEOUT) for part in above):
        raise unsafe(f"member {path[:200]!r} lies below a whiteout")
    if name == _OPAQUE:
        return "/".join(above) + "/"
    if not name.startswith(_WHITEOUT):
        return None
    target = name.removeprefix(_WHITEOUT)
    if target in {"", ".", ".."} or name.startswith(_RESERVED):
        raise unsafe(f"member {path[:200]!r} is a whiteout of nothing")
    return "/".join((*above, target))


def folder(path: str) -> str:
    """Returns what a folder hides: a file in its place."""
    return f"{path}/."


def merged(layers: Sequence[Layer[_Content]]) -> dict[str, _Content]:
    """Returns what lies below /models when all layers are applied, the first of them at the bottom."""
    found: dict[str, _Content] = {}
    hides: set[str] = set()
    for layer in reversed(layers):
        found |= {path: one for path, one in layer.files.items() if not _is_hidden(path, hides)}
        hides |= {*layer.hides, *layer.files, *map(folder, _folders(layer.files))}
    return found


def _is_hidden(path: str, hides: Collection[str]) -> bool:
    if "/" in hides or path in hides or folder(path) in hides:
        return True
    return any(above in hides or f"{above}/" in hides for above in _folders([path]))


def _folders(paths: Iterable[str]) -> set[str]:
    """Returns the folders that paths lie in."""
    return {
        "/".join(parts[:depth])
        for parts in (path.split("/") for path in paths)
        for depth in range(1, len(parts))
    }
