"""Repositories of the Hugging Face Hub and of its mirrors: a commit, and the files that it holds.

Files in LFS or Xet come with their sha256, files in git with their blob id; the bytes are compared with
these, not with what the store behind the Hub says of itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urljoin

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import is_sha256
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Repository
from model_gallery.sources import listing
from model_gallery.sources.base import RemoteFile, Resolution
from model_gallery.transport.authorize import Authorize
from model_gallery.transport.client import Fetched, HttpClient
from model_gallery.transport.credentials import Credentials, origin_of

__all__ = ["HuggingFaceSource", "files_of_page"]

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_NEXT = re.compile(r"<([^<>]{1,4096})>\s*;\s*rel=\"?next\"?")
_MAX_PAGES = 100
_MAX_PAGE_BYTES = 8 * 1024 * 1024
_MAX_SIZE = 2**53
_HIDDEN = (".gitattributes", ".gitignore", "*.py")
"""Code is fetched only where a pattern asks for it; the others are git's."""


@dataclass(frozen=True, slots=True)
class HuggingFaceSource:
    """Resolves repositories."""

    client: HttpClient
    credentials: Credentials

    def resolve(self, wanted: Repository) -> Resolution:
        """Returns the commit that the revision is now, and its files.

        Raises:
            StalledError: Unauthorized for gated and unknown repositories, NotFound, SourceInvalid,
                UnsafePath, SecretNotAllowed.
            TransientError: as the client does.
        """
        authorize = self.credentials.bearer_or_basic(wanted.url)
        endpoint, owner, name = wanted.url.rstrip("/").rsplit("/", 2)
        repository = f"{owner}/{name}"
        commit = self._commit(endpoint, repository, wanted.revision or "main", authorize)
        found = [
            file
            for page in self._pages(f"{endpoint}/api/models/{repository}/tree/{commit}", authorize)
            for file in files_of_page(page, f"{wanted.url}/resolve/{commit}", authorize)
        ]
        files = listing.chosen(found, wanted.include, wanted.exclude, hidden=_HIDDEN)
        return Resolution(commit, files)

    def _commit(self, endpoint: str, repository: str, revision: str, authorize: Authorize) -> str:
        url = f"{endpoint}/api/models/{repository}/revision/{quote(revision, safe='')}"
        try:
            fetched = self._fetch(url, authorize)
        except StalledError as error:
            raise _explained(error, repository, revision) from error
        answer = _json(fetched)
        commit = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(commit, str) or not _COMMIT.match(commit):
            raise listing.invalid(f"the answer for {repository} names no commit in `sha`")
        return commit

    def _pages(self, url: str, authorize: Authorize) -> Iterator[Any]:
        following: str | None = f"{url}?recursive=true"
        for _ in range(_MAX_PAGES):
            if following is None:
                return
            fetched = self._fetch(following, authorize)
            yield _json(fetched)
            following = _next_page(fetched, url)
        raise listing.invalid(f"the listing has more than {_MAX_PAGES} pages")

    def _fetch(self, url: str, authorize: Authorize) -> Fetched:
        return self.client.fetch(
            url,
            max_bytes=_MAX_PAGE_BYTES,
            accept="application/json",
            authorize=authorize,
            too_large=Reason.SOURCE_INVALID,
        )


def files_of_page(page: Any, base: str, authorize: Authorize) -> Iterator[RemoteFile]:
    """Yields the files of one page of a tree listing.

    Raises:
        StalledError: SourceInvalid, naming what is wrong.
    """
    if not isinstance(page, list):
        raise listing.invalid("the listing of the repository is no list")
    for item in page:
        if not isinstance(item, dict) or not isinstance(item.get("path"), str):
            raise listing.invalid("the listing of the repository has an item without a path")
        if item.get("type") == "file":
            yield _file(item, base, authorize)


def _file(item: Mapping[str, Any], base: str, authorize: Authorize) -> RemoteFile:
    path, lfs = item["path"], item.get("lfs")
    described = lfs if isinstance(lfs, dict) else item
    size, digest = described.get("size"), described.get("oid")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise listing.invalid(f"the size of {path[:200]!r} is {str(size)[:40]}")
    if not isinstance(digest, str):
        raise listing.invalid(f"{path[:200]!r} has no object id")
    # A name that is no text is refused where it is chosen.
    url = f"{base}/{quote(path, errors='surrogatepass')}"
    if described is item:
        if not _COMMIT.match(digest):
            raise listing.invalid(f"the object id of {path[:200]!r} is no git id")
        return RemoteFile(path, url, size, git_sha1=digest, authorize=authorize)
    sha256 = digest.removeprefix("sha256:")
    if not is_sha256(sha256):
        raise listing.invalid(f"the LFS id of {path[:200]!r} is no sha256")
    return RemoteFile(path, url, size, sha256, authorize=authorize)


def _next_page(fetched: Fetched, first: str) -> str | None:
    match = _NEXT.search(fetched.headers.get("link", "")[:8192])
    if match is None:
        return None
    try:
        url: str = urljoin(fetched.url, match[1])
        elsewhere = origin_of(url) != origin_of(first)
    except ValueError as error:
        raise listing.invalid("the listing goes on at what is no URL") from error
    if elsewhere:
        raise listing.invalid("the listing goes on at another host")
    return url


def _json(fetched: Fetched) -> Any:
    try:
        return json.loads(fetched.body or b"")
    except (ValueError, RecursionError) as error:
        raise listing.invalid("the Hub's answer is no JSON") from error


def _explained(error: StalledError, repository: str, revision: str) -> StalledError:
    """The Hub answers 401 for what is private, gated or not there at all."""
    if error.reason is Reason.UNAUTHORIZED:
        return StalledError(
            Reason.UNAUTHORIZED,
            f"the Hub refuses {repository}: check its name, accept its licence on the Hub,"
            " and give spec.credentials a token",
        )
    if error.reason is Reason.NOT_FOUND:
        message = f"the Hub has no {repository} at revision {revision[:100]!r}; correct spec.source"
        return StalledError(Reason.NOT_FOUND, message)
    return error
