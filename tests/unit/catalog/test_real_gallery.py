"""All of LocalAI's public gallery: every entry parses, and gives a request or a named problem.

The figures are those that were counted over the same snapshot by other means.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import unicodedata
from collections import Counter
from pathlib import Path

import pytest

from model_gallery.api.conditions import Reason
from model_gallery.artifact import reference
from model_gallery.artifact.path import ArtifactPath
from model_gallery.catalog import baseconfig, check, entry, files, index
from model_gallery.catalog.entry import InstallRequest
from model_gallery.catalog.index import Index
from model_gallery.errors import GalleryError, StalledError
from model_gallery.planning import install
from model_gallery.planning.install import Found, Owned, Wanted

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


def requests(parsed: Index, bases) -> dict[str, InstallRequest]:
    """What every entry that can be installed puts on a volume, by its name."""
    found = {}
    for name in parsed.names():
        one = parsed.entry(name)
        with contextlib.suppress(GalleryError):
            found[name] = entry.assemble(
                one,
                bases.get(one.url),
                overrides={},
                install_name=name,
                served_name="",
                config={},
                rewrites=(),
            )
    return found


def test_the_second_of_a_conflict_is_refused_and_names_the_first(parsed: Index, bases) -> None:
    """Both orders of every pair of entries that put other content under the same path."""
    whole, pairs = requests(parsed, bases), 0
    for conflict in check.check(parsed, bases).conflicts:
        for first, second in itertools.permutations(conflict.entries, 2):
            digests = {
                name: next(file.sha256 for file in whole[name].files if file.path == conflict.path)
                for name in (first, second)
            }
            held = Owned(conflict.path, digests[first], f"ns/{first}")
            wanted = [Wanted(file.path, file.sha256, None) for file in whole[second].files]
            volume = Found(others={held.path: held}, own={}, loose={}, blobs={})
            if digests[first] == digests[second]:
                install.plan(wanted, volume)
                continue
            with pytest.raises(StalledError) as caught:
                install.plan(wanted, volume)
            assert caught.value.reason is Reason.PATH_CONFLICT
            assert f"ns/{first} " in caught.value.message
            assert repr(conflict.path) in caught.value.message
            pairs += 1

    assert pairs == 34


def test_whatever_an_entry_is_called_its_documents_have_paths_of_their_own(
    parsed: Index, bases
) -> None:
    """A third of the names are no object's; on a volume that folds case they still differ."""
    whole = requests(parsed, bases)
    paths = [document.path for one in whole.values() for document in one.documents]

    assert len(whole) == 1676
    assert [str(ArtifactPath.parse(path)) for path in paths] == paths
    assert not any("/" in path for path in paths)
    assert len({unicodedata.normalize("NFC", path).casefold() for path in paths}) == len(paths)


def test_the_check_and_the_install_agree(parsed: Index, bases) -> None:
    """What the Gallery's status calls a problem is refused, and nothing else is."""
    refused = {problem.entry for problem in check.check(parsed, bases).problems}
    whole = requests(parsed, bases)
    for name, request in whole.items():
        assert request.documents, name
        assert request.documents[-1].path == f"{name}.yaml"
        assert all(file.url.startswith("https://") for file in request.files)

    assert set(parsed.names()) - set(whole) == refused


def test_the_base_configurations_parse_all() -> None:
    """Two of them hold an escape that PyYAML refuses and go-yaml does not."""
    for path in sorted((DATA / "configs").glob("*.yaml")):
        baseconfig.parse(path.read_bytes(), path.name)
