"""Receipts: a backend that shares the volume could have written anything there."""

from __future__ import annotations

import json
import time
from pathlib import Path

from fuzz.targets.guard import allowed, volume
from model_gallery.protocol.operation import Owner, RemoveOperation, ScanOperation
from model_gallery.storage import layout, receipts
from model_gallery.worker.remove import Remove
from model_gallery.worker.report import Reporter
from model_gallery.worker.scan import Scan
from support.worker import Out

_A, _B = "a" * 64, "b" * 64
_OWNER = Owner(namespace="ns", name="m", uid="u")
_RECEIPT = {
    "format": 1,
    "namespace": "ns",
    "name": "m",
    "uid": "u",
    "plan_digest": "d" * 64,
    "files": [
        {"path": "m.gguf", "size_bytes": 4, "sha256": _A, "modified_ns": 1, "url": "https://e.x"},
        {"path": "m.yaml", "size_bytes": 4, "sha256": _B, "fetched": False, "content": "x"},
    ],
    "leaving": [{"path": "old/m.gguf", "size_bytes": 4, "sha256": _B}],
    "kept": [{"sha256": _B, "size_bytes": 4, "until": int(time.time()) + 3600}],
    "archives": [{"sha256": _A, "members": [{"path": "x", "size_bytes": 1, "sha256": _B}]}],
}
_OUTSIDE = "../../../../canary"
_FILE = {"path": "x", "size_bytes": 4, "sha256": _OUTSIDE}
SEEDS = (
    json.dumps(_RECEIPT).encode(),
    json.dumps({**_RECEIPT, "files": [_FILE]}).encode(),
    json.dumps({**_RECEIPT, "kept": [{**_RECEIPT["kept"][0], "sha256": _OUTSIDE}]}).encode(),  # type: ignore[index]
    json.dumps({**_RECEIPT, "archives": [{"sha256": _OUTSIDE, "members": [_FILE]}]}).encode(),
)


def one(data: bytes) -> None:
    """Scanned, collected and removed by; what lies beside the volume is left alone."""
    with volume() as (opened, root):
        for parts in (layout.receipt("u"), layout.blob(_A), layout.blob(_B), ("m.gguf",)):
            place = root.joinpath(*parts)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data if parts == layout.receipt("u") else b"1234")
        receipts.read_all(opened)
        reporter = Reporter(Out(), Path("/nonexistent/log"))
        scan = ScanOperation(owner=_OWNER, collect=True, collect_age_seconds=0)
        with allowed():
            Scan(scan, opened, reporter).run()
        with allowed():
            Remove(RemoveOperation(owner=_OWNER), opened).run()
