"""Regular expressions of users: RE2, so that none can take more than linear time, as in LocalAI."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import re2

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError

__all__ = ["found_in", "matches_whole"]


def found_in(expression: str, *, field: str) -> Callable[[str], bool]:
    """Returns a test whether the expression is found anywhere in a text; an empty one always is.

    Args:
        field: where the expression stands, for the message.

    Raises:
        StalledError: InvalidSpec, where it is no expression.
    """
    pattern = _compiled(expression, field)
    return lambda text: not expression or pattern.search(text) is not None


def matches_whole(expression: str, *, field: str) -> Callable[[str], bool]:
    """Returns a test whether the expression matches a whole text; an empty one always does.

    Raises:
        StalledError: InvalidSpec, where it is no expression.
    """
    pattern = _compiled(expression, field)
    return lambda text: not expression or pattern.fullmatch(text) is not None


def _compiled(expression: str, field: str) -> Any:
    options = re2.Options()
    # It would write to stderr itself.
    options.log_errors = False
    try:
        return re2.compile(expression, options)
    except re2.error as error:
        raise StalledError(
            Reason.INVALID_SPEC, f"{field} is no regular expression: {_said(error)}"
        ) from error


def _said(error: Exception) -> str:
    """Returns what RE2 says, which it says in bytes."""
    (said,) = error.args
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
