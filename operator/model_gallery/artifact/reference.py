"""References to sources: the URI grammar, parsed here and nowhere else.

| form | fetched from |
| --- | --- |
| `https://host/path`, `http://host/path` | itself |
| `huggingface://owner/repo/path[@rev]`, `hf://...` | the Hub's resolve URL, revision `main` unless given |
| `github:org/repo/path[@branch]`, `github://...` | the raw content URL, branch `main` unless given |

The short forms are those of LocalAI's galleries. A revision may stand behind the repository or at
the end (`owner/repo@rev/path`, `owner/repo/path@rev`). All forms become one http(s) URL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError

__all__ = ["MAX_REDIRECT_LENGTH", "MAX_URI_LENGTH", "SourceRef", "parse", "redirect_target"]

MAX_URI_LENGTH = 2048
MAX_REDIRECT_LENGTH = 16 * 1024
"""Signed URLs that stores redirect to are long; people do not write such."""

_HUGGING_FACE = "https://huggingface.co"
_GITHUB_RAW = "https://raw.githubusercontent.com"
_SHORT_FORM = re.compile(r"(?P<scheme>huggingface|hf|github):(?://)?(?P<rest>.+)\Z")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\]")
_SEGMENT = re.compile(r"[A-Za-z0-9._~+-]+\Z")


@dataclass(frozen=True, slots=True)
class SourceRef:
    """Where one file comes from.

    Attributes:
        uri: as it was written.
        url: the http(s) URL that it stands for, without fragment.
    """

    uri: str
    url: str

    @property
    def file_name(self) -> str:
        """The decoded last path component; empty where the path ends in a slash."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2])


def parse(uri: str) -> SourceRef:
    """Returns the reference that the text names.

    Raises:
        StalledError: InvalidSpec, naming the URI (without its query) and what is wrong with it.
    """
    shown = uri.partition("?")[0][:200]
    if len(uri) > MAX_URI_LENGTH:
        raise _invalid(shown, f"must be at most {MAX_URI_LENGTH} characters long")
    if _FORBIDDEN.search(uri):
        raise _invalid(shown, "must not contain spaces, control characters or backslashes")
    short = _SHORT_FORM.match(uri)
    if short:
        return SourceRef(uri, _expand(short["scheme"], short["rest"], shown))
    return SourceRef(uri, _checked_url(uri, shown))


def redirect_target(url: str) -> str:
    """Returns the absolute http(s) URL that a server redirects to, without its fragment.

    Raises:
        StalledError: InvalidSpec, where a URI of a user would be refused for it too.
    """
    url = url.partition("#")[0]
    shown = url.partition("?")[0][:200]
    if len(url) > MAX_REDIRECT_LENGTH or _FORBIDDEN.search(url):
        raise _invalid(shown, "is too long, or has spaces, control characters or backslashes")
    return _checked_url(url, shown)


def _expand(scheme: str, rest: str, shown: str) -> str:
    default = "main"
    head, _, revision = rest.rpartition("@")
    if head and "/" not in revision:
        rest = head
    else:
        revision = ""
    owner, _, tail = rest.partition("/")
    repository, _, path = tail.partition("/")
    if not revision:
        repository, _, revision = repository.partition("@")
    if not (owner and repository and path):
        raise _invalid(shown, f"must have the form {scheme}://owner/repository/path[@revision]")
    parts = [owner, repository, revision or default, *path.split("/")]
    if any(part in {"", ".", ".."} for part in parts) or not all(
        _SEGMENT.match(part) for part in (owner, repository, revision or default)
    ):
        raise _invalid(shown, "must not contain empty, `.` or `..` parts or unusual characters")
    tail_path = "/".join(quote(part) for part in path.split("/"))
    if scheme == "github":
        return f"{_GITHUB_RAW}/{owner}/{repository}/{revision or default}/{tail_path}"
    return f"{_HUGGING_FACE}/{owner}/{repository}/resolve/{revision or default}/{tail_path}"


def _checked_url(uri: str, shown: str) -> str:
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise _invalid(shown, f"is no URL: {error}") from error
    if parts.scheme not in {"http", "https"}:
        raise _invalid(shown, "must begin with https://, http://, huggingface://, hf:// or github:")
    if not parts.hostname or port == 0:
        raise _invalid(shown, "must name a host")
    if "@" in parts.netloc:
        raise StalledError(Reason.INVALID_SPEC, "a URI must not hold a user name or password")
    if "#" in uri:
        raise _invalid(shown, "must not have a fragment")
    return uri


def _invalid(shown: str, problem: str) -> StalledError:
    return StalledError(Reason.INVALID_SPEC, f"URI {shown!r} {problem}")
