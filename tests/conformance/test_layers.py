"""Folders as the ORAS client itself pushes them, to a real registry."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import ocimake
from support.conformance import program, registry, repository, sha256
from support.worker import Worker

FILES = {
    "weights/part-1.bin": b"1" * 5000,
    "weights/deep/part-2.bin": b"2",
    "weights/" + "n" * 120 + ".bin": b"a long name",
    "config.json": b"{}",
}


@pytest.fixture
def base(tmp_path: Path) -> Iterator[str]:
    with registry(tmp_path) as url:
        yield url


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    for name, content in FILES.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return folder


def push(base: str, model: Path, *what: str) -> None:
    name = f"{base.removeprefix('http://')}/me/model:v1"
    command = [program("oras"), "push", "--plain-http", name, *what]
    subprocess.run(command, cwd=model, check=True, capture_output=True, timeout=60)


def titles(base: str) -> dict[str, bool]:
    """Returns the titles of the layers, and which of them ORAS has packed."""
    url, headers = f"{base}/v2/me/model/manifests/v1", {"Accept": ocimake.MANIFEST}
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:  # noqa: S310
        layers = json.load(answer)["layers"]
    notes = [layer["annotations"] for layer in layers]
    return {
        one["org.opencontainers.image.title"]: "io.deis.oras.content.unpack" in one for one in notes
    }


@pytest.mark.parametrize(
    ("what", "pushed"),
    [
        (["weights", "config.json"], {"weights": True, "config.json": False}),
        (["./weights/", "config.json:application/json"], {"weights": True, "config.json": False}),
        (["."], {".": True}),
    ],
)
def test_a_folder_that_oras_pushed(
    base: str, model: Path, tmp_path: Path, what: list[str], pushed: dict[str, bool]
) -> None:
    push(base, model, *what)
    assert titles(base) == pushed
    worker = Worker(tmp_path / "volume")

    code, result = worker.run(
        worker.install(**repository("OCI", f"{base}/me/model", revision="v1"))
    )

    assert (code, result.message) == (0, "")
    assert worker.published() == {f"m/{name}": sha256(data) for name, data in FILES.items()}


def test_a_link_in_a_folder_that_oras_pushed(base: str, model: Path, tmp_path: Path) -> None:
    (model / "weights" / "link").symlink_to("part-1.bin")
    push(base, model, "weights")
    worker = Worker(tmp_path / "volume")

    code, result = worker.run(
        worker.install(**repository("OCI", f"{base}/me/model", revision="v1"))
    )

    assert (code, result.reason) == (34, "UnsafePath")
    assert "layer 'weights': member 'weights/link' is a symbolic link" in result.message
    assert worker.published() == {}
