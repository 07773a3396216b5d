"""Who lacks room and who could make some, as the objects tell."""

from __future__ import annotations

from typing import Any

import pytest

from model_gallery.controller import room
from model_gallery.reconcile import times

T0, T1, T2 = (f"2026-11-01T12:0{minute}:00Z" for minute in range(3))
FAILURE = {"planDigest": "p", "reason": "NoSpace", "message": "", "failedTime": T1}
PUBLISHED = {
    "resolved": {"planDigest": "p"},
    "sizeBytes": 100,
    "installedTime": T0,
}


def body(name: str, status: dict[str, Any], **spec: Any) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "creationTimestamp": T0}
    return {"metadata": metadata, "spec": {"evictable": True, **spec}, "status": status}


LACKING = body("new", {"lastFailure": FAILURE})


def held(state: str, **pod: Any) -> dict[str, Any]:
    pods = [{"name": "p", "state": state, **pod}]
    return {**PUBLISHED, "serving": {"state": state, "pods": pods, "podsTotal": 1}}


def test_where_nobody_lacks_room_there_is_nothing_to_see() -> None:
    assert room.view([], [body("a", PUBLISHED)]) is None


def test_who_may_go() -> None:
    found = room.view([LACKING], [body("a", PUBLISHED)])
    assert found is not None
    (candidate,) = found.candidates
    assert (candidate.name, candidate.uid, candidate.size_bytes) == ("a", "uid-a", 100)
    assert candidate.last_used == times.from_text(T0)


def test_the_last_use_counts_where_it_was_seen() -> None:
    used = {**PUBLISHED, "serving": {"state": "Unloaded", "lastUsedTime": T2}}
    found = room.view([LACKING], [body("a", used)])
    assert found is not None
    assert found.candidates[0].last_used == times.from_text(T2)


STAYS = {
    "it is loaded": body("a", held("Loaded")),
    "it works": body("a", held("Busy")),
    "it is being loaded": body("a", held("Loading")),
    "nobody knows": body("a", held("Unknown")),
    "it is suspended": body("a", PUBLISHED, suspend=True),
    "nothing is published": body("a", {}),
    "it lacks room itself": {**LACKING, "status": {**PUBLISHED, "lastFailure": FAILURE}},
}


@pytest.mark.parametrize("name", STAYS)
def test_who_may_not_go(name: str) -> None:
    found = room.view([LACKING], [STAYS[name]])
    assert found is not None
    assert found.candidates == ()


def test_a_suspended_model_takes_nobodys_room() -> None:
    resting = body("new", {"lastFailure": FAILURE}, suspend=True)
    found = room.view([resting], [body("a", PUBLISHED)])
    assert found is not None
    assert found.shortages == ()


MARK = {"time": T2, "madeRoomFor": "new", "generation": 1}


def test_one_that_is_going_and_one_that_is_gone() -> None:
    going = room.view([LACKING], [body("a", {**PUBLISHED, "eviction": MARK})])
    gone = room.view([LACKING], [body("a", {"eviction": MARK})])

    assert going is not None
    assert gone is not None
    assert (going.evicting, going.evicted, going.candidates) == (True, None, ())
    assert (gone.evicting, gone.evicted) == (False, times.from_text(T2))
