"""GitHub: the files of a repository at a commit, or the assets of a release.

What is fetched is fixed before the first byte: files by the commit and their git ids, those in LFS by the
sha256 of their pointers, assets by their id and the digest that GitHub tells. A git id is a sha1: it finds
accidents and other files, not somebody who makes two files with one id. What is published is recorded with
its sha256 all the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import GitBlob
from model_gallery.errors import StalledError
from model_gallery.protocol.operation import Repository, RepositoryKind
from model_gallery.sources import githubrelease, gitlfs, listing
from model_gallery.sources.base import RemoteFile, Resolution
from model_gallery.sources.githubapi import GitHubApi, size_of
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import Credentials

__all__ = ["Entry", "GitHubSource", "tree_of"]

_COMMIT = re.compile(r"[0-9a-f]{40}\Z")
_MAX_TREES = 200
"""Questions for one repository whose tree is not told at once: a token may ask 5,000 in an hour."""
_MAX_ENTRIES = 200_000
"""Of all answers together: of twice as many a worker would not have the memory."""
_HIDDEN = (".git*", "*/.git*", "*.py")
"""Code is fetched only where a pattern asks for it; the others are git's and GitHub's."""
_ATTRIBUTES = ".gitattributes"
_AT_ONCE = 8
_LINK, _SUBMODULE = "120000", "160000"
_WHAT = {_LINK: "a symbolic link", _SUBMODULE: "a submodule"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a tree.

    Attributes:
        name: path from the repository's root.
        mode: as git has it: 100644, 100755, 120000 (link), 160000 (submodule), 040000 (folder).
        sha1: id of its object.
        size_bytes: 0 for what is no file.
    """

    name: str
    mode: str
    sha1: str
    size_bytes: int

    @property
    def is_file(self) -> bool:
        """Whether it is a file with a content of its own."""
        return self.mode.startswith("100")

    @property
    def is_folder(self) -> bool:
        """Whether it has entries of its own."""
        return self.mode == "040000"


@dataclass(frozen=True, slots=True)
class GitHubSource:
    """Resolves repositories and releases."""

    client: HttpClient
    credentials: Credentials

    def resolve(self, wanted: Repository) -> Resolution:
        """Returns what the revision or release is now.

        Raises:
            StalledError: NotFound, Unauthorized, SourceInvalid, UnsafePath, SecretNotAllowed;
                ChecksumMismatch for a pointer that is not the one of the commit.
            TransientError: RateLimited; SourceChanged for an asset that is being uploaded; as the client.
        """
        api = GitHubApi.of(self.client, self.credentials, wanted.url)
        if wanted.kind is RepositoryKind.GITHUB_RELEASE:
            return githubrelease.resolve(api, wanted)
        return _files(api, wanted)


# Files at a commit


def _files(api: GitHubApi, wanted: Repository) -> Resolution:
    revision = wanted.revision or "HEAD"
    answer = api.ask(f"commits/{quote(revision, safe='')}", f"revision {revision[:100]!r}")
    commit = answer.get("sha") if isinstance(answer, dict) else None
    if not isinstance(commit, str) or not _COMMIT.match(commit):
        raise listing.invalid(f"the answer for {api.name} names no commit in `sha`")
    if _COMMIT.match(revision) and commit != revision:
        raise listing.invalid(f"asked for commit {revision}, {api.name} answered with {commit}")
    entries = list(_entries(api, commit, wanted.path))
    hidden = () if _is_single(wanted) else _HIDDEN
    chosen = [
        (name, entry)
        for name, entry in _below(entries, wanted)
        if listing.is_chosen(name, wanted.include, wanted.exclude, hidden)
    ]
    _refuse_links(chosen)
    files = listing.chosen(
        [_file(api, commit, name, entry) for name, entry in chosen], wanted.include, wanted.exclude,
        hidden=hidden,
    )  # fmt: skip
    if any(entry.name.rpartition("/")[2] == _ATTRIBUTES for entry in entries):
        files = _with_lfs(api, files, api.raw(commit, _folder(wanted)))
    return Resolution(commit, files)


def _folder(wanted: Repository) -> str:
    """Returns the folder that names are told from, with a slash at its end; empty for the root."""
    return wanted.path[: wanted.path.rfind("/") + 1]


def _is_single(wanted: Repository) -> bool:
    return bool(wanted.path) and not wanted.path.endswith("/")


def _entries(api: GitHubApi, commit: str, path: str) -> Iterator[Entry]:
    """Yields the entries of the whole tree; folder by folder, where it is too large to be told at once."""
    pending, told = [("", commit)], 0
    for _ in range(_MAX_TREES):
        if not pending:
            return
        folder, tree = pending.pop()
        what = f"tree {tree}"
        entries, cut = tree_of(api.ask(f"git/trees/{tree}?recursive=1", what), folder)
        if cut:
            entries, cut = tree_of(api.ask(f"git/trees/{tree}", what), folder)
            inner = [entry for entry in entries if entry.is_folder]
            pending += [(f"{one.name}/", one.sha1) for one in inner if _leads_to(one.name, path)]
        if cut:
            raise listing.invalid(f"folder {folder[:200]!r} has more files than GitHub lists")
        told += len(entries)
        if told > _MAX_ENTRIES:
            break
        yield from entries
    raise listing.invalid(
        f"the tree of {api.name} is not told in {_MAX_TREES} questions and {_MAX_ENTRIES} entries;"
        " choose a folder of it"
    )


def _leads_to(folder: str, path: str) -> bool:
    """Whether a folder is above or below the path."""
    return f"{folder}/".startswith(path) or path.startswith(f"{folder}/")


def tree_of(answer: Any, folder: str) -> tuple[list[Entry], bool]:
    """Returns the entries of a tree, and whether there are more than were told.

    Args:
        folder: where the tree stands, with a slash at the end; empty for the root.

    Raises:
        StalledError: SourceInvalid, naming what is wrong.
    """
    items = answer.get("tree") if isinstance(answer, dict) else None
    if not isinstance(items, list):
        raise listing.invalid("the answer of the GitHub has no tree")
    return [_entry(item, folder) for item in items], answer.get("truncated") is not False


def _entry(item: Any, folder: str) -> Entry:
    fields = item if isinstance(item, dict) else {}
    name, mode, sha1 = fields.get("path"), fields.get("mode"), fields.get("sha")
    if not isinstance(name, str) or not isinstance(mode, str) or not isinstance(sha1, str):
        raise listing.invalid("the tree has an entry without path, mode or id")
    if not _COMMIT.match(sha1):
        raise listing.invalid(f"the id of {name[:200]!r} is no git id")
    size = fields.get("size") if mode.startswith("100") else 0
    return Entry(folder + name, mode, sha1, size_of(size, name))


def _below(entries: Sequence[Entry], wanted: Repository) -> Iterator[tuple[str, Entry]]:
    """Yields what is wanted but folders, each with the name that it has below the path."""
    path, folder = wanted.path, _folder(wanted)
    if _is_single(wanted):
        found = next((entry for entry in entries if entry.name == path), None)
        if found is None or found.is_folder:
            problem = "is a folder: end it with a slash" if found else "is not there"
            raise StalledError(Reason.NOT_FOUND, f"{path[:200]!r} {problem}; correct the path")
        yield path.removeprefix(folder), found
        return
    for entry in entries:
        if entry.name.startswith(folder) and not entry.is_folder:
            yield entry.name.removeprefix(folder), entry


def _refuse_links(chosen: Sequence[tuple[str, Entry]]) -> None:
    """Refuses what git does not keep as a file: a model without it would not be whole."""
    for name, entry in chosen:
        if not entry.is_file:
            what = _WHAT.get(entry.mode, f"of mode {entry.mode[:10]!r}")
            raise listing.invalid(
                f"{name[:200]!r} is {what}, which is not followed; leave it out by exclude in"
                " spec.source.gitHub"
            )


def _file(api: GitHubApi, commit: str, name: str, entry: Entry) -> RemoteFile:
    url, authorize, ranges = api.content(commit, entry.name, entry.sha1)
    size = entry.size_bytes
    return RemoteFile(name, url, size, git_sha1=entry.sha1, ranges=ranges, authorize=authorize)


# Files in LFS


def _with_lfs(api: GitHubApi, files: Sequence[RemoteFile], base: str) -> tuple[RemoteFile, ...]:
    """Returns the files, with the contents of LFS in the place of their pointers.

    Nothing but its content tells a pointer, so each file that is small enough is looked into.

    Args:
        base: URL of the folder that they are in.
    """
    small = [file for file in files if (file.size_bytes or 0) < gitlfs.MOST_BYTES]
    with ThreadPoolExecutor(_AT_ONCE, "pointers") as pool:
        contents = list(pool.map(lambda file: _content(api.client, file), small))
    read = zip(small, contents, strict=True)
    found = {file.name: gitlfs.pointer_of(content) for file, content in read}
    pointers = {name: pointer for name, pointer in found.items() if pointer is not None}
    located = gitlfs.locate(api, pointers.values())
    return tuple(
        _in_lfs(file.name, base, located[pointers[file.name]]) if file.name in pointers else file
        for file in files
    )


def _content(client: HttpClient, file: RemoteFile) -> bytes:
    fetched = client.fetch(
        file.url,
        max_bytes=gitlfs.MOST_BYTES,
        authorize=file.authorize,
        too_large=Reason.SOURCE_INVALID,
    )
    content = fetched.body or b""
    digest = GitBlob(len(content))
    digest.update(content)
    if digest.hexdigest() != file.git_sha1:
        raise StalledError(
            Reason.CHECKSUM_MISMATCH,
            f"git blob id of {file.name[:200]} is {digest.hexdigest()}, promised was {file.git_sha1}",
        )
    return content


def _in_lfs(name: str, base: str, located: gitlfs.Located) -> RemoteFile:
    """The URL names the content for good, which its address does not: what is staged depends on it."""
    pointer = located.pointer
    return RemoteFile(
        name,
        base + quote(name),
        pointer.size_bytes,
        pointer.sha256,
        authorize=located.authorize,
        locator=located,
    )
