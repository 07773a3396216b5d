"""References to sources: the URI grammar, parsed here and nowhere else.

| form | fetched from |
| --- | --- |
| `https://host/path`, `http://host/path` | itself |
| `huggingface://owner/repo/path[@rev]`, `hf://...` | the Hub's resolve URL, revision `main` unless given |
| `github:org/repo/path[@branch]`, `github://...` | the raw content URL, branch `main` unless given |

References to whole repositories, whose files only the worker learns, are the business of `repository`:

| form | repository |
| --- | --- |
| `huggingface://owner/repo[@rev]`, `hf://...` | a Hugging Face repository |
| `ollama://[[host/]namespace/]model[:tag]` | a model of an Ollama registry |
| `oci://host/path[:tag][@sha256:digest]` | an OCI artifact |
| `s3://bucket/key`, `s3://bucket/prefix/` | an object, or all below a prefix, of AWS |
| `pvc://claim/path` | a file or folder of another claim in the namespace |
| `file:///path` | a file or folder of the Gallery's own volume |
| `github://owner/repo[@rev]` | a repository of GitHub, its default branch unless given |
| `github://owner/repo/path[@rev]`, `.../folder/[@rev]` | a file or folder of it |
| `github://owner/repo/releases/tag/<tag>[/asset]`, `.../releases/latest[/asset]` | a release's assets |
| `https://github.com/owner/repo/releases/download/<tag>/<asset>` | one of them (`release_asset`) |

Of these forms `github:` without slashes, which is LocalAI's own, is a raw file wherever it stands; the one
with slashes is so only where a single file is asked for (`parse`). A slash in a revision or tag is written
`%2F`.

The short forms are those of LocalAI's galleries. A revision may stand behind the repository or at
the end (`owner/repo@rev/path`, `owner/repo/path@rev`). All forms become one http(s) URL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError

__all__ = [
    "GITHUB",
    "HUGGING_FACE",
    "MAX_REDIRECT_LENGTH",
    "MAX_URI_LENGTH",
    "RepositoryRef",
    "SourceRef",
    "git_hub",
    "git_hub_release",
    "hugging_face",
    "parse",
    "redirect_target",
    "release_asset",
    "repository",
]

MAX_URI_LENGTH = 2048
MAX_REDIRECT_LENGTH = 16 * 1024
"""Signed URLs that stores redirect to are long; people do not write such."""

HUGGING_FACE = "https://huggingface.co"
GITHUB = "https://github.com"
_GITHUB_RAW = "https://raw.githubusercontent.com"
_SHORT_FORM = re.compile(r"(?P<scheme>huggingface|hf|github):(?://)?(?P<rest>.+)\Z")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")
_FORBIDDEN_IN_PATH = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff\ufffd]")
_SEGMENT = re.compile(r"[A-Za-z0-9._~+-]+\Z")
_OLLAMA = "https://registry.ollama.ai"
_ALIASES = {"docker.io": "registry-1.docker.io"}
_AWS = "https://s3.us-east-1.amazonaws.com"
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5})?\Z")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_GIT_REVISION = re.compile(r"(?!.*\.\.)[A-Za-z0-9._+@-]+(/[A-Za-z0-9._+@-]+)*\Z")
_RELEASE = re.compile(r"releases/(?:latest|tag/(?P<tag>[^/]+))(?:/(?P<asset>[^/]+))?\Z")
_DOWNLOAD = re.compile(
    re.escape(GITHUB) + r"/(?P<name>[^/]+/[^/]+)/releases/"
    r"(?:download/(?P<tag>[^?]+)|latest/download)/(?P<asset>[^/?]+)\Z"
)
_CLAIM = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")


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


@dataclass(frozen=True, slots=True)
class RepositoryRef:
    """A repository.

    Attributes:
        kind: HuggingFace, OCI, Ollama, S3, Claim, Volume, GitHub or GitHubRelease.
        url: as `protocol.operation.Repository` has it, before rewrites.
        revision: empty for the kind's default.
        single: whether it names one file, published under its own name.
        path: of GitHub: as `protocol.operation.Repository` has it.
    """

    kind: str
    url: str
    revision: str = ""
    single: bool = False
    path: str = ""


def repository(uri: str) -> RepositoryRef | None:
    """Returns the repository that the text names; None for what `parse` understands.

    Raises:
        StalledError: InvalidSpec, naming the URI and what is wrong with it.
    """
    scheme, _, rest = uri.partition(":")
    reader = _REPOSITORIES.get(scheme)
    if reader is None or (reader is _github and not rest.startswith("//")):
        return None
    shown = uri[:200]
    if len(uri) > MAX_URI_LENGTH or _FORBIDDEN.search(uri) or "?" in uri or "#" in uri:
        raise _invalid(shown, "is too long, or has a query, a fragment or unusual characters")
    return reader(rest.removeprefix("//"), shown)


def own_file(uri: str) -> str:
    """Returns the URL of one file of the Gallery's own volume.

    Raises:
        StalledError: InvalidSpec, for anything but file:///path.
    """
    shown, found = uri[:200], repository(uri)
    if found is None or found.kind != "Volume" or not found.single:
        raise _invalid(shown, "must name a file, in the form file:///path")
    return found.url


def hugging_face(name: str, revision: str) -> RepositoryRef:
    """Returns the repository `owner/repo` of the Hub.

    Raises:
        StalledError: InvalidSpec.
    """
    parts = name.split("/")
    if len(parts) != _OWNER_AND_NAME or not _are_segments([*parts, revision or "main"]):
        raise _invalid(name[:200], "must have the form owner/repository[@revision]")
    return RepositoryRef("HuggingFace", f"{HUGGING_FACE}/{name}", revision)


def git_hub(name: str, path: str, revision: str, endpoint: str = GITHUB) -> RepositoryRef:
    """Returns files of the repository `owner/repo` of a GitHub.

    Args:
        path: of a file; of a folder where it ends in a slash; empty: the whole repository.
        endpoint: URL of the GitHub, as people open it.

    Raises:
        StalledError: InvalidSpec.
    """
    parts = path.removesuffix("/").split("/") if path else []
    fine = not revision or _GIT_REVISION.match(revision)
    if (
        not fine
        or any(part in {"", ".", ".."} for part in parts)
        or _FORBIDDEN_IN_PATH.search(path)
    ):
        raise _invalid(f"{name}/{path}"[:200], "has an unusual path or revision")
    url = _of_git_hub(name, endpoint)
    single = bool(path) and not path.endswith("/")
    return RepositoryRef("GitHub", url, revision, single, path)


def git_hub_release(name: str, tag: str, asset: str = "", endpoint: str = GITHUB) -> RepositoryRef:
    """Returns a release of the repository `owner/repo` of a GitHub.

    Args:
        tag: empty: the latest release.
        asset: empty: all of the release's assets.
        endpoint: as of `git_hub`.

    Raises:
        StalledError: InvalidSpec.
    """
    wrong = "/" in asset or asset in {".", ".."} or _FORBIDDEN_IN_PATH.search(asset)
    if wrong or (tag and not _GIT_REVISION.match(tag)):
        raise _invalid(f"{name} {tag} {asset}"[:200], "has an unusual tag or asset")
    url = _of_git_hub(name, endpoint)
    return RepositoryRef("GitHubRelease", url, tag, bool(asset), asset)


def release_asset(url: str) -> RepositoryRef | None:
    """Returns the asset whose download URL this is; None for any other URL.

    Raises:
        StalledError: InvalidSpec.
    """
    match = _DOWNLOAD.match(url) if len(url) <= MAX_URI_LENGTH else None
    if match is None:
        return None
    return git_hub_release(match["name"], unquote(match["tag"] or ""), unquote(match["asset"]))


def _of_git_hub(name: str, endpoint: str) -> str:
    parts = name.split("/")
    if len(parts) != _OWNER_AND_NAME or not _are_segments(parts):
        raise _invalid(name[:200], "must have the form owner/repository")
    if "?" in endpoint:
        raise _invalid(endpoint.partition("?")[0][:200], "must have no query")
    return f"{endpoint}/{name}"


def _github(rest: str, shown: str) -> RepositoryRef:
    owner, _, tail = rest.partition("/")
    repository_name, _, within = tail.partition("/")
    release = _RELEASE.match(within)
    if release:
        tag, asset = unquote(release["tag"] or ""), unquote(release["asset"] or "")
        return git_hub_release(f"{owner}/{repository_name}", tag, asset)
    owner, repository_name, path, revision = _with_revision(rest)
    if not owner or not repository_name:
        raise _invalid(shown, "must have the form github://owner/repository[/path][@revision]")
    return git_hub(f"{owner}/{repository_name}", unquote(path), unquote(revision))


def _hub_repository(rest: str, _shown: str) -> RepositoryRef | None:
    name, _, revision = rest.partition("@")
    return hugging_face(name, revision) if name.count("/") == 1 else None


def _ollama(rest: str, shown: str) -> RepositoryRef:
    parts = rest.split("/")
    host = _OLLAMA
    if len(parts) == _HOST_AND_OLLAMA:
        host = f"https://{_checked_host(parts.pop(0), shown)}"
    if len(parts) == 1:
        parts.insert(0, "library")
    name, _, tag = parts[-1].partition(":")
    parts[-1] = name
    if len(parts) != _OWNER_AND_NAME or not _are_segments(parts) or not _TAG.match(tag or "latest"):
        raise _invalid(shown, "must have the form ollama://[[host/]namespace/]model[:tag]")
    return RepositoryRef("Ollama", f"{host}/{'/'.join(parts)}", tag)


def _oci(rest: str, shown: str) -> RepositoryRef:
    named, _, digest = rest.partition("@")
    host, _, path = named.partition("/")
    path, _, tag = path.partition(":")
    parts = path.split("/")
    right = not digest or _DIGEST.match(digest)
    if not right or not _TAG.match(tag or "latest") or not _are_segments(parts):
        raise _invalid(shown, "must have the form oci://host/path[:tag][@sha256:digest]")
    host = _ALIASES.get(host, _checked_host(host, shown))
    return RepositoryRef("OCI", f"https://{host}/{path}", digest or tag)


def _s3(rest: str, shown: str) -> RepositoryRef:
    bucket, _, key = rest.partition("/")
    if not _BUCKET.match(bucket):
        raise _invalid(shown, "must have the form s3://bucket/key or s3://bucket/prefix/")
    single = bool(key) and not key.endswith("/")
    return RepositoryRef("S3", f"{_AWS}/{bucket}/{key}", single=single)


def _claim(rest: str, shown: str) -> RepositoryRef:
    claim, _, path = rest.partition("/")
    if not _CLAIM.match(claim):
        raise _invalid(shown, "must have the form pvc://claim/path")
    return RepositoryRef("Claim", f"pvc://{claim}/{path}", single=not path.endswith("/"))


def _volume(rest: str, shown: str) -> RepositoryRef:
    if not rest.startswith("/"):
        raise _invalid(shown, "must have the form file:///path, below the Gallery's own volume")
    return RepositoryRef("Volume", f"file://{rest}", single=not rest.endswith("/"))


_OWNER_AND_NAME, _HOST_AND_OLLAMA = 2, 3
_REPOSITORIES: Mapping[str, Callable[[str, str], RepositoryRef | None]] = {
    "huggingface": _hub_repository,
    "hf": _hub_repository,
    "ollama": _ollama,
    "oci": _oci,
    "s3": _s3,
    "pvc": _claim,
    "file": _volume,
    "github": _github,
}


def _are_segments(parts: Sequence[str]) -> bool:
    return all(part not in {"", ".", ".."} and _SEGMENT.match(part) for part in parts)


def _checked_host(host: str, shown: str) -> str:
    if not _HOST.match(host):
        raise _invalid(shown, "must name a host")
    return host.lower()


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
    owner, repository, path, revision = _with_revision(rest)
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
    return f"{HUGGING_FACE}/{owner}/{repository}/resolve/{revision or default}/{tail_path}"


def _with_revision(rest: str) -> tuple[str, str, str, str]:
    """Returns owner, repository, path and revision, each empty where it is not written."""
    head, _, revision = rest.rpartition("@")
    if head and "/" not in revision:
        rest = head
    else:
        revision = ""
    owner, _, tail = rest.partition("/")
    name, _, path = tail.partition("/")
    if not revision:
        name, _, revision = name.partition("@")
    return owner, name, path, revision


def _checked_url(uri: str, shown: str) -> str:
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as error:
        raise _invalid(shown, f"is no URL: {error}") from error
    if parts.scheme not in {"http", "https"}:
        raise _invalid(
            shown, "must begin with https://, http://, huggingface://, hf:// or github: here"
        )
    if not parts.hostname or port == 0:
        raise _invalid(shown, "must name a host")
    if "@" in parts.netloc:
        raise StalledError(Reason.INVALID_SPEC, "a URI must not hold a user name or password")
    if "#" in uri:
        raise _invalid(shown, "must not have a fragment")
    return uri


def _invalid(shown: str, problem: str) -> StalledError:
    return StalledError(Reason.INVALID_SPEC, f"URI {shown!r} {problem}")
