"""What a server's refusal means: status and headers in, one of our errors out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from model_gallery.api.conditions import Reason
from model_gallery.errors import GalleryError, StalledError, TransientError

__all__ = ["proxy_refusal", "refusal", "retry_after_seconds", "shown"]

_MAX_RETRY_AFTER = 3600.0
_SHOWN_CHARACTERS = 160
_FIRST_ERROR, _FIRST_SERVER_ERROR = 400, 500
_GONE = frozenset({404, 410})
_FORBIDDEN = frozenset({401, 403})
_LIMITED = frozenset({403, 429})
"""What GitHub's API answers beyond its limits; 403 is no refusal then."""
_ASKS_TO_WAIT = frozenset({403, 503})
_RESET_DIGITS = 12
_PROXY, _TIMEOUT, _RANGE, _TOO_MANY = 407, 408, 416, 429


def shown(url: str) -> str:
    """Returns the URL as people may see it: without query, user name and password."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"[:_SHOWN_CHARACTERS]


def refusal(
    status: int, headers: Mapping[str, str], url: str, proxy: str = ""
) -> GalleryError | None:
    """Returns the error that an answer stands for, or None for one that holds content.

    416 is none: it answers a range that lies behind the end, which the caller judges.

    Args:
        proxy: URL of the proxy that the answer came through; empty: none.
    """
    where = shown(url)
    if status < _FIRST_ERROR or status == _RANGE:
        return None
    after = retry_after_seconds(headers.get("retry-after", ""))
    if after is None and status in _LIMITED:
        after = _seconds_to_reset(headers)
    if status == _TOO_MANY or (status in _ASKS_TO_WAIT and after is not None):
        message = f"{where}: the server asks to wait (HTTP {status})"
        return TransientError(Reason.RATE_LIMITED, message, retry_after=after)
    if status == _TIMEOUT or status >= _FIRST_SERVER_ERROR:
        return TransientError(Reason.SERVER_ERROR, f"{where}: HTTP {status}", retry_after=after)
    if status in _GONE:
        return StalledError(Reason.NOT_FOUND, f"{where}: HTTP {status}; correct the URI")
    if status in _FORBIDDEN:
        return StalledError(Reason.UNAUTHORIZED, f"{where}: HTTP {status}; access is refused")
    other = StalledError(Reason.NOT_FOUND, f"{where}: HTTP {status}")
    return proxy_refusal(url, proxy) if status == _PROXY else other


def proxy_refusal(url: str, proxy: str) -> StalledError:
    """Returns the error of a proxy that asks for a user name and password."""
    host = urlsplit(proxy).netloc.rpartition("@")[2]
    named = f"the proxy {host}" if host else "a proxy on the way"
    return StalledError(
        Reason.UNAUTHORIZED,
        f"{shown(url)}: {named} asks for a user name and password, others than it may have got"
        " (HTTP 407); set or correct the Secret of the Gallery's spec.proxyCredentials (for models) or of"
        " the chart's network.proxySecretName (for indexes)",
    )


def retry_after_seconds(text: str) -> float | None:
    """Returns the seconds of a Retry-After header in either form, at most an hour; None for any other."""
    text = text.strip()
    if not text:
        return None
    if text.isdecimal():
        return min(float(text[:9]), _MAX_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        # The zone -0000 is UTC, told by somebody who does not know his own.
        moment = moment.replace(tzinfo=UTC)
    left = (moment - datetime.now(UTC)).total_seconds()  # noqa: TID251 - an edge reads the clock
    return min(max(left, 0.0), _MAX_RETRY_AFTER)


def _seconds_to_reset(headers: Mapping[str, str]) -> float | None:
    """Returns the seconds until a used up limit begins anew, at most an hour; None without one."""
    reset = headers.get("x-ratelimit-reset", "").strip()
    if headers.get("x-ratelimit-remaining", "").strip() != "0" or not reset.isdecimal():
        return None
    now = datetime.now(UTC).timestamp()  # noqa: TID251 - an edge reads the clock
    return min(max(float(reset[:_RESET_DIGITS]) - now, 0.0), _MAX_RETRY_AFTER)
