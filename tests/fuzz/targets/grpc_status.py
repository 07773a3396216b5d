"""Messages of LocalAI's backends, which come over gRPC."""

from __future__ import annotations

import contextlib

from model_gallery.api.v1alpha1.serving import ServingState
from model_gallery.monitor.asking import Unanswered
from model_gallery.monitor.backends import localai_backend

SEEDS = (
    b"\x0a\x02OK",
    b"\x08\x02\x12\x16\x08\x2a\x12\x12\x0a\x0cgopsutil-RSS\x10\x80\x01",
    b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x12\xff\xff\xff\xff\x0f",
    b"",
)


def one(data: bytes) -> None:
    """As a reply to each of the two questions."""
    with contextlib.suppress(Unanswered):
        localai_backend.is_well(data)
    with contextlib.suppress(Unanswered):
        state, memory = localai_backend.status(data)
        assert state in ServingState
        assert memory is None or 0 < memory <= 1 << 60
