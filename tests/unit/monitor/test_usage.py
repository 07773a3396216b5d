"""Looks at real processes; what they tell is compared with /proc."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from model_gallery.monitor import attribution, usage
from model_gallery.monitor.attribution import OwnedFiles, ProcessSample, Snapshot
from model_gallery.monitor.usage import ProcessReader
from model_gallery.protocol.usage import ModelUsage
from model_gallery.sidecar.files import FileIndex
from model_gallery.storage.volume import Volume
from support.serving import MIB, Backend, Gallery, backend, gallery

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts and other users take root")


@pytest.fixture
def volume():
    with gallery() as made:
        yield made


def owned(volume: Gallery) -> OwnedFiles:
    opened = Volume(volume.root)
    try:
        return FileIndex(opened, volume.root).current(0.0)
    finally:
        opened.close()


def look(volume: Gallery, reader: ProcessReader | None = None) -> Snapshot:
    return (reader or ProcessReader()).read(owned(volume), 10.0)


def sample(snapshot: Snapshot, pid: int) -> ProcessSample | None:
    return next((one for one in snapshot.processes if one.pid == pid), None)


def models(volume: Gallery, process: Backend) -> dict[str, ModelUsage]:
    found, _ = attribution.report(look(volume), owned(volume), attribution.NOTHING_YET)
    return {model.name: model for model in found.models if process.pid in model.processes}


def test_a_mapped_file(volume: Gallery) -> None:
    """Its model is told, with as many resident bytes as the kernel tells."""
    path = volume.publish("a", "a.gguf")
    with backend("map", path) as process:
        process.tell(f"touch {MIB}")
        found = models(volume, process)["a"]

        assert found.state_hint == "mapped"
        assert found.resident_bytes == process.resident(path)
        assert found.resident_bytes >= MIB


def test_an_open_file(volume: Gallery) -> None:
    with backend("open", volume.publish("a", "a.gguf")) as process:
        found = models(volume, process)["a"]

    assert found.state_hint == "open"
    assert found.resident_bytes is None


def test_a_file_under_another_name(volume: Gallery) -> None:
    """A second hard link anywhere on the file system is the same file."""
    path = volume.publish("a", "a.gguf")
    other = volume.root / "elsewhere" / "x.bin"
    other.parent.mkdir()
    other.hardlink_to(path)
    with backend("map", other) as process:
        assert set(models(volume, process)) == {"a"}


def test_a_content_of_two_models(volume: Gallery) -> None:
    content = os.urandom(MIB)
    path = volume.publish("a", "a.gguf", content=content)
    volume.publish("b", "b.gguf", content=content)
    with backend("map", path) as process:
        assert set(models(volume, process)) == {"a", "b"}


@pytest.mark.parametrize("how", ["map", "open"])
def test_a_file_that_was_replaced_under_the_process(volume: Gallery, how: str) -> None:
    """The inode is unknown by then, and the path is not."""
    path = volume.publish("a", "a.gguf")
    with backend(how, path) as process:
        path.unlink()
        volume.publish("a", "a.gguf")

        assert set(models(volume, process)) == {"a"}


@as_root
def test_a_replaced_file_in_another_mount_namespace(volume: Gallery) -> None:
    """The volume has another path there, and only a folder of it is mounted."""
    path = volume.publish("a", "team/a.gguf")
    point = volume.root / "mnt"
    point.mkdir()
    script = f'mount --bind {path.parent} {point} && exec "$@"'
    before = ("unshare", "--mount", "sh", "-c", script, "sh")
    with backend("map", point / "a.gguf", *before) as process:
        path.unlink()
        volume.publish("a", "team/a.gguf")

        assert not (point / "a.gguf").exists()
        assert set(models(volume, process)) == {"a"}


def test_an_equal_path_outside_of_the_volume_is_no_use(volume: Gallery) -> None:
    volume.publish("a", "a.gguf")
    with gallery() as other, backend("map", other.publish("a", "a.gguf")) as process:
        assert models(volume, process) == {}


def test_a_document_that_nobody_published_is_no_use(volume: Gallery) -> None:
    volume.publish("a", "a.gguf")
    (volume.root / "loose.gguf").write_bytes(b"x")
    with backend("map", volume.root / "loose.gguf") as process:
        assert models(volume, process) == {}
        assert sample(look(volume), process.pid).uses == ()


def test_what_a_process_costs(volume: Gallery) -> None:
    path = volume.publish("a", "a.gguf")
    with backend("map", path) as process:
        process.tell(f"touch {2 * MIB}")
        process.tell("threads 3")
        found = sample(look(volume), process.pid)
        facts = psutil.Process(process.pid).memory_info()
        name = Path(f"/proc/{process.pid}/comm").read_text().strip()

    assert found.name == name
    assert found.threads == 4
    assert found.resident_bytes == pytest.approx(facts.rss, rel=0.05)
    assert found.shared_bytes == pytest.approx(facts.shared, rel=0.05)
    assert 2 * MIB < found.shared_bytes < found.resident_bytes
    assert found.visible


def test_cpu_between_two_looks(volume: Gallery) -> None:
    reader = ProcessReader()
    with backend("map", volume.publish("a", "a.gguf")) as process:
        known = owned(volume)
        _, tally = attribution.report(reader.read(known, 10.0), known, attribution.NOTHING_YET)
        process.tell("burn 0.3")
        found, _ = attribution.report(reader.read(known, 10.0), known, tally)
    (told,) = (one for one in found.processes if one.pid == process.pid)

    assert 100 < told.cpu_milli <= 1100
    assert found.models[0].cpu_seconds == pytest.approx(0.3, abs=0.1)


def test_page_tables_are_not_walked_at_each_look(volume: Gallery) -> None:
    """A walk that took a second is not repeated before 50 have passed."""
    path = volume.publish("a", "a.gguf", content=os.urandom(16 * MIB))
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    reader = ProcessReader(clock)
    known = owned(volume)

    def resident() -> int:
        return reader._with_files(figures, known).uses[0].resident_bytes

    with backend("map", path) as process:
        figures = sample(look(volume), process.pid)
        before = resident()
        process.tell(f"touch {16 * MIB}")

        assert resident() == before < 16 * MIB
        now[0] += 100.0
        assert resident() == process.resident(path) == 16 * MIB


def test_a_process_that_vanishes_is_left_out(volume: Gallery, monkeypatch) -> None:
    """Between the list and the look, and as a zombie."""
    zombie = subprocess.Popen([sys.executable, "-c", ""])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    _until_zombie(zombie.pid)
    pids = psutil.pids()
    monkeypatch.setattr(usage.psutil, "pids", lambda: [*pids, gone.pid])
    found = look(volume)
    zombie.wait()

    assert zombie.pid in pids
    assert sample(found, zombie.pid) is None
    assert sample(found, gone.pid) is None
    assert found.processes


def test_a_process_that_ends_between_its_figures_and_its_files(volume: Gallery) -> None:
    with backend("idle", volume.root) as process:
        figures = sample(look(volume), process.pid)
    reader = ProcessReader()

    with pytest.raises(usage._VanishedError):
        reader._with_files(figures, owned(volume))


def test_the_reader_itself_is_left_out(volume: Gallery) -> None:
    assert sample(look(volume), os.getpid()) is None


def test_a_look_has_an_end(volume: Gallery) -> None:
    found = ProcessReader().read(owned(volume), -1.0)

    assert found.processes == ()
    assert found.truncated


def test_the_device_as_it_is_mapped(volume: Gallery) -> None:
    path = volume.publish("a", "a.gguf")
    with path.open("rb") as file, backend("map", path) as process:
        lines = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
        (want,) = {line.split()[3] for line in lines if line.endswith(str(path))}

        assert usage.mapped_device(file.fileno()) == want


def test_an_empty_file_has_no_mapped_device(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open("rb") as file:
        assert usage.mapped_device(file.fileno()) is None


def test_a_process_that_ends_during_the_look(
    volume: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files were told already when it went, and its mounts are not any more."""
    volume.publish("a", "a.gguf")
    with subprocess.Popen(["sleep", "60"]) as process:

        def mapped(pid: int, device: str) -> dict[int, str]:
            if pid == process.pid:
                process.kill()
                _until_zombie(pid)
            return {1: "/somewhere"}

        monkeypatch.setattr(usage, "_mapped", mapped)

        assert sample(look(volume), process.pid) is None


def _until_zombie(pid: int) -> None:
    deadline = time.monotonic() + 5
    while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.01)
