"""What servers say of waiting, in whatever form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.errors import TransientError
from model_gallery.transport.answers import refusal, retry_after_seconds

SOON = datetime.now(UTC) + timedelta(minutes=30)
WAITS: dict[str, tuple[str, float | None]] = {
    "seconds": ("120", 120),
    "more than an hour": ("9" * 400, 3600),
    "a time that is over": ("Sun, 22 Nov 2015 12:00:00 GMT", 0),
    "a time far away": ("Sun, 22 Nov 2099 12:00:00 GMT", 3600),
    "a time of a zone that nobody knows": ("Sun, 22 Nov 2099 12:00:00 -0000", 3600),
    "a time that is none": ("Sun, 22 Nov 2026 12:" + "9" * 400, None),
    "nothing": ("", None),
    "nonsense": ("later", None),
}


@pytest.mark.parametrize(("text", "want"), WAITS.values(), ids=WAITS)
def test_how_long_to_wait(text: str, want: float | None) -> None:
    assert retry_after_seconds(text) == want


@pytest.mark.parametrize("zone", ["GMT", "+0000", "-0000"])
def test_a_time_in_every_spelling_of_utc(zone: str) -> None:
    text = format_datetime(SOON, usegmt=True).replace("GMT", zone)
    found = retry_after_seconds(text)

    assert found is not None
    assert 0 < found <= 1800


REFUSALS: dict[str, tuple[int, dict[str, str], Reason]] = {
    "a limit that is used up": (
        403,
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9999999999"},
        Reason.RATE_LIMITED,
    ),
    "a secondary limit": (403, {"retry-after": "60"}, Reason.RATE_LIMITED),
    "a limit with some left": (
        403,
        {"x-ratelimit-remaining": "4", "x-ratelimit-reset": "9999999999"},
        Reason.UNAUTHORIZED,
    ),
    "a limit without an end": (403, {"x-ratelimit-remaining": "0"}, Reason.UNAUTHORIZED),
    "a refusal": (403, {}, Reason.UNAUTHORIZED),
    "a request to wait": (429, {}, Reason.RATE_LIMITED),
}


@pytest.mark.parametrize(("status", "headers", "want"), REFUSALS.values(), ids=REFUSALS)
def test_a_limit_is_no_refusal(status: int, headers: dict[str, str], want: Reason) -> None:
    error = refusal(status, headers, "https://api.example.org/x")

    assert error is not None
    assert error.reason is want
    if want is Reason.RATE_LIMITED and status == 403:
        assert isinstance(error, TransientError)
        assert error.retry_after
