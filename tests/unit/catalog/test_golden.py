"""Three real entries against what a person has read through once: files, record and configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_gallery.artifact import reference
from model_gallery.catalog import baseconfig, entry, index

DATA = Path(__file__).parents[2] / "data" / "localai-gallery"
INDEX = index.parse((DATA / "index.yaml").read_bytes())


@pytest.mark.parametrize("name", INDEX.names())
def test_an_entry_puts_on_the_volume_what_the_golden_file_says(name: str) -> None:
    one = INDEX.entry(name)
    file = DATA / "configs" / reference.parse(one.url).file_name
    base = baseconfig.parse(file.read_bytes(), one.url)

    request = entry.assemble(
        one, base, overrides={}, install_name=name, served_name="", config={}, rewrites=()
    )

    lines = [f"# {file.path} {file.sha256}\n# {file.url}\n" for file in request.files]
    lines += [f"--- # {document.path}\n{document.content}" for document in request.documents]
    golden = DATA / "golden" / f"{name.replace(':', '_')}.txt"
    assert "".join(lines) == golden.read_text()
