"""What an install does with the volume: fetch, take from what is there, or refuse.

Rules, in this order:
1. Two files of one plan never share a path, nor is one the folder of another.
2. A path that another Model publishes with other content is a conflict, and so is one below its file or
   above it; with the same content it is shared.
3. A loose file is never overwritten; with the promised content it is taken over.
4. Content that already lies on the volume is linked, not fetched.

Whether there is room for it: planning/room.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError

__all__ = [
    "Found",
    "Owned",
    "Plan",
    "Step",
    "Wanted",
    "check_folders",
    "check_own_folders",
    "is_opening",
    "plan",
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One path of the plan.

    Attributes:
        sha256: expected digest; None where the source promises none.
        size_bytes: None while unknown.
        fetched: False for documents, whose content is at hand.
    """

    path: str
    sha256: str | None
    size_bytes: int | None
    fetched: bool = True


@dataclass(frozen=True, slots=True)
class Owned:
    """A path that a receipt names."""

    path: str
    sha256: str
    owner: str


@dataclass(frozen=True, slots=True)
class Found:
    """The volume as far as a plan needs it.

    Attributes:
        others: by path, what other Models publish.
        own: by path, the digest that this Model published before.
        loose: by path, the digest of existing files that no receipt names.
        blobs: sizes of the contents on the volume, by sha256.
    """

    others: Mapping[str, Owned]
    own: Mapping[str, str]
    loose: Mapping[str, str]
    blobs: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Step:
    """How one path gets its content.

    Attributes:
        fetch: whether bytes must come from the source.
        adopt: whether the loose file at the path becomes ours.
    """

    wanted: Wanted
    fetch: bool
    adopt: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps, in the order of the wish, and what this plan no longer publishes."""

    steps: tuple[Step, ...]
    leaving: tuple[str, ...]

    @property
    def fetch_bytes(self) -> int | None:
        """Bytes to fetch; None while a size is unknown."""
        total = 0
        for step in self.steps:
            if step.fetch and step.wanted.size_bytes is None:
                return None
            if step.fetch:
                total += step.wanted.size_bytes or 0
        return total

    @property
    def reused_bytes(self) -> int:
        """Bytes of fetched files that are on the volume already."""
        return sum(
            step.wanted.size_bytes or 0
            for step in self.steps
            if not step.fetch and step.wanted.fetched
        )


def plan(wanted: Sequence[Wanted], found: Found) -> Plan:
    """Returns the plan.

    Raises:
        StalledError: InvalidSpec for rule 1, PathConflict for rules 2 and 3.
    """
    _check_paths([item.path for item in wanted])
    steps = tuple(_step(item, found) for item in wanted)
    kept = {item.path for item in wanted}
    return Plan(steps, tuple(sorted(path for path in found.own if path not in kept)))


def is_opening(path: str) -> bool:
    """Whether loaders begin with this file and are led by it to the others of its folder."""
    name = path.rpartition("/")[2]
    return name in _OPENINGS or name.endswith(".index.json")


_OPENINGS = frozenset({"config.json", "model_index.json", "modules.json", "params.json"})
"""Of transformers, diffusers, sentence-transformers and Mistral."""


def check_folders(wanted: Sequence[Wanted], others: Mapping[str, Owned]) -> None:
    """Refuses paths of which one would be the folder of another Model's file, or the other way about.

    Args:
        others: by path, what other Models publish.

    Raises:
        StalledError: PathConflict, with both paths and the Model.
    """
    folders = {above: other for path, other in others.items() for above in _above(path)}
    for item in wanted:
        below = folders.get(item.path)
        if below is not None:
            raise _in_the_way(item.path, "a file", below, "below it")
        for above in _above(item.path):
            if above in others:
                raise _in_the_way(item.path, f"below {above!r}", others[above], "there")


def check_own_folders(wanted: Sequence[Wanted], own: Collection[str]) -> None:
    """Refuses paths that would be the folder of a file that the Model itself still publishes, or below one.

    What comes is published before what leaves is removed, so the two cannot change places.

    Args:
        own: what the Model publishes now.

    Raises:
        StalledError: PathConflict, with both paths.
    """
    folders = {above: path for path in own for above in _above(path)}
    for item in wanted:
        above = next((path for path in _above(item.path) if path in own), None)
        standing = folders.get(item.path, above)
        if standing is not None:
            raise StalledError(
                Reason.PATH_CONFLICT,
                f"{item.path!r} cannot come while the Model itself publishes {standing!r}:"
                " one would be the folder of the other; take another path, or remove the Model first",
            )


def _above(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _in_the_way(path: str, where: str, other: Owned, there: str) -> StalledError:
    return StalledError(
        Reason.PATH_CONFLICT,
        f"{path!r} would be {where}, and Model {other.owner} publishes {other.path!r} {there};"
        " give this Model another path or gallery",
    )


def _check_paths(paths: Sequence[str]) -> None:
    seen: set[str] = set()
    for path in paths:
        if path in seen:
            raise StalledError(Reason.INVALID_SPEC, f"two files have the path {path!r}")
        seen.add(path)
    for path in paths:
        for above in _above(path):
            if above in seen:
                raise StalledError(
                    Reason.INVALID_SPEC, f"{above!r} is a file and the folder of {path!r}"
                )


def _step(item: Wanted, found: Found) -> Step:
    other = found.others.get(item.path)
    if other is not None and other.sha256 != item.sha256:
        raise StalledError(
            Reason.PATH_CONFLICT,
            f"Model {other.owner} publishes other content under {item.path!r};"
            " give this Model another path or gallery",
        )
    loose = found.loose.get(item.path) if other is None and item.path not in found.own else None
    if loose is not None and loose != item.sha256:
        raise StalledError(
            Reason.PATH_CONFLICT,
            f"a file that no Model owns is at {item.path!r} with other content; move it away",
        )
    if loose is not None:
        return Step(item, fetch=False, adopt=True)
    size = found.blobs.get(item.sha256) if item.sha256 else None
    there = size is not None and item.size_bytes in {None, size}
    return Step(item, fetch=item.fetched and not there)
