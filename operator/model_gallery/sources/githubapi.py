"""Where a GitHub answers, with whose token, and what its refusals mean.

github.com has hosts of its own for its API and for raw files; an Enterprise Server has both below its own
address. A token goes to these hosts and nowhere else, whatever they redirect to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from model_gallery.api.conditions import Reason
from model_gallery.artifact import reference
from model_gallery.artifact.formats import bounded_json
from model_gallery.errors import GalleryError, StalledError, TransientError
from model_gallery.sources import listing
from model_gallery.transport.authorize import Authorize
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import Credentials, bound, origin_of

__all__ = ["GitHubApi", "json_of", "size_of"]

_PUBLIC_API = "https://api.github.com"
_PUBLIC_RAW = "https://raw.githubusercontent.com"
_JSON = "application/vnd.github+json"
_VERSION = {"X-GitHub-Api-Version": "2022-11-28"}
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""A recursive tree holds up to 100,000 entries in 7 MB, as GitHub's documentation has it; the answer
names a URL for each of them besides."""
_MAX_SIZE = 2**53
_LFS_USER = "x-access-token"
"""Any name would do beside a token; GitHub writes this one."""


@dataclass(frozen=True, slots=True)
class GitHubApi:
    """One repository of one GitHub.

    Attributes:
        site: URL of the GitHub as people open it.
        name: owner/repository.
    """

    client: HttpClient
    credentials: Credentials
    site: str
    name: str

    @classmethod
    def of(cls, client: HttpClient, credentials: Credentials, url: str) -> GitHubApi:
        """Returns the repository of a URL `<site>/<owner>/<repository>`.

        Raises:
            StalledError: SecretNotAllowed, where the Secret does not allow the GitHub's host.
        """
        site, owner, name = url.rstrip("/").rsplit("/", 2)
        found = cls(client, credentials, site, f"{owner}/{name}")
        if not credentials.allows(found._api):
            credentials.require(site)
        return found

    @property
    def is_anonymous(self) -> bool:
        """Whether nothing is known that could be sent along."""
        return self.credentials.header() is None

    def ask(self, path: str, what: str) -> Mapping[str, Any]:
        """Returns the JSON that the API answers about the repository.

        Args:
            path: below the repository's own, with its query.
            what: is asked for, for messages.

        Raises:
            StalledError: NotFound, Unauthorized, SourceInvalid.
            TransientError: RateLimited, and as the client does.
        """
        try:
            fetched = self.client.fetch(
                f"{self._base}/{path}",
                max_bytes=_MAX_ANSWER_BYTES,
                accept=_JSON,
                authorize=self._authorize(_VERSION),
                too_large=Reason.SOURCE_INVALID,
            )
        except GalleryError as error:
            raise self.explained(error, what) from error
        return json_of(fetched.body or b"")

    def content(self, commit: str, path: str, blob: str) -> tuple[str, Authorize, bool]:
        """Returns the URL of a file's content, who authorizes, and whether it can be had in ranges.

        Raw files do not count against the API's limits; an Enterprise Server hands them to its API's tokens
        only through the API.
        """
        if self._is_public:
            url = f"{_PUBLIC_RAW}/{self.name}/{commit}/{quote(path, errors='surrogatepass')}"
            return url, self._authorize({}), True
        accept = {"Accept": "application/vnd.github.raw+json", **_VERSION}
        return f"{self._base}/git/blobs/{blob}", self._authorize(accept), False

    def asset(self, number: int) -> tuple[str, Authorize]:
        """Returns the URL of a release's asset by its id, and who authorizes."""
        accept = {"Accept": "application/octet-stream", **_VERSION}
        return f"{self._base}/releases/assets/{number}", self._authorize(accept)

    def raw(self, commit: str, folder: str) -> str:
        """Returns the URL that a folder's files have for everybody, with what LFS keeps of them."""
        return f"{self.site}/{self.name}/raw/{commit}/{quote(folder)}"

    def download(self, tag: str, asset: str) -> str:
        """Returns the URL under which everybody can have an asset of a public repository."""
        named = f"{quote(tag, errors='surrogatepass')}/{quote(asset, errors='surrogatepass')}"
        return f"{self.site}/{self.name}/releases/download/{named}"

    def lfs(self) -> tuple[str, Authorize]:
        """Returns the URL of the repository's LFS batch API, and who authorizes, which is as git does."""
        header = self.credentials.basic(_LFS_USER)
        headers = {"Authorization": header} if header else {}
        authorize = bound(origin_of(self.site), headers)
        return f"{self.site}/{self.name}.git/info/lfs/objects/batch", authorize

    def explained(self, error: GalleryError, what: str) -> GalleryError:
        """Returns what a refusal means for whoever wrote the Model."""
        where = self.credentials.where
        if error.reason is Reason.RATE_LIMITED and isinstance(error, TransientError):
            hint = f"; give {where} a token, whose limit is higher" if self.is_anonymous else ""
            return TransientError(
                error.reason, f"{error.message}{hint}", retry_after=error.retry_after
            )
        if error.reason is Reason.NOT_FOUND:
            seen = f"it is private: give {where} a Secret whose token may read it"
            if not self.is_anonymous:
                seen = f"the token in the Secret of {where} may not read it"
            return StalledError(error.reason, f"{self.name} has no {what}, or {seen}")
        if error.reason is Reason.UNAUTHORIZED:
            return StalledError(
                error.reason,
                f"access to {what} of {self.name} is refused: check the token in the Secret of"
                f" {where}, and that its organization admits it",
            )
        return error

    @property
    def _is_public(self) -> bool:
        return self.site == reference.GITHUB

    @property
    def _api(self) -> str:
        return _PUBLIC_API if self._is_public else f"{self.site}/api/v3"

    @property
    def _base(self) -> str:
        return f"{self._api}/repos/{self.name}"

    def _authorize(self, more: Mapping[str, str]) -> Authorize:
        header, api = self.credentials.header(), origin_of(self._api)
        own = {api, origin_of(_PUBLIC_RAW)} if self._is_public else {api}

        def authorize(url: str) -> Mapping[str, str]:
            origin = origin_of(url)
            secret = {"Authorization": header} if header and origin in own else {}
            return {**secret, **(more if origin == api else {})}

        return authorize


def json_of(body: bytes) -> Mapping[str, Any]:
    """Returns the JSON object that an answer is.

    Raises:
        StalledError: SourceInvalid.
    """
    try:
        return bounded_json(body, "the answer of the GitHub")
    except StalledError as error:
        raise listing.invalid(error.message) from error


def size_of(size: Any, name: str) -> int:
    """Returns a size that the GitHub tells.

    Raises:
        StalledError: SourceInvalid, naming whose size it is.
    """
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MAX_SIZE:
        raise listing.invalid(f"the size of {name[:200]!r} is {str(size)[:40]}")
    return size
