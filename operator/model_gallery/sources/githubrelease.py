"""Releases of GitHub: their assets, each by its id and the digest that GitHub computed.

An asset can be deleted and another one uploaded under its name: its id is another one then, and that of the
release is not. So what a release was found to be names both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from model_gallery.api.conditions import Reason
from model_gallery.artifact.digest import is_sha256, sha256_of_value
from model_gallery.errors import StalledError, TransientError
from model_gallery.protocol.operation import Repository
from model_gallery.sources import listing
from model_gallery.sources.base import RemoteFile, Resolution
from model_gallery.sources.githubapi import GitHubApi, size_of

__all__ = ["Asset", "Release", "release_of", "resolve"]

_MAX_ASSETS = 2000
"""GitHub takes a thousand for one release."""
_FOUND = re.compile(r"release:([1-9][0-9]{0,18}):[0-9a-f]{64}\Z")
"""What a release was found to be. No tag has a colon."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One asset.

    Attributes:
        sha256: None where GitHub tells none, of old assets.
        whole: whether its upload has ended.
    """

    number: int
    name: str
    size_bytes: int
    sha256: str | None
    whole: bool


@dataclass(frozen=True, slots=True)
class Release:
    """A release at one moment."""

    number: int
    tag: str
    assets: tuple[Asset, ...]


def resolve(api: GitHubApi, wanted: Repository) -> Resolution:
    """Returns the assets that the tag's release, the latest one, or the one found earlier has now.

    Raises:
        StalledError: NotFound, also where the one found earlier has other assets now; Unauthorized,
            SourceInvalid, UnsafePath.
        TransientError: RateLimited; SourceChanged for an asset that is being uploaded; as the client does.
    """
    earlier = _FOUND.match(wanted.revision)
    path = "latest" if not wanted.revision else f"tags/{quote(wanted.revision, safe='')}"
    what = f"release {wanted.revision[:100]!r}" if wanted.revision else "latest release"
    release = release_of(api.ask(f"releases/{earlier[1] if earlier else path}", what))
    assets = [asset for asset in release.assets if wanted.path in {"", asset.name}]
    if wanted.path and not assets:
        raise StalledError(
            Reason.NOT_FOUND, f"{what} of {api.name} has no asset {wanted.path[:200]!r}"
        )
    files = listing.chosen(
        [_file(api, release, asset) for asset in assets], wanted.include, wanted.exclude
    )
    names = {file.name for file in files}
    taken = [asset for asset in assets if asset.name in names]
    for asset in taken:
        if not asset.whole:
            message = f"asset {asset.name[:200]!r} of {what} is still being uploaded"
            raise TransientError(Reason.SOURCE_CHANGED, message)
    revision = _revision(release, taken)
    if earlier and revision != wanted.revision:
        raise StalledError(
            Reason.NOT_FOUND,
            f"the assets of release {release.tag[:100]!r} of {api.name} were replaced since",
        )
    return Resolution(revision, files)


def _revision(release: Release, assets: Sequence[Asset]) -> str:
    ids = sorted([asset.name, asset.number, asset.sha256 or asset.size_bytes] for asset in assets)
    return f"release:{release.number}:{sha256_of_value(ids)}"


def _file(api: GitHubApi, release: Release, asset: Asset) -> RemoteFile:
    if asset.sha256 is not None and api.is_anonymous:
        # Downloads do not count against the API's limits, sixty questions an hour for an address.
        url = api.download(release.tag, asset.name)
        return RemoteFile(asset.name, url, asset.size_bytes, asset.sha256)
    url, authorize = api.asset(asset.number)
    return RemoteFile(asset.name, url, asset.size_bytes, asset.sha256, authorize=authorize)


def release_of(answer: Any) -> Release:
    """Returns the release that the API's answer describes.

    Raises:
        StalledError: SourceInvalid, naming what is wrong.
    """
    fields = answer if isinstance(answer, dict) else {}
    tag, assets = fields.get("tag_name"), fields.get("assets")
    if not isinstance(tag, str) or not isinstance(assets, list) or len(assets) > _MAX_ASSETS:
        raise listing.invalid(f"a release must have a tag and at most {_MAX_ASSETS} assets")
    return Release(_id(fields, "the release"), tag, tuple(_asset(item) for item in assets))


def _asset(item: Any) -> Asset:
    fields = item if isinstance(item, dict) else {}
    name, digest = fields.get("name"), fields.get("digest")
    if not isinstance(name, str) or "/" in name:
        raise listing.invalid("the release has an asset without a name, or with a path")
    sha256 = digest.removeprefix("sha256:") if isinstance(digest, str) else None
    if sha256 is not None and not is_sha256(sha256):
        raise listing.invalid(f"the digest of asset {name[:200]!r} is no sha256")
    return Asset(
        _id(fields, f"asset {name[:200]!r}"),
        name,
        size_of(fields.get("size"), name),
        sha256,
        fields.get("state") == "uploaded",
    )


def _id(fields: dict[str, Any], what: str) -> int:
    number = fields.get("id")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**63:
        raise listing.invalid(f"{what} has no id")
    return number
