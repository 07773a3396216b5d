"""What hypothesis feeds to the targets: seeds, edits of them, JSON with other values in it, and noise."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as some

__all__ = ["inputs"]

_PIECES = (
    b"", b"\0", b"\xff" * 8, b"\x7f\xff\xff\xff", b"../", b"/", b"\\", b'"', b"\\ud800", b"1e999",
    b"-1", b"9" * 5000, b"null", b"true", b"[" * 2000, b"{", b"}", b"\r\n", b"NaN", b"\xc3", b"%00",
    b":", b"&a *a ", b"!!python/object:os.system ", b"<", b"&#0;", b"sha256:",
)  # fmt: skip
_VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 2**63, 2**64, -(10**400), float("nan"), float("inf"), "", "\0", "\ud800",
    "../../../../canary", "a" * 5000, [], {}, [[]], {"": None}, ["a", 1], "9" * 5000, "é/..", "/etc",
)  # fmt: skip
"""Each was the end of some parser somewhere."""
_MOST_EDITS = 4


def inputs(seeds: Sequence[bytes]) -> some.SearchStrategy[bytes]:
    """Returns the inputs for a target."""
    trees = [tree for seed in seeds for tree in [_tree(seed)] if isinstance(tree, dict | list)]
    ways = [_edited(seeds), some.sampled_from(seeds), some.binary(max_size=300)]
    return some.one_of([_replaced(trees), *ways] if trees else ways)


def _tree(seed: bytes) -> Any:
    try:
        return json.loads(seed)
    except (ValueError, RecursionError):
        return None


@some.composite
def _edited(draw: some.DrawFn, seeds: Sequence[bytes]) -> bytes:
    data = draw(some.sampled_from(seeds))
    for _ in range(draw(some.integers(1, _MOST_EDITS))):
        at = draw(some.integers(0, len(data)))
        end = min(len(data), at + draw(some.sampled_from([0, 1, 2, 4, 8, 64])))
        piece = draw(some.one_of(some.sampled_from(_PIECES), some.binary(min_size=1, max_size=8)))
        data = draw(
            some.sampled_from(
                [
                    data[:at] + piece + data[end:],
                    data[:at] + data[at:end] * 2 + data[end:],
                    data[:at],
                    data[:at] + bytes(byte ^ 0x80 for byte in data[at:end]) + data[end:],
                ]
            )
        )
    return data


@some.composite
def _replaced(draw: some.DrawFn, trees: Sequence[Any]) -> bytes:
    """A document in which a few values are others; what was a number may be a list now."""
    tree = json.loads(json.dumps(draw(some.sampled_from(trees))))
    for _ in range(draw(some.integers(1, _MOST_EDITS))):
        holder, key = draw(some.sampled_from([*_places(tree)] or [(None, None)]))
        value = copy.deepcopy(draw(some.sampled_from(_VALUES)))
        if holder is None:
            tree = value
        elif draw(some.integers(0, 4)) == 0:
            del holder[key]
        else:
            holder[key] = value
    return json.dumps(tree).encode()


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Returns every place below a document, as a list or dictionary and a key."""
    if isinstance(tree, dict):
        here = [(tree, key) for key in tree]
    elif isinstance(tree, list):
        here = [(tree, number) for number in range(len(tree))]
    else:
        return []
    return here + [place for holder, key in here for place in _places(holder[key])]
