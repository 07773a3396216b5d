"""The command line: what it prints and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from model_gallery import cli
from model_gallery.api import crds

GOOD = [{"name": "a", "overrides": {"backend": "x"}}]
BAD = [*GOOD, {"name": "b", "files": [{"filename": "../x", "uri": "https://e/x", "sha256": ""}]}]


def index(tmp_path: Path, entries: object) -> str:
    path = tmp_path / "index.yaml"
    path.write_text(yaml.safe_dump(entries))
    return str(path)


def test_a_good_index(tmp_path: Path, capsys) -> None:
    assert cli.main(["catalog", "check", index(tmp_path, GOOD)]) == 0
    assert "1 entries, 1 can be installed, 0 problems" in capsys.readouterr().out


def test_each_problem_is_named_with_its_entry(tmp_path: Path, capsys) -> None:
    assert cli.main(["catalog", "check", index(tmp_path, BAD)]) == 1
    assert "b: UnsafePath:" in capsys.readouterr().out


def test_for_programs(tmp_path: Path, capsys) -> None:
    assert cli.main(["catalog", "check", index(tmp_path, BAD), "-o", "json"]) == 1
    found = json.loads(capsys.readouterr().out)

    assert (found["entries"], found["resolved"]) == (2, 1)
    assert found["problems"][0]["reason"] == "UnsafePath"


def test_base_configurations_from_a_folder(tmp_path: Path, capsys) -> None:
    (tmp_path / "base.yaml").write_text("config_file: 'backend: llama-cpp'\n")
    entries = [
        {"name": "a", "url": "github:o/r/base.yaml@m"},
        {"name": "b", "url": "github:o/r/missing.yaml@m"},
    ]

    assert cli.main(["catalog", "check", index(tmp_path, entries), "--configs", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "b: BaseConfigUnavailable" in out
    assert "1 can be installed" in out


@pytest.mark.parametrize("text", ["a: 1", "[", ""])
def test_what_is_no_index_ends_with_2(tmp_path: Path, capsys, text: str) -> None:
    path = tmp_path / "index.yaml"
    path.write_text(text)

    assert cli.main(["catalog", "check", str(path)]) == 2
    assert "cannot read" in capsys.readouterr().err
    assert cli.main(["catalog", "check", str(tmp_path / "missing")]) == 2


def test_crds_are_printed_or_written(tmp_path: Path, capsys) -> None:
    assert cli.main(["crds"]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert cli.main(["crds", "--output", str(tmp_path)]) == 0

    assert {crd["metadata"]["name"] for crd in printed} == set(crds.definitions())
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == crds.render()


def test_adopt_is_the_plugins_own(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["adopt", "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: kubectl model adopt ")


def test_other_commands_take_no_stray_words(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["crds", "--nope"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --nope" in capsys.readouterr().err
