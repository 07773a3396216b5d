"""Whose files go where another Model lacks room, and how they go and come back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from msgspec import structs

from model_gallery.api.conditions import Reason
from model_gallery.protocol.operation import InstallOperation, RemoveOperation
from model_gallery.reconcile import eviction, model, times
from model_gallery.reconcile.actions import DeleteJob, StartWorker
from model_gallery.reconcile.observed import (
    Candidate,
    ObservedModel,
    RoomView,
    Shortage,
    WorkerPhase,
)
from model_gallery.reconcile.outcome import Act, Done, Pause, Stall, Wait
from support import builders as b

HOUR = timedelta(hours=1)


def candidate(name: str, size: int = 100, age: timedelta = HOUR) -> Candidate:
    return Candidate(name, f"uid-{name}", size, b.NOW - age)


def shortage(name: str = "new", missing: int | None = 100, **ago: float) -> Shortage:
    return Shortage(name, b.NOW - timedelta(**(ago or {"minutes": 1})), missing)


ROOM = RoomView((shortage(),), (candidate("a"),))

CASES: dict[str, tuple[RoomView, str | None]] = {
    "one may go": (ROOM, "a"),
    "nobody lacks room": (replace(ROOM, shortages=()), None),
    "nobody may go": (replace(ROOM, candidates=()), None),
    "the longest unused goes": (
        replace(ROOM, candidates=(candidate("a"), candidate("z", age=3 * HOUR))),
        "z",
    ),
    "of the same age the first by name": (
        replace(ROOM, candidates=(candidate("b"), candidate("a"))),
        "a",
    ),
    "one at a time": (replace(ROOM, evicting=True), None),
    "all together would not do": (replace(ROOM, shortages=(shortage(missing=101),)), None),
    "two together will do": (
        replace(
            ROOM,
            shortages=(shortage(missing=150),),
            candidates=(candidate("a"), candidate("b")),
        ),
        "a",
    ),
    "how much is not known": (replace(ROOM, shortages=(shortage(missing=None),)), "a"),
    "it has not tried again since the last ones went": (
        replace(ROOM, evicted=b.NOW - timedelta(seconds=59)),
        None,
    ),
    "it has, and it did not do": (replace(ROOM, evicted=b.NOW - timedelta(seconds=61)), "a"),
}


@pytest.mark.parametrize("name", CASES)
def test_victim(name: str) -> None:
    room, want = CASES[name]
    found = eviction.victim(room)
    assert (found[0].name if found else None) == want


def test_who_waits_longest_is_helped_first() -> None:
    room = replace(ROOM, shortages=(shortage("young", minutes=1), shortage("old", minutes=2)))
    found = eviction.victim(room)
    assert found is not None
    assert found[1].model == "old"


def test_who_cannot_be_helped_does_not_hold_up_another() -> None:
    room = replace(ROOM, shortages=(shortage("huge", 10**12, hours=1), shortage("small", 1)))
    found = eviction.victim(room)
    assert found is not None
    assert found[1].model == "small"


def ready(**changes: Any) -> ObservedModel:
    start = b.observed(spec=b.spec(evictable=True), status=b.published(), room=ROOM)
    return replace(start, **changes)


def after(observed: ObservedModel) -> ObservedModel:
    """The Model once what was decided stands in its status; nobody lacks room any longer."""
    decision = model.decide(observed, b.NOW, 0.0)
    return replace(
        observed, status=model.status_after(observed, decision, b.NOW), room=None, workers=()
    )


def removal(observed: ObservedModel) -> StartWorker:
    outcome = model.decide(observed, b.NOW, 0.0).outcome
    assert isinstance(outcome, Act)
    (start,) = outcome.actions
    assert isinstance(start, StartWorker)
    return start


def evicted() -> ObservedModel:
    marked = after(ready())
    job = b.job(removal(marked), WorkerPhase.SUCCEEDED)
    return after(replace(marked, workers=(job,)))


def test_it_is_written_down_before_anything_is_removed() -> None:
    decision = model.decide(ready(), b.NOW, 0.0)

    assert isinstance(decision.outcome, Wait)
    mark = decision.status.eviction
    assert mark is not None
    assert (mark.made_room_for, mark.time) == ("new", times.to_text(b.NOW))
    told = b.told(removal(after(ready())))
    assert told == RemoveOperation(owner=told.owner)
    assert told.owner.uid == "uid-a"


def test_another_models_turn_changes_nothing() -> None:
    other = replace(ROOM, candidates=(candidate("z", age=3 * HOUR), candidate("a")))
    assert isinstance(model.decide(ready(room=other), b.NOW, 0.0).outcome, Done)


def test_what_is_being_read_ends_first() -> None:
    marked = after(ready())
    reading = b.worker(operation="verify")
    (stop,) = model.decide(replace(marked, workers=(reading,)), b.NOW, 0.0).outcome.actions  # type: ignore[union-attr]
    assert stop == DeleteJob(reading.name, reading.uid)


def test_while_the_files_go_it_waits() -> None:
    marked = after(ready())
    running = b.job(removal(marked))
    outcome = model.decide(replace(marked, workers=(running,)), b.NOW, 0.0).outcome
    assert isinstance(outcome, Wait)
    assert outcome.reason is Reason.EVICTED


def test_it_stays_away_until_asked_for() -> None:
    gone = evicted()

    assert gone.status.files == ()
    assert gone.status.size_bytes is None
    assert gone.status.storage is not None
    outcome = model.decide(gone, b.NOW + 1000 * HOUR, 0.0).outcome
    assert isinstance(outcome, Pause)
    assert "made room for Model new" in outcome.message
    assert {c.type: (c.status, c.reason) for c in gone.status.conditions}["Ready"] == (
        "False",
        "Evicted",
    )


@pytest.mark.parametrize("change", [{"generation": 2}, {"reconcile_at": "now"}])
def test_it_comes_back_when_asked_for(change: dict[str, Any]) -> None:
    gone = evicted()
    published_it = b.worker(WorkerPhase.SUCCEEDED, result=b.success())
    back = replace(gone, meta=b.meta(**change), workers=(published_it,))
    decision = model.decide(back, b.NOW, 0.0)

    assert isinstance(decision.outcome, Act)
    assert decision.status.eviction is None
    assert isinstance(b.told(decision.outcome.actions[0]), InstallOperation)  # type: ignore[arg-type]


def test_asked_back_before_anything_went_it_stays() -> None:
    marked = replace(after(ready()), meta=b.meta(reconcile_at="now"))
    decision = model.decide(marked, b.NOW, 0.0)
    assert isinstance(decision.outcome, Done)
    assert decision.status.eviction is None


def test_asked_back_while_the_files_go_they_are_fetched_after_that() -> None:
    marked = after(ready())
    asked = replace(marked, meta=b.meta(reconcile_at="now"))
    running = b.job(removal(marked))
    assert isinstance(model.decide(replace(asked, workers=(running,)), b.NOW, 0.0).outcome, Wait)

    ended = replace(running, phase=WorkerPhase.SUCCEEDED)
    gone = after(replace(asked, workers=(ended,)))
    start = removal(gone)
    assert isinstance(b.told(start), InstallOperation)


def test_what_cannot_be_removed_is_told_and_tried_again() -> None:
    marked = after(ready())
    failed = b.job(
        removal(marked), WorkerPhase.FAILED, result=b.failure(Reason.READ_ONLY_VOLUME), exit_code=41
    )
    stuck = replace(marked, workers=(failed,))
    outcome = model.decide(stuck, b.NOW, 0.0).outcome
    assert isinstance(outcome, Stall)
    assert outcome.reason is Reason.READ_ONLY_VOLUME
    later = model.decide(stuck, b.NOW + timedelta(minutes=6), 0.0).outcome
    assert isinstance(later, Act)
    assert later.actions == (DeleteJob(failed.name, failed.uid),)


def test_room_that_was_made_ends_the_wait_for_it() -> None:
    lacking = b.observed(
        workers=(b.worker(WorkerPhase.FAILED, result=b.failure(Reason.NO_SPACE), exit_code=40),)
    )
    stalled = after(lacking)
    assert isinstance(model.decide(stalled, b.NOW, 0.0).outcome, Stall)

    made = replace(stalled, room_made=b.NOW + timedelta(seconds=1))
    outcome = model.decide(made, b.NOW + timedelta(seconds=2), 0.0).outcome
    assert isinstance(outcome, Act)


def test_room_helps_nobody_who_lacks_something_else() -> None:
    refused = b.observed(
        workers=(b.worker(WorkerPhase.FAILED, result=b.failure(Reason.NOT_FOUND), exit_code=20),)
    )
    stalled = after(refused)
    made = replace(stalled, room_made=b.NOW + timedelta(seconds=1))
    assert isinstance(model.decide(made, b.NOW + timedelta(seconds=2), 0.0).outcome, Stall)


def test_the_missing_room_is_remembered() -> None:
    result = structs.replace(b.failure(Reason.NO_SPACE), missing_bytes=7)
    lacking = b.observed(workers=(b.worker(WorkerPhase.FAILED, result=result, exit_code=40),))
    failure = after(lacking).status.last_failure
    assert failure is not None
    assert failure.missing_bytes == 7


def test_until_the_size_of_another_is_known_nobody_starts() -> None:
    measuring = replace(b.gallery(), unmeasured="other")
    outcome = model.decide(b.observed(gallery=measuring), b.NOW, 0.0).outcome
    assert isinstance(outcome, Wait)
    assert outcome.reason is Reason.QUEUED
    assert "other" in outcome.message
