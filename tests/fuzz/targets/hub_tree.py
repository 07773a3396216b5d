"""Tree listings of the Hugging Face Hub, and the Link header between their pages."""

from __future__ import annotations

import json

from fuzz.targets.guard import allowed
from model_gallery.sources import huggingface, listing
from model_gallery.transport.authorize import nobody
from model_gallery.transport.client import Fetched

_BASE = "https://example.org/o/r/resolve/" + "c" * 40
_TREE = "https://example.org/api/models/o/r/tree/" + "c" * 40
SEEDS = (
    json.dumps(
        [
            {"type": "file", "path": "config.json", "size": 7, "oid": "b" * 40},
            {"type": "directory", "path": "a", "size": 0, "oid": "d" * 40},
            {
                "type": "file",
                "path": "a/model é.gguf",
                "size": 9,
                "oid": "e" * 40,
                "lfs": {"oid": "a" * 64, "size": 9, "pointerSize": 134},
            },
        ]
    ).encode(),
    b'[{"type": "file", "path": "\\ud800", "size": 1, "oid": "' + b"b" * 40 + b'"}]',
    f'<{_TREE}?cursor=x>; rel="next"'.encode(),
    b'<http://[>; rel="next"',
    b'<https://example.org:port/>; rel="next"',
)


def one(data: bytes) -> None:
    """The bytes as a page, and as the header that names the next one."""
    link = data.decode("latin-1").replace("\r", " ").replace("\n", " ")
    fetched = Fetched(data, None, None, _TREE, {"link": link})
    with allowed():
        found = huggingface.files_of_page(huggingface._json(fetched), _BASE, nobody)
        for file in listing.chosen(found, (), ("*.bin",), hidden=("*.py",)):
            assert file.url.isascii()
    with allowed():
        huggingface._next_page(fetched, _TREE)
