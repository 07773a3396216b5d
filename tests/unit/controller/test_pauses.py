"""Which hosts are left alone, for whom and how long."""

from __future__ import annotations

from datetime import timedelta

from model_gallery.api.conditions import Reason
from model_gallery.api.v1alpha1.model import LastFailure, ModelStatus
from model_gallery.controller.pauses import Pauses
from model_gallery.reconcile import times
from support import builders as b

UNTIL = b.NOW + timedelta(minutes=5)


def failed(reason: Reason) -> ModelStatus:
    failure = LastFailure(
        plan_digest="d", reason=reason, message="x", failed_time=times.to_text(b.NOW)
    )
    return ModelStatus(last_failure=failure, next_retry_time=times.to_text(UNTIL))


def test_a_host_is_left_alone_in_its_namespace_until_then() -> None:
    pauses = Pauses()
    pauses.learn("ns", ["hub"], failed(Reason.RATE_LIMITED))

    assert pauses.until("ns", ["other", "hub"], b.NOW) == UNTIL
    assert pauses.until("ns", ["other"], b.NOW) is None
    assert pauses.until("elsewhere", ["hub"], b.NOW) is None
    assert pauses.until("ns", ["hub"], UNTIL) is None


def test_other_failures_say_nothing_of_the_host() -> None:
    pauses = Pauses()
    pauses.learn("ns", ["hub"], failed(Reason.NOT_FOUND))
    pauses.learn("ns", ["hub"], ModelStatus())

    assert pauses.until("ns", ["hub"], b.NOW) is None
