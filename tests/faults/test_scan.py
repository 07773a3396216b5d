"""Volumes as others leave them, looked at by the real worker: LocalAI's folder, one of 100,000 files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model_gallery.api.v1alpha1.gallery import LooseFilePolicy, ModelKind
from model_gallery.catalog import listing
from model_gallery.catalog.listing import Configured, Filter, Loose
from model_gallery.protocol.report import (
    MAX_LOOSE_FILES,
    MAX_RESULT_BYTES,
    InventoryLine,
    ResultLine,
    parse_line,
)
from support.faultserver import answer, serve
from support.worker import MIB, Worker

POLICY = LooseFilePolicy
OWNER = {"namespace": "ns", "name": "g", "uid": "uid-g"}
SCAN: dict[str, Any] = {"kind": "scan", "owner": OWNER}


def inventory(lines: list[bytes]) -> tuple[list[InventoryLine], ResultLine]:
    *told, result = (parse_line(line) for line in lines)
    assert isinstance(result, ResultLine)
    assert all(isinstance(line, InventoryLine) for line in told)
    return told, result


# A folder that LocalAI has filled

LEFT = {
    # Two models of its gallery, one of them under another name than its configuration's.
    "phi.yaml": "name: phi\nparameters:\n  model: phi.Q4_K_M.gguf\n",
    "._gallery_phi.yaml": "name: phi\nfiles: []\n",
    "phi.Q4_K_M.gguf": "weights of phi",
    "mmproj/mmproj-F16.gguf": "projector",
    "chat.tmpl": "{{.Input}}",
    "completion.TMPL": "{{.Input}}",
    # What people put there themselves.
    "mine.gguf": "mine",
    "llama-cpp/models/deep/Q8_0.GGUF": "deep",
    "whisper": "a model without an extension",
    "flux/model.safetensors": "image",
    "voice/en.onnx": "an engine loads its folder, not this",
    "notes.custom": "a kind that nobody knows",
    # What lies beside models.
    "README.md": "# read",
    "MODEL_CARD": "card",
    "voice.tar.bz2": "LocalAI keeps what it has unpacked",
    "phi.gguf.partial": "unfinished",
    "mine.gguf.bak": "put aside",
    "config.json": "{}",
    ".artifacts/huggingface/0f/snapshot/model.safetensors": "a snapshot",
    ".artifacts/.locks/0f.lock": "",
}
MODELS = (
    Configured("phi", "phi.Q4_K_M.gguf", "llama-cpp", ("llm",), ("chat",)),
    Configured("served", "served.gguf", "llama-cpp", ready=True, size_bytes=15),
)
FREE = [
    "flux/model.safetensors",
    "llama-cpp/models/deep/Q8_0.GGUF",
    "mine.gguf",
    "mmproj/mmproj-F16.gguf",
    "notes.custom",
    "whisper",
]
PHI = "phi.Q4_K_M.gguf"


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> list[Loose]:
    """What the worker finds in LocalAI's folder, in which one Model of ours is installed as well."""
    worker = Worker(tmp_path_factory.mktemp("localai") / "volume")
    for path, content in LEFT.items():
        place = worker.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    (worker.root / "elsewhere.gguf").symlink_to("/etc/passwd")
    with serve() as server:
        server.behave = lambda request: answer(b"weights of ours", request)
        file = {"path": "served.gguf", "url": f"{server.url}/served.gguf"}
        document = {"path": "served.yaml", "content": "name: served\n"}
        assert worker.run(worker.install(file, documents=[document]))[0] == 0
    process = worker.start(SCAN, keep_output=True)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors.decode()
    told, result = inventory(output.splitlines())
    found = [Loose(file.path, file.size_bytes) for line in told for file in line.loose]
    assert result.volume is not None
    assert (result.volume.loose_files, result.volume.cut) == (len(found), False)
    return found


def test_what_no_receipt_names_is_told_as_it_lies(loose: list[Loose]) -> None:
    """Neither what a Model of ours published, nor links, nor what is hidden at its own name."""
    hidden = {path for path in LEFT if path.rpartition("/")[2].startswith(".")}

    assert {file.path: file.size_bytes for file in loose} == {
        path: len(content) for path, content in LEFT.items() if path not in hidden
    }


LISTED = {
    POLICY.LOOSE_ONLY: FREE,
    POLICY.SKIP_IF_CONFIGURED: sorted([*FREE, "phi", "served"]),
    POLICY.SKIP_ALWAYS: ["phi", "served"],
    POLICY.ALWAYS_INCLUDE: sorted([*FREE, PHI, "phi", "served"]),
}


@pytest.mark.parametrize("policy", list(POLICY))
def test_what_each_policy_lists(loose: list[Loose], policy: LooseFilePolicy) -> None:
    found = listing.list_models(MODELS, loose, Filter(), policy)

    assert [item.name for item in found] == LISTED[policy]
    assert {item.name for item in found if item.kind is ModelKind.CONFIGURED} <= {"phi", "served"}
    assert all(
        (item.ready, item.size_bytes) == (True, len(LEFT[item.name]))
        for item in found
        if item.kind is ModelKind.LOOSE
    )


FILTERS: dict[str, tuple[Filter, list[str]]] = {
    "a name": (Filter(r"(?i)\.gguf$"), [*FREE[1:4], PHI]),
    "a tag": (Filter(tags=("llm",)), ["phi"]),
    "a backend": (Filter(backend="llama-cpp"), ["phi", "served"]),
    "a use case": (Filter(use_case="FLAG_CHAT"), ["phi"]),
}


@pytest.mark.parametrize(("wanted", "want"), FILTERS.values(), ids=FILTERS)
def test_what_filters_leave(loose: list[Loose], wanted: Filter, want: list[str]) -> None:
    """A Model that a filter drops hides nothing, as in LocalAI: its weights are loose for the listing."""
    found = listing.list_models(MODELS, loose, wanted, POLICY.SKIP_IF_CONFIGURED)

    assert [item.name for item in found] == want


EXISTS = {
    "a Model": ("phi", True, True),
    "a part of its name": ("ph", False, True),
    "a file": ("mine.gguf", True, True),
    "a file in a folder": ("llama-cpp/models/deep/Q8_0.GGUF", True, True),
    "a file without its folder": ("Q8_0.GGUF", False, True),
    "a dot that is none": ("mine_gguf", False, False),
    "an expression": ("^mine.*f$", False, True),
    "weights of ours": ("served.gguf", False, False),
    "weights that are loose": (PHI, True, True),
    "a file that is no model": ("README.md", False, False),
    "an archive": ("voice.tar.bz2", False, False),
    "a hidden one": (".artifacts/huggingface/0f/snapshot/model.safetensors", False, False),
    "a link": ("elsewhere.gguf", False, False),
    "a path outside": ("../volume/mine.gguf", False, False),
}


@pytest.mark.parametrize(("name", "exact", "regex"), EXISTS.values(), ids=EXISTS)
def test_whether_a_model_exists(loose: list[Loose], name: str, exact: bool, regex: bool) -> None:
    assert listing.model_exists(name, MODELS, loose) is exact
    assert listing.model_exists(name, MODELS, loose, regex=True) is regex


# A folder of 100,000 files

FILES = 100_000
PEAK = 80 * MIB
"""Twice what the interpreter takes; what is told of each file at once would be 80 MiB more."""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """All in one folder, which is the worst for whoever lists it."""
    worker = Worker(tmp_path_factory.mktemp("crowded") / "volume")
    folder = os.open(worker.root, os.O_RDONLY | os.O_DIRECTORY)
    for number in range(FILES):
        name = f"model-{number:06}.gguf"
        os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=folder))
    os.close(folder)
    (worker.root / "model-000000.gguf").write_bytes(b"1234567")
    yield worker
    shutil.rmtree(worker.root)


def test_a_hundred_thousand_files(crowded: Worker, tmp_path: Path) -> None:
    """All are counted, the first are told, and nothing grows with their number.

    A kubelet keeps 10 MiB of a log; a whole list would push what is told of Models out of it.
    """
    peak, result = crowded.measured(SCAN, tmp_path / "lines")

    lines = (tmp_path / "lines").read_bytes().splitlines()
    told, last = inventory(lines)
    assert last == result
    assert result.volume is not None
    assert (result.volume.loose_files, result.volume.loose_bytes) == (FILES, 7)
    assert not result.volume.cut
    assert sum(len(line.loose) for line in told) == MAX_LOOSE_FILES
    assert max(map(len, lines)) < 16 * 1024
    assert len(crowded.log.read_bytes()) <= MAX_RESULT_BYTES
    assert peak < PEAK


def test_more_than_are_looked_at(crowded: Worker, tmp_path: Path) -> None:
    _, result = crowded.measured({**SCAN, "maxFiles": 1000}, tmp_path / "lines")

    told, _ = inventory((tmp_path / "lines").read_bytes().splitlines())
    assert result.volume is not None
    assert (result.volume.loose_files, result.volume.cut) == (1000, True)
    assert sum(len(line.loose) for line in told) == 1000
