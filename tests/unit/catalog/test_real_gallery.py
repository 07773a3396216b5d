"""All of LocalAI's public gallery: every entry parses, and gives a request or a named problem.

The figures are those that were counted over the same snapshot by other means.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.artifact import reference
from model_gallery.catalog import baseconfig, check, entry, files, index
from model_gallery.catalog.index import Index
from model_gallery.errors import GalleryError

DATA = Path(
    os.environ.get("MODEL_GALLERY_DATA")
    or Path(__file__).parents[4] / "shared" / "data" / "localai-gallery"
)
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no gallery in {DATA}")


@pytest.fixture(scope="module")
def parsed() -> Index:
    return index.parse((DATA / "index.yaml").read_bytes())


@pytest.fixture(scope="module")
def bases(parsed: Index) -> dict[str, baseconfig.BaseConfig]:
    return {
        uri: baseconfig.parse((DATA / "configs" / reference.parse(uri).file_name).read_bytes(), uri)
        for uri in parsed.references()
    }


def test_every_entry_parses(parsed: Index) -> None:
    assert len(parsed) == 1709
    assert parsed.problems == ()
    assert len(parsed.references()) == 67


def test_every_entry_resolves_or_says_why(parsed: Index, bases) -> None:
    report = check.check(parsed, bases)
    reasons = Counter(problem.reason for problem in report.problems)

    assert report.resolved == 1676
    assert len(report.problems) == 33
    assert set(reasons) == {Reason.ENTRY_UNSUPPORTED}
    assert all(problem.message and problem.entry for problem in report.problems)


def test_all_entries_with_archives_resolve(parsed: Index, bases) -> None:
    found = {}
    for name in parsed.names():
        one = parsed.entry(name)
        if any(files.is_archive(file.filename) for file in one.files):
            found[name] = [file for file in entry.files_of(one, bases.get(one.url)) if file.unpack]

    assert len(found) == 86
    assert all(len(archives) == 1 and archives[0].sha256 for archives in found.values())


def test_the_five_conflicts_are_found(parsed: Index, bases) -> None:
    report = check.check(parsed, bases)

    assert {conflict.path for conflict in report.conflicts} == {
        "ds4flash.gguf",
        "llama-cpp/mmproj/mmproj-F32.gguf",
        "mmproj-F16.gguf",
        "mmproj/mmproj-F16.gguf",
        "llama-cpp/mmproj/Qwen3-VL-Reranker-8B.mmproj-f16.gguf",
    }


def test_the_check_and_the_install_agree(parsed: Index, bases) -> None:
    """What the Gallery's status calls a problem is refused, and nothing else is."""
    refused = {problem.entry for problem in check.check(parsed, bases).problems}
    found = set()
    for name in parsed.names():
        one = parsed.entry(name)
        try:
            request = entry.assemble(
                one,
                bases.get(one.url),
                overrides={},
                install_name=name,
                served_name="",
                config={},
                rewrites=(),
            )
        except GalleryError:
            found.add(name)
            continue
        assert request.documents, name
        assert request.documents[-1].path == f"{name}.yaml"
        assert all(file.url.startswith("https://") for file in request.files)

    assert found == refused


def test_the_base_configurations_parse_all() -> None:
    """Two of them hold an escape that PyYAML refuses and go-yaml does not."""
    for path in sorted((DATA / "configs").glob("*.yaml")):
        baseconfig.parse(path.read_bytes(), path.name)
