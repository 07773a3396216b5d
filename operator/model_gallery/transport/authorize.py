"""Who says what goes with a request: asked anew for every hop, so a credential stays with its origin."""

from __future__ import annotations

from collections.abc import Callable, Mapping

__all__ = ["Authorize", "nobody"]

Authorize = Callable[[str], Mapping[str, str]]
"""Returns the headers that go with a request to this URL; empty for every origin but its own."""


def nobody(_url: str) -> Mapping[str, str]:
    """Authorizes with nothing."""
    return {}
