"""Files that a git repository keeps in LFS: pointers, and where their contents are at this moment.

A pointer names the sha256 of the content, which is a promise like any other. The addresses of contents are
signed and expire; they are asked for anew when a store refuses one.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from typing_extensions import override

from model_gallery.api.conditions import Reason
from model_gallery.artifact import reference
from model_gallery.errors import GalleryError, StalledError
from model_gallery.sources import listing
from model_gallery.sources.base import Locator
from model_gallery.sources.githubapi import GitHubApi, json_of
from model_gallery.transport.authorize import Authorize
from model_gallery.transport.credentials import origin_of

__all__ = ["MOST_BYTES", "Located", "Pointer", "actions_of", "locate", "pointer_of"]

MOST_BYTES = 1024
"""A pointer is smaller, as the LFS specification says."""
_HEAD = b"version https://git-lfs.github.com/spec/"
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"oid sha256:([0-9a-f]{64})\nsize (\d{1,16})\n?\Z"
)
_MEDIA_TYPE = "application/vnd.git-lfs+json"
_AT_ONCE = 100
"""Objects in one question, as git-lfs asks."""
_MAX_ANSWER_BYTES = 4 * 1024 * 1024
_FRESH_SECONDS = 300.0
"""An older address is not begun with: GitHub's are good for an hour, others' for less."""
_PASSED_ON = re.compile(r"(authorization|x-[a-z0-9-]{1,64})\Z", re.IGNORECASE)
"""Of the headers that a store wants: what decides access. Ranges and the like stay ours."""
_VALUE = re.compile(r"[ -~]{1,8192}\Z")
_ABSENT = frozenset({404, 410})


@dataclass(frozen=True, slots=True)
class Pointer:
    """What a pointer says of the content."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Action:
    """Where a content is at this moment, with the headers that go with the question for it."""

    href: str
    headers: Mapping[str, str]


def pointer_of(content: bytes) -> Pointer | None:
    """Returns the pointer that the content of a file is; None for any other content.

    Raises:
        StalledError: SourceInvalid, for a pointer of a kind that is not known.
    """
    if not content.startswith(_HEAD):
        return None
    match = _POINTER.match(content)
    if match is None:
        raise listing.invalid(
            "a git-LFS pointer of the repository is not of version 1, or extended"
        )
    return Pointer(match[1].decode(), int(match[2]))


def locate(api: GitHubApi, pointers: Iterable[Pointer]) -> dict[Pointer, Located]:
    """Asks for all contents at once.

    Raises:
        StalledError: NotFound for one that the store does not have; Unauthorized, SourceInvalid.
        TransientError: as the client does.
    """
    found: dict[Pointer, Located] = {}
    wanted = sorted(set(pointers), key=lambda pointer: (pointer.sha256, pointer.size_bytes))
    for start in range(0, len(wanted), _AT_ONCE):
        part = wanted[start : start + _AT_ONCE]
        actions, now = _asked(api, part), time.monotonic()
        found |= {pointer: Located(api, pointer, actions[pointer], now) for pointer in part}
    return found


@dataclass(slots=True, eq=False)
class Located(Locator):
    """The address of one content, from several threads."""

    api: GitHubApi
    pointer: Pointer
    _action: Action
    _asked_at: float
    _refused: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @override
    def place(self) -> str:
        with self._lock:
            if self._refused or time.monotonic() - self._asked_at > _FRESH_SECONDS:
                self._action = _asked(self.api, [self.pointer])[self.pointer]
                self._asked_at, self._refused = time.monotonic(), False
            return self._action.href

    @override
    def refused(self) -> None:
        # Without the lock, which is held while the store is asked.
        self._refused = True

    def authorize(self, url: str) -> Mapping[str, str]:
        """Returns what the store wants, for its own origin; our own token only for the GitHub's."""
        action, (_, own) = self._action, self.api.lfs()
        if origin_of(url) != origin_of(action.href):
            return {}
        return {**own(url), **action.headers}


def _asked(api: GitHubApi, pointers: Sequence[Pointer]) -> dict[Pointer, Action]:
    url, authorize = api.lfs()
    objects = [{"oid": one.sha256, "size": one.size_bytes} for one in pointers]
    question = {"operation": "download", "transfers": ["basic"], "objects": objects}
    answer = _posted(api, url, authorize, question)
    found = actions_of(answer, secure=url.startswith("https:"))
    missing = next((one for one in pointers if one.sha256 not in found), None)
    if missing is not None:
        raise listing.invalid(f"the LFS store does not tell where sha256:{missing.sha256} is")
    return {one: found[one.sha256] for one in pointers}


def _posted(api: GitHubApi, url: str, authorize: Authorize, question: Mapping[str, object]) -> Any:
    try:
        fetched = api.client.fetch(
            url,
            max_bytes=_MAX_ANSWER_BYTES,
            accept=_MEDIA_TYPE,
            authorize=authorize,
            too_large=Reason.SOURCE_INVALID,
            body=json.dumps(question).encode(),
        )
    except GalleryError as error:
        raise api.explained(error, "LFS store") from error
    return json_of(fetched.body or b"")


def actions_of(answer: Any, *, secure: bool) -> dict[str, Action]:
    """Returns by sha256 where the contents are.

    Args:
        secure: whether the question went over TLS: then no content is fetched without.

    Raises:
        StalledError: NotFound or Unauthorized, where the store says so of one; SourceInvalid.
    """
    objects = answer.get("objects") if isinstance(answer, dict) else None
    if not isinstance(objects, list):
        raise listing.invalid("the answer of the LFS store has no objects")
    found = {}
    for one in objects:
        oid = one.get("oid") if isinstance(one, dict) else None
        if not isinstance(oid, str):
            raise listing.invalid("the answer of the LFS store has an object without oid")
        _check(one.get("error"), oid)
        found[oid] = _action(one, oid, secure=secure)
    return found


def _check(error: Any, oid: str) -> None:
    if error is None:
        return
    code = error.get("code") if isinstance(error, dict) else None
    reason = Reason.NOT_FOUND if code in _ABSENT else Reason.UNAUTHORIZED
    raise StalledError(
        reason, f"the LFS store does not hand out {oid[:64]!r} (code {str(code)[:20]})"
    )


def _action(item: Mapping[str, Any], oid: str, *, secure: bool) -> Action:
    actions = item.get("actions")
    download = actions.get("download") if isinstance(actions, dict) else None
    href = download.get("href") if isinstance(download, dict) else None
    if not isinstance(download, dict) or not isinstance(href, str):
        raise listing.invalid(f"the LFS store tells no address for {oid[:64]!r}")
    try:
        href = reference.redirect_target(href)
    except StalledError as error:
        raise listing.invalid(f"the LFS store tells no URL for {oid[:64]!r}") from error
    if secure and not href.startswith("https:"):
        raise listing.invalid("the LFS store names an address without TLS")
    header = download.get("header")
    given = header if isinstance(header, dict) else {}
    return Action(
        href,
        {
            # As ours are written: in the place of our own, and not beside it.
            name.title(): value
            for name, value in given.items()
            if isinstance(value, str) and _PASSED_ON.match(name) and _VALUE.match(value)
        },
    )
