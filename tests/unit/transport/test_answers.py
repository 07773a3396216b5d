"""What servers say of waiting, in whatever form."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from model_gallery.transport.answers import retry_after_seconds

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
