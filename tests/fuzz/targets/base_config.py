"""Base configurations that entries name."""

from __future__ import annotations

import json

from fuzz.targets.guard import allowed
from model_gallery.catalog import baseconfig

SEEDS = (
    json.dumps(
        {
            "name": "chatml",
            "description": "d",
            "license": "mit",
            "urls": ["https://example.org"],
            "config_file": "backend: llama-cpp\ntemplate:\n  chat: |\n    {{.Input}}\n",
            "files": [{"filename": "a", "uri": "hf://o/r/a", "sha256": "b" * 64}],
            "prompt_templates": [{"name": "chat", "content": "{{.Input}}"}],
        }
    ).encode(),
    b'config_file: |\n  stop: "\\\'"\n  deep: {a: [1, {b: c}]}\n',
)


def one(data: bytes) -> None:
    """A configuration, or a sentence with the line."""
    with allowed():
        baseconfig.parse(data, "https://example.org/base.yaml")
