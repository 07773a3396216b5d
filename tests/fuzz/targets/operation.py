"""Operations, as the worker reads them."""

from __future__ import annotations

import json

from fuzz.targets.guard import allowed
from model_gallery.protocol import operation

_OWNER = {"namespace": "ns", "name": "m", "uid": "u"}
SEEDS = (
    json.dumps(
        {
            "kind": "install",
            "owner": _OWNER,
            "planDigest": "d",
            "files": [{"path": "a", "url": "https://e.x/a", "sha256": "a" * 64, "unpack": True}],
            "documents": [{"path": "a.yaml", "content": "name: a"}],
            "repository": {"kind": "S3", "url": "https://e.x/b/p/", "include": ["*"]},
            "network": {"allowedNetworks": ["10.0.0.0/8"], "stallSeconds": 1.5},
            "quotaBytes": 5,
        }
    ).encode(),
    json.dumps({"kind": "scan", "owner": _OWNER, "models": ["u"], "maxFiles": 5}).encode(),
    json.dumps({"kind": "remove", "owner": _OWNER, "retainFiles": True}).encode(),
)


def one(data: bytes) -> None:
    """An operation, or the place where it is none."""
    for text in (data, data.decode(errors="surrogateescape")):
        with allowed():
            operation.parse(text)
