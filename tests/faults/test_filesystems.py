"""The real worker on volumes of other file systems: XFS, which shares extents, and overlayfs."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_gallery.protocol import operation
from support.faultserver import FaultServer, answer, serve
from support.worker import MIB, Worker

DATA = random.Random(9).randbytes(24 * MIB)  # noqa: S311 - content
SMALLEST_XFS = 320 * MIB
LONGEST_NAME, LONGEST_PATH = 255, 4096


def run(*command: str | Path) -> None:
    subprocess.run(list(map(str, command)), check=True, capture_output=True)


def xfs(folder: Path) -> Path:
    """Mounts an XFS in a file of the folder."""
    program = shutil.which("mkfs.xfs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None:
        pytest.skip("needs mkfs.xfs: hack/tools brings it")
    image, root = folder / "image", folder / "volume"
    with image.open("wb") as made:
        made.truncate(SMALLEST_XFS)
    root.mkdir()
    run(program, "-q", "-m", "reflink=1", image)
    run("mount", "-o", "loop", image, root)
    return root


def overlay(folder: Path) -> Path:
    """Mounts an overlayfs whose lower layer holds nothing."""
    lower, upper, work, root = (folder / name for name in ("lower", "upper", "work", "volume"))
    for one in (lower, upper, work, root):
        one.mkdir()
    run(
        *("mount", "-t", "overlay", "overlay"),
        *("-o", f"lowerdir={lower},upperdir={upper},workdir={work}", root),
    )
    return root


@pytest.fixture(params=[xfs, overlay], ids=["xfs", "overlay"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    mounted = request.param(tmp_path)
    yield mounted
    run("umount", mounted)


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serve() as one:
        one.behave = lambda request: answer(DATA, request)
        yield one


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_life(root: Path, server: FaultServer) -> None:
    """Installed once for two names, mended after damage, and gone without a trace."""
    worker = Worker(root)
    files = [
        {"path": path, "url": f"{server.url}/a", "sha256": sha(DATA)} for path in ("a.gguf", "d/b")
    ]
    wish = worker.install(*files, documents=[{"path": "m.yaml", "content": "name: m\n"}])
    assert worker.run(wish)[0] == 0
    assert worker.published() == {
        "a.gguf": sha(DATA),
        "d/b": sha(DATA),
        "m.yaml": sha(b"name: m\n"),
    }
    assert (root / "a.gguf").stat().st_nlink == 3, "two names and the content's own"

    (root / "d/b").unlink()
    assert worker.run({**wish, "recheck": True})[0] == 0
    assert worker.published()["d/b"] == sha(DATA)
    assert worker.remove()[0] == 0
    assert worker.everything() == []


def test_t12_the_longest_names(root: Path, server: FaultServer) -> None:
    """What the file system bears is published; what it does not bear is refused for good, with its name."""
    worker = Worker(root)
    name = "n" * (LONGEST_NAME - 5) + ".gguf"
    file = {"url": f"{server.url}/a", "sha256": sha(DATA)}

    assert worker.run(worker.install({**file, "path": name}))[0] == 0
    assert worker.published() == {name: sha(DATA)}

    for path in (f"n{name}", "d/" * (LONGEST_PATH // 2) + "a.gguf"):
        code, line = worker.run(worker.install({**file, "path": path}))
        assert (code, line.reason) == (34, "UnsafePath")
        assert path[:20] in line.message


@pytest.mark.parametrize("root", [xfs], indirect=True, ids=["xfs"])
def test_a_copy_from_another_folder_of_the_file_system_shares_its_extents(root: Path) -> None:
    """As claims of one storage class often lie: 24 MiB of the source cost next to nothing."""
    source, volume = root / "source", root / "volume"
    (source / "llm").mkdir(parents=True)
    volume.mkdir()
    (source / "llm/model.gguf").write_bytes(DATA)
    os.sync()
    free = os.statvfs(root).f_bavail * os.statvfs(root).f_frsize
    worker = Worker(volume)
    worker.environment[operation.ENV_SOURCE] = str(source)
    wish = {"kind": "Claim", "url": "pvc://c/llm/", "folder": "m"}

    assert worker.run(worker.install(repository=wish))[0] == 0
    os.sync()

    assert worker.published() == {"m/model.gguf": sha(DATA)}
    assert free - os.statvfs(root).f_bavail * os.statvfs(root).f_frsize < MIB
