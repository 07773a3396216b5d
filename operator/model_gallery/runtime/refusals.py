"""Answers of the API server that are no success, as errors of ours."""

from __future__ import annotations

import contextlib
import email.utils
import json
import time
from collections.abc import Mapping
from typing import Any

from model_gallery.api.conditions import Reason
from model_gallery.errors import TransientError

__all__ = ["Refused", "of_answer", "unavailable"]

_LONGEST_MESSAGE = 256
"""Characters; what a condition's message may have."""
_NOT_FOUND, _CONFLICT, _TOO_MANY_REQUESTS, _FIRST_SERVER_ERROR = 404, 409, 429, 500


class Refused(TransientError):  # noqa: N818 - reads as what the API server did
    """The API server understood and said no (4xx); may pass when quotas or permissions change.

    Attributes:
        code: HTTP status.
        namespace_terminating: the namespace is being deleted; nothing can be made in it any more.
    """

    def __init__(self, code: int, message: str, *, namespace_terminating: bool = False) -> None:
        super().__init__(Reason.API_REFUSED, message)
        self.code = code
        self.namespace_terminating = namespace_terminating

    @property
    def is_race(self) -> bool:
        """Whether something had changed or gone meanwhile; another look settles that."""
        return self.code in {_NOT_FOUND, _CONFLICT}


def of_answer(code: int, headers: Mapping[str, str], data: bytes) -> TransientError:
    """Returns the error that an answer with a status of 400 or more means."""
    status = _status(data)
    said = str(status.get("message") or f"HTTP status {code}")
    if code == _TOO_MANY_REQUESTS or code >= _FIRST_SERVER_ERROR:
        wait = retry_after(headers.get("Retry-After", ""), time.time())
        message = _cut(f"the API server is not available: {said}")
        return TransientError(Reason.API_UNAVAILABLE, message, retry_after=wait)
    causes = (status.get("details") or {}).get("causes") or []
    terminating = any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
    return Refused(code, _cut(said), namespace_terminating=terminating)


def unavailable(error: Exception) -> TransientError:
    """Returns the error that means that no whole answer came.

    The text of foreign errors is left out: it may hold addresses and ports that change with each try.
    """
    kind = "timed out" if isinstance(error, TimeoutError) else type(error).__name__
    return TransientError(Reason.API_UNAVAILABLE, f"the API server did not answer: {kind}")


def retry_after(text: str, now: float) -> float | None:
    """Returns the seconds that a Retry-After header asks for, given as seconds or as a date.

    Args:
        now: seconds since the epoch.
    """
    if text.isdecimal():
        return float(text)
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    return None


def _status(data: bytes) -> dict[str, Any]:
    """Returns the Status object of an answer; empty where something else came, as from a proxy."""
    with contextlib.suppress(ValueError):
        value = json.loads(data)
        if isinstance(value, dict):
            return value
    return {}


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"
