"""An imitation of GitHub: no real one can run here. It answers as an Enterprise Server does, below /api/v3.

The answers have the fields of GitHub's documentation that matter here; the ids are git's own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from support.scripted import Answer, Asked, Scripted

__all__ = ["COMMIT", "GitHub", "blob_id", "pointer", "sha256"]

COMMIT = "c" * 40
REPO = "me/model"
API = f"/api/v3/repos/{REPO}"


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pointer(data: bytes) -> bytes:
    """The file that git keeps for a content in LFS."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256(data)}\nsize {len(data)}\n"
    ).encode()


@dataclass
class GitHub:
    """One repository on a server, with another server as the store behind it.

    Attributes:
        tree: entries beside those of `files`.
        large: contents in LFS, by sha256.
        signed: goes with every address of the store; another one makes the earlier ones void.
    """

    server: Scripted
    store: Scripted
    files: dict[str, bytes] = field(default_factory=dict)
    tree: list[dict[str, Any]] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)
    assets: list[dict[str, Any]] = field(default_factory=list)
    batches: list[Any] = field(default_factory=list)
    signed: str = "sig=1"

    def __post_init__(self) -> None:
        self.server.routes |= {
            **{
                f"{API}/commits/{name}": as_json({"sha": COMMIT}) for name in ("HEAD", "v1", COMMIT)
            },
            f"{API}/git/trees/{COMMIT}?recursive=1": lambda _: as_json(self.listing()),
            f"{API}/git/blobs/*": self._blob,
            f"/{REPO}.git/info/lfs/objects/batch": self._batch,
            f"{API}/releases/latest": lambda _: as_json(self.release()),
            f"{API}/releases/tags/v1": lambda _: as_json(self.release()),
            f"{API}/releases/7": lambda _: as_json(self.release()),
            f"{API}/releases/assets/*": self._asset,
            f"/{REPO}/releases/download/v1/*": self._download,
        }
        self.store.routes["/*"] = self._stored

    @property
    def url(self) -> str:
        return f"{self.server.url}/{REPO}"

    def add_large(self, name: str, data: bytes) -> None:
        self.files.setdefault(".gitattributes", b"*.gguf filter=lfs diff=lfs merge=lfs -text\n")
        self.files[name] = pointer(data)
        self.large[sha256(data)] = data

    def add_asset(self, number: int, name: str, data: bytes, **more: Any) -> None:
        self.large[str(number)] = data
        asset = {
            "id": number, "name": name, "size": len(data), "state": "uploaded",
            "digest": f"sha256:{sha256(data)}",
        }  # fmt: skip
        self.assets.append({**asset, **more})

    def listing(self) -> dict[str, Any]:
        own = [
            {
                "path": path, "mode": "100644", "type": "blob", "sha": blob_id(data),
                "size": len(data), "url": f"{self.server.url}{API}/git/blobs/{blob_id(data)}",
            }
            for path, data in self.files.items()
        ]  # fmt: skip
        return {"sha": "d" * 40, "tree": [*own, *self.tree], "truncated": False}

    def release(self) -> dict[str, Any]:
        return {"id": 7, "tag_name": "v1", "draft": False, "assets": self.assets}

    def _blob(self, asked: Asked) -> Answer:
        wanted = asked.path.rpartition("/")[2]
        found = [data for data in self.files.values() if blob_id(data) == wanted]
        if not found or asked.headers.get("accept") != "application/vnd.github.raw+json":
            return Answer(status=404)
        return Answer(found[0])

    def _batch(self, asked: Asked) -> Answer:
        question = json.loads(asked.body)
        self.batches.append(question)
        return as_json({"objects": [self._object(one) for one in question["objects"]]})

    def _object(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if wanted["oid"] not in self.large:
            return {**wanted, "error": {"code": 404, "message": "Object does not exist"}}
        action = {"href": f"{self.store.url}/{wanted['oid']}?{self.signed}", "expires_in": 3600}
        return {**wanted, "actions": {"download": action}}

    def _asset(self, asked: Asked) -> Answer:
        number = asked.path.rpartition("/")[2]
        known = number in {str(asset["id"]) for asset in self.assets}
        if not known or asked.headers.get("accept") != "application/octet-stream":
            return Answer(status=404)
        return self._redirect(number)

    def _download(self, asked: Asked) -> Answer:
        name = asked.path.rpartition("/")[2]
        found = [asset["id"] for asset in self.assets if asset["name"] == name]
        return self._redirect(str(found[0])) if found else Answer(status=404)

    def _redirect(self, key: str) -> Answer:
        return Answer(status=302, headers={"Location": f"{self.store.url}/{key}?{self.signed}"})

    def _stored(self, asked: Asked) -> Answer:
        key, _, query = asked.path.lstrip("/").partition("?")
        if query != self.signed:
            return Answer(status=403)
        return Answer(self.large[key]) if key in self.large else Answer(status=404)


def as_json(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(json.dumps(value).encode(), status, headers)
