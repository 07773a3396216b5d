"""The download benchmark: our worker against its peers, on loopback, as ratios of interleaved runs.

See README.md beside this file. Start it with `hack/bench download`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import mmap
import os
import platform
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.engines import ENGINES, Engine, Job
from bench.origin import MIB, File, Origin

GIB = 1 << 30
PACKAGES = {"nginx": "nginx-light", "aria2c": "aria2", "curl": "curl", "wget": "wget"}
BESIDE_BYTES = 512 * MIB
"""Memory that a run touches besides the page cache of its files: the client, the sockets."""
LIMITS = ("sha256", "write")
COLUMNS = (
    "engine",
    "runs",
    "seconds min / median / max",
    "MiB/s (median)",
    "time, ours = 1 (min - max)",
    "time, limit = 1",
    "CPU s/GiB",
    "server CPU s/GiB",
    "peak RSS MiB",
    "with fsync, s",
)
RUN_SECONDS = 240.0
IDLE_SECONDS = 2.0


@dataclass(frozen=True)
class Row:
    """One kind of download, for a size of 2 GiB; others are in proportion."""

    name: str
    title: str
    count: int
    size: int
    via: str = "plain"

    def scaled(self, size: int) -> tuple[int, int]:
        """Returns how many files of how many bytes."""
        if self.count > 100:
            return max(1, self.count * size // (2 * GIB)), self.size
        return self.count, max(MIB, self.size * size // (2 * GIB))


ROWS = {
    row.name: row
    for row in (
        Row("one", "One file", 1, 2 * GIB),
        Row("eight", "Eight files", 8, 256 * MIB),
        Row("many", "Many small files", 500, MIB),
        Row("capped", "Each connection capped at 50 MiB/s", 1, GIB, "capped"),
        Row("rtt", "40 ms round trip, at most 100 MiB/s per connection", 1, 512 * MIB, "rtt"),
        Row("tls", "TLS 1.3", 1, GIB, "tls"),
    )
}


@dataclass(frozen=True)
class Run:
    """What one run cost.

    Attributes:
        round: runs of one round stand beside each other in time.
        synced: seconds with an fsync of the files afterwards.
        others: share of all cores that went to none of ours.
    """

    round: int
    seconds: float
    cpu: float = 0.0
    server_cpu: float = 0.0
    rss: int = 0
    synced: float = 0.0
    others: float = 0.0


@dataclass
class Result:
    """All runs of a row, by engine and by limit."""

    row: Row
    files: int
    size: int
    runs: dict[str, list[Run]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.files * self.size

    def median(self, name: str, of: str = "seconds") -> float:
        return statistics.median(getattr(run, of) for run in self.runs[name])

    def ratios(self, name: str) -> list[float]:
        """Returns time by ours of the same round."""
        base = {run.round: run.seconds for run in self.runs.get("ours", ())}
        return [run.seconds / base[run.round] for run in self.runs[name] if run.round in base]

    def limit(self) -> float | None:
        """Returns the seconds of the slower of the two limits."""
        known = [self.median(name) for name in LIMITS if self.runs.get(name)]
        return max(known, default=None)


class EngineError(Exception):
    """A client did not bring what it was asked for."""


# One run


def touch(size: int) -> None:
    """Touches memory, so that the run finds it with this machine and not with its host (README.md)."""
    available = _meminfo()["MemAvailable"]
    with contextlib.suppress(OSError):
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        mmap.mmap(-1, min(size, available * 3 // 4), flags=flags).close()


def _meminfo() -> dict[str, int]:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}


def _busy() -> float:
    """Returns the seconds that all cores together have worked."""
    user, nice, system, _, _, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def prepare(place: Path, size: int) -> None:
    """An empty folder, nothing left to write back, warm memory, and a moment of quiet if there is one."""
    if place.exists():
        shutil.rmtree(place)
    place.mkdir()
    os.sync()
    touch(size + BESIDE_BYTES)
    end = time.monotonic() + IDLE_SECONDS
    while time.monotonic() < end:
        before = _busy()
        time.sleep(0.2)
        if _busy() - before < 0.2 * 0.15 * (os.cpu_count() or 1):
            return


@dataclass
class Bench:
    """Runs engines on one folder, against one origin."""

    origin: Origin
    work: Path
    scratch: Path

    def run(self, engine: Engine, row: Row, files: Sequence[File], number: int) -> Run:
        folder = self.work / "run"
        total = sum(file.size for file in files)
        prepare(folder, total)
        job = Job(
            [(file, self.origin.url(row.via, file.name)) for file in files],
            folder,
            self.scratch,
            self.origin.certificate if row.via == "tls" else None,
        )
        server, began = self.origin.cpu_seconds(), time.monotonic()
        busy = _busy()
        seconds, cpu, rss = self._measured(engine, job)
        busy, elapsed = _busy() - busy, time.monotonic() - began
        server = self.origin.cpu_seconds() - server
        others = max(0.0, busy - cpu - server) / (elapsed * (os.cpu_count() or 1))
        began = time.perf_counter()
        for file in files:
            self._check(folder, file)
        synced = seconds + time.perf_counter() - began
        return Run(number, seconds, cpu, server, rss, synced, others)

    def _measured(self, engine: Engine, job: Job) -> tuple[float, float, int]:
        command, answer = engine.command(job), self.scratch / "measured"
        answer.unlink(missing_ok=True)
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.scratch), "LC_ALL": "C.UTF-8"}
        if job.certificate:
            name = "MODEL_GALLERY_CA" if engine.name == "ours" else "SSL_CERT_FILE"
            environment[name] = str(job.certificate)
        environment.update(command.environment)
        measure = [sys.executable, "-I", "-S", str(Path(__file__).with_name("measure.py"))]
        log = self.scratch / "log"
        with log.open("wb") as said:
            process = subprocess.Popen(
                [*measure, str(answer), *command.arguments],
                cwd=job.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        try:
            process.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            raise EngineError(f"not done after {RUN_SECONDS:.0f} s") from None
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        code, seconds, cpu, rss = answer.read_text().split()
        if code != "0":
            tail = " ".join(log.read_text(errors="replace").split())[-300:]
            raise EngineError(f"ended with {code}: {tail}")
        return float(seconds), float(cpu), int(rss) * 1024

    @staticmethod
    def _check(folder: Path, file: File) -> None:
        place = folder / file.name
        if not place.is_file() or place.stat().st_size != file.size:
            raise EngineError(f"{file.name} is missing, or has another size")
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def check_digests(self, files: Sequence[File]) -> None:
        """Reads back what the last run brought."""
        for file in files:
            with (self.work / "run" / file.name).open("rb") as opened:
                if hashlib.file_digest(opened, "sha256").hexdigest() != file.sha256:
                    raise EngineError(f"{file.name} has other content")

    def limit(self, name: str, total: int, number: int) -> Run:
        """Hashes, or writes and syncs, as many bytes as the row has."""
        folder = self.work / "run"
        prepare(folder, total)
        block = os.urandom(MIB)
        began = time.perf_counter()
        if name == "sha256":
            digest = hashlib.sha256()
            for _ in range(0, total, MIB):
                digest.update(block)
        else:
            with (folder / "limit").open("wb", buffering=0) as file:
                for _ in range(0, total, MIB):
                    file.write(block)
                os.fsync(file.fileno())
        return Run(number, time.perf_counter() - began)


# A row


def run_row(
    bench: Bench, row: Row, engines: Sequence[Engine], options: argparse.Namespace
) -> Result:
    count, size = row.scaled(options.size)
    result = Result(row, count, size)
    order = random.Random(f"{options.seed} {row.name}")  # noqa: S311 - an order, not a secret
    end = time.monotonic() + options.row_seconds
    by_name = {engine.name: engine for engine in engines}
    with bench.origin.serving(count, size) as files:
        for number in range(options.rounds):
            names = [*by_name, *LIMITS]
            order.shuffle(names)
            for name in names:
                if name in result.failures:
                    continue
                # The longest that it took so far must still fit.
                longest = max((run.seconds for run in result.runs.get(name, ())), default=0.0)
                if time.monotonic() + longest > end:
                    remark = f"{name}: round {number + 1} left out, the row's time is over"
                    result.remarks.append(remark)
                    say(f"{row.name}: {remark}")
                    continue
                if name in LIMITS:
                    result.runs.setdefault(name, []).append(bench.limit(name, result.total, number))
                else:
                    one_run(bench, by_name[name], result, files, number)
    return result


def one_run(
    bench: Bench, engine: Engine, result: Result, files: Sequence[File], number: int
) -> None:
    try:
        run = bench.run(engine, result.row, files, number)
        if number == 0:
            bench.check_digests(files)
    except EngineError as error:
        result.failures[engine.name] = str(error)
        say(f"{result.row.name} {number + 1}: {engine.name} failed: {error}")
        return
    result.runs.setdefault(engine.name, []).append(run)
    say(f"{result.row.name} {number + 1}: {engine.name} {run.seconds:.2f} s")


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


# The report


def table(result: Result) -> list[str]:
    what = (
        f"{result.files} x {result.size / MIB:.0f} MiB"
        if result.files > 1
        else (f"{result.size / MIB:.0f} MiB")
    )
    lines = [
        f"## {result.row.title} ({what})",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
    ]
    shown = [name for name in ENGINES if result.runs.get(name)]
    lines += [line(result, name) for name in sorted(shown, key=result.median)]
    lines += [
        f"| {ENGINES[name].title} | failed: {_cell(said)} |" + " |" * (len(COLUMNS) - 2)
        for name, said in result.failures.items()
    ]
    return [*lines, "", limits(result), *[f"- {remark}" for remark in result.remarks], ""]


def _cell(text: str) -> str:
    return text.replace("|", "/")


def line(result: Result, name: str) -> str:
    runs = result.runs[name]
    seconds, gib = [run.seconds for run in runs], result.total / GIB
    ratios, limit = result.ratios(name), result.limit()
    cells = (
        ENGINES[name].title,
        len(runs),
        f"{min(seconds):.2f} / {statistics.median(seconds):.2f} / {max(seconds):.2f}",
        f"{result.total / MIB / result.median(name):.0f}",
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} - {max(ratios):.2f})"
        if ratios
        else "-",
        f"{result.median(name) / limit:.2f}" if limit else "-",
        f"{result.median(name, 'cpu') / gib:.2f}",
        f"{result.median(name, 'server_cpu') / gib:.2f}",
        f"{result.median(name, 'rss') / MIB:.0f}",
        f"{result.median(name, 'synced'):.2f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def limits(result: Result) -> str:
    known = {name: result.median(name) for name in LIMITS if result.runs.get(name)}
    titles = {"sha256": "sha256 of memory, one thread", "write": "write + fsync to this disk"}
    parts = [
        f"{titles[name]}: {result.total / MIB / seconds:.0f} MiB/s, {seconds:.2f} s"
        for name, seconds in known.items()
    ]
    others = [run.others for name in ENGINES for run in result.runs.get(name, ())]
    if others:
        parts.append(f"CPU of this machine that went to others: {statistics.median(others):.0%}")
    return f"Limits in the same rounds: {'; '.join(parts)}."


def machine(work: Path, engines: Sequence[Engine], versions: dict[str, str]) -> str:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", work], capture_output=True, text=True, check=False
    ).stdout.strip()
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr
    parts = [
        f"{os.cpu_count()} cores ({model[1] if model else platform.machine()})",
        f"{_meminfo()['MemTotal'] / GIB:.0f} GiB",
        f"{work.parent} on {kind}",
        f"kernel {platform.release()}",
        f"nginx {nginx.rpartition('/')[2].strip()} on the same cores",
        *(f"{engine.name} {versions[engine.name]}" for engine in engines),
    ]
    return f"{'; '.join(parts)}."


def report(options: argparse.Namespace, about: str, starts: Result, results: list[Result]) -> str:
    small = [f"{name} {starts.median(name):.2f} s" for name in ENGINES if starts.runs.get(name)]
    lines = [
        "# Downloads on loopback",
        "",
        about,
        f"Rounds: {options.rounds}, interleaved in random order (seed {options.seed}).",
        "The ratio is the median of the ratios within a round.",
        "The limit is the slower of the two below each table.",
        "",
        f"One file of 1 MiB (start-up): {', '.join(small)}.",
        "",
    ]
    for result in results:
        lines += table(result)
    return "\n".join(lines)


# The program


def size_of(text: str) -> int:
    match = re.fullmatch(r"(\d+)(Mi|Gi)", text)
    size = int(match[1]) * {"Mi": MIB, "Gi": GIB}[match[2]] if match else 0
    if size < 8 * MIB:
        raise argparse.ArgumentTypeError("a size is like 256Mi or 2Gi, at least 8Mi")
    return size


def some_of(known: Sequence[str]) -> object:
    def chosen(text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        if strange := [name for name in names if name not in known]:
            message = f"{', '.join(strange)}: unknown; known are {', '.join(known)}"
            raise argparse.ArgumentTypeError(message)
        return names

    return chosen


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="hack/bench download", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument(
        "--size", type=size_of, default="2Gi", help="of row `one`; the others are in proportion"
    )
    parser.add_argument("--only", type=some_of([*ROWS]), default=[*ROWS], metavar="ROW,...")
    parser.add_argument(
        "--engines", type=some_of([*ENGINES]), default=[*ENGINES], metavar="ENGINE,..."
    )
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="default: standard output")
    parser.add_argument("--seed", type=int, default=1, help="of the order of runs")
    parser.add_argument(
        "--row-seconds", type=float, default=900.0, help="no run begins after this time in a row"
    )
    return parser.parse_args()


def available(names: Sequence[str]) -> tuple[list[Engine], dict[str, str]]:
    wanted = [name for name in ("nginx", *names) if name in PACKAGES]
    if missing := [name for name in wanted if shutil.which(name) is None]:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise SystemExit(f"bench: {', '.join(missing)} missing: apt-get install {packages}")
    engines, versions = [], {}
    for name in names:
        try:
            versions[name] = ENGINES[name].version()
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", "") or ""
            say(f"{name} is left out: {error} {said.strip()[-300:]}")
        else:
            engines.append(ENGINES[name])
    return engines, versions


def main() -> int:
    options = parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    engines, versions = available(options.engines)
    disk = os.environ.get("TMPDIR", "/tmp")
    with contextlib.ExitStack() as stack:
        work, scratch, memory = (
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=place)))
            for place in (disk, disk, "/dev/shm")
        )
        if shutil.disk_usage(work).free < 3 * options.size:
            raise SystemExit(f"bench: {disk} has too little room; set TMPDIR, or a smaller --size")
        memory.chmod(0o755)
        bench = Bench(stack.enter_context(Origin(scratch, memory)), work, scratch)
        about = machine(work, engines, versions)
        start = argparse.Namespace(**{**vars(options), "rounds": 3, "size": GIB})
        say(about)
        starts = run_row(bench, Row("start", "", 1, 2 * MIB), engines, start)
        if starts.failures:
            return 1
        results: list[Result] = []
        for name in options.only:
            results.append(run_row(bench, ROWS[name], engines, options))
            text = report(options, about, starts, results)
            if options.output:
                options.output.write_text(text)
        if not options.output:
            print(text)
    return 1 if any(result.failures for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
