"""Headers of servers: how long to wait, which range this is, what the content is called."""

from __future__ import annotations

from fuzz.targets.guard import allowed
from model_gallery.monitor import asking
from model_gallery.sources import http, s3
from model_gallery.transport import answers

SEEDS = (
    b"120",
    b"Sun, 22 Nov 2026 12:00:00 GMT",
    b"Sun, 22 Nov 2026 12:00:00 -0000",
    b"Sunday, 22-Nov-26 12:00:00 GMT",
    b"bytes 0-9/10",
    b"bytes */10",
    b"bytes 0-" + b"9" * 5000 + b"/*",
    b'W/"abc"',
    b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
)
_STATUSES = (400, 401, 404, 408, 416, 429, 500, 503)
_MOST_SECONDS = 3600


def one(data: bytes) -> None:
    """The bytes as each of the headers that are read."""
    text = data.decode("latin-1")
    seconds = answers.retry_after_seconds(text)
    assert seconds is None or 0 <= seconds <= _MOST_SECONDS
    for status in _STATUSES:
        error = answers.refusal(status, {"retry-after": text}, "https://u:p@example.org/a?b")
        assert error is None or error.message.encode()
    asking._date(text)
    with allowed():
        http._range({"content-range": text})
    http._validator({"etag": text, "last-modified": text})
    http._promised([{"x-linked-etag": text}])
    s3._sha256({"x-amz-checksum-sha256": text})
