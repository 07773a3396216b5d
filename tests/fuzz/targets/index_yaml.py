"""Indexes of galleries, and what installing their entries means."""

from __future__ import annotations

import json

from fuzz.targets.guard import allowed
from model_gallery.artifact.path import ArtifactPath
from model_gallery.catalog import check, entry, index

_ENTRY = {
    "name": "tiny",
    "urls": ["https://example.org"],
    "description": "small",
    "license": "mit",
    "tags": ["llm", 3],
    "overrides": {"backend": "llama-cpp", "parameters": {"model": "tiny.gguf"}},
    "config_file": {"name": "x", "context_size": 2048},
    "files": [
        {"filename": "tiny.gguf", "uri": "huggingface://o/r/tiny.gguf", "sha256": "a" * 64},
        {"filename": "voice.tar.gz", "uri": "https://example.org/v.tar.gz", "sha256": ""},
    ],
    "variants": [{"model": "other"}],
}
SEEDS = (
    json.dumps([_ENTRY, {**_ENTRY, "name": "two"}]).encode(),
    b"""---
- &base
  name: "a"
  url: "github:o/r/base.yaml@main"
  overrides: {parameters: {model: a.gguf}}
  files: [{filename: a.gguf, uri: hf://o/r/a.gguf, sha256: ""}]
- !!merge <<: *base
  name: "b"
  description: |
    two
    lines
""",
    b"- name: x\n  overrides: {x: 0x1F, y: 1e400, z: .nan, t: 2026-01-01, o: 0o17, n: ~}\n",
)
_MOST = 20


def one(data: bytes) -> None:
    """Whatever parses can be checked, and what can be installed has paths that are safe."""
    with allowed():
        parsed = index.parse(data)
        check.check(parsed, {})
        for name in parsed.names()[:_MOST]:
            with allowed():
                _install(parsed.entry(name))


def _install(listed: entry.Entry | None) -> None:
    if listed is None:
        return
    request = entry.assemble(
        listed, None, overrides={}, install_name=listed.name, served_name="", config={}, rewrites=()
    )
    for file in (*request.files, *request.documents):
        ArtifactPath.parse(file.path)
    for document in request.documents:
        document.content.encode()
    request.served_name.encode()
