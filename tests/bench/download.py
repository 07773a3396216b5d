"""Downloads with verification, ours against its peers, on loopback: ratios of interleaved runs.

    hack/bench download [--rounds N] [--rows one,eight,...] [--engines ours,curl,...] [--output FILE]

Before each run as much memory is touched as the run will use: a virtual machine that gives memory back to
its host needs ten microseconds for each page's first touch, which would decide the result.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
CACHE = Path(os.environ.get("MODEL_GALLERY_CACHE") or Path.home() / ".cache/model-gallery-operator")
MIB = 1 << 20
CAP = 50 * MIB
ROUND_TRIP = 40
NGINX = """
worker_processes 2; daemon off; pid {folder}/pid; error_log {folder}/error;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; keepalive_requests 100000;
  client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
  uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
  server {{
    listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl; root {content};
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    location /capped/ {{ alias {content}/; limit_rate {cap}; }}
  }}
}}
"""


@dataclass
class Row:
    """One situation: which files, from where."""

    name: str
    title: str
    files: list[str]
    base: str
    mebibytes: int


@dataclass
class Bench:
    """What all runs share."""

    folder: Path
    content: Path
    digests: dict[str, str]
    ports: dict[str, int]
    figures: dict[tuple[str, str], list[tuple[float, float, float]]] = field(default_factory=dict)

    def url(self, base: str, name: str) -> str:
        return base + name


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


def make_content(folder: Path, sizes: dict[str, int]) -> dict[str, str]:
    """Writes random files; returns their digests."""
    digests = {}
    for name, size in sizes.items():
        digest = hashlib.sha256()
        with (folder / name).open("wb") as file:
            for _ in range(size):
                block = random.randbytes(MIB)  # noqa: S311 - content
                digest.update(block)
                file.write(block)
        digests[name] = digest.hexdigest()
    return digests


@contextlib.contextmanager
def servers(bench: Bench) -> Iterator[None]:
    """Runs nginx and the delay line."""
    folder = bench.folder
    subprocess.run(
        (
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
            f" -keyout {folder}/key.pem -out {folder}/cert.pem -subj /CN=localhost"
            " -addext subjectAltName=IP:127.0.0.1"
        ).split(),
        check=True,
        capture_output=True,
    )
    ports = bench.ports
    config = folder / "nginx.conf"
    config.write_text(
        NGINX.format(
            folder=folder, content=bench.content, cap=CAP, plain=ports["plain"], tls=ports["tls"]
        )
    )
    line = [sys.executable, Path(__file__).with_name("delayline.py"), ports["rtt"], ports["plain"]]
    commands = [
        ["nginx", "-e", folder / "error", "-c", config],
        [*line, ROUND_TRIP // 2],
    ]
    running = [subprocess.Popen([str(part) for part in command]) for command in commands]
    time.sleep(1)
    try:
        yield
    finally:
        for process in running:
            process.terminate()
            process.wait()


def command(engine: str, bench: Bench, row: Row, target: Path) -> tuple[str, dict[str, str]]:
    """Returns the shell command that fetches and verifies a row, and its environment."""
    files = [(name, bench.url(row.base, name), bench.digests[name]) for name in row.files]
    sums = target.parent / "sums"
    sums.write_text("".join(f"{digest}  {name}\n" for name, _, digest in files))
    check = f"cd {target} && sha256sum --quiet -c {sums}"
    authority = f"{bench.folder}/cert.pem"
    if engine == "ours":
        return ours(bench, files, target)
    if engine == "onestream":
        listed = " ".join(f"{name} {url} {digest}" for name, url, digest in files)
        return f"{bench.folder}/onestream {target} {listed}", {"SSL_CERT_FILE": authority}
    urls = " ".join(url for _, url, _ in files)
    if engine == "curl":
        parallel = "-Z --parallel-max 16 " if len(files) > 1 else ""
        names = " ".join(f"-o {target}/{name} {url}" for name, url, _ in files)
        return f"curl -sS --cacert {authority} {parallel}{names} && {check}", {}
    if engine == "wget":
        return f"wget -q --ca-certificate={authority} -P {target} {urls} && {check}", {}
    listed = target.parent / "aria"
    listed.write_text(
        "".join(f"{url}\n out={name}\n checksum=sha-256={digest}\n" for name, url, digest in files)
    )
    return (
        f"aria2c -q -x16 -s16 -k1M -j16 --file-allocation=falloc --ca-certificate={authority}"
        f" -d {target} -i {listed}"
    ), {}


def ours(
    bench: Bench, files: list[tuple[str, str, str]], target: Path
) -> tuple[str, dict[str, str]]:
    operation = {
        "kind": "install",
        "owner": {"namespace": "bench", "name": "m", "uid": "u"},
        "planDigest": "0" * 64,
        "files": [{"path": name, "url": url, "sha256": digest} for name, url, digest in files],
        "network": {"allowedNetworks": ["127.0.0.0/8"]},
    }
    path = target.parent / "operation.json"
    path.write_text(json.dumps(operation))
    environment = {
        "PYTHONPATH": str(REPOSITORY / "operator"),
        "MODEL_GALLERY_ROOT": str(target),
        "MODEL_GALLERY_OPERATION_FILE": str(path),
        "MODEL_GALLERY_TERMINATION_LOG": str(target.parent / "termination"),
        "SSL_CERT_FILE": f"{bench.folder}/cert.pem",
    }
    return f"{sys.executable} -m model_gallery worker >/dev/null", environment


def warm(mebibytes: int) -> None:
    """Touches memory in a process that goes away again."""
    program = f"b = bytearray({mebibytes} << 20)\nfor i in range(0, len(b), 4096): b[i] = 1"
    subprocess.run([sys.executable, "-c", program], check=True)


def run(bench: Bench, engine: str, row: Row) -> None:
    """Runs once and keeps the figures: seconds, CPU seconds, peak MiB."""
    target = bench.folder / "target"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    os.sync()
    warm(row.mebibytes + 256)
    line, environment = command(engine, bench, row, target)
    # A process in between, since the peak of a child begins with that of whoever forked it.
    program = (
        "import os,resource,subprocess,sys,time;began=time.monotonic();"
        "code=subprocess.call(['bash','-c',sys.argv[1]]);took=time.monotonic()-began;"
        "use=resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(code,took,use.ru_utime+use.ru_stime,use.ru_maxrss/1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, line],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    code, *figures = done.stdout.split()[-4:]
    if code != "0":
        raise SystemExit(f"{engine} failed at {row.name}: {done.stderr[-500:]}")
    seconds, cpu, peak = map(float, figures)
    bench.figures.setdefault((row.name, engine), []).append((seconds, cpu, peak))
    print(f"{row.name:8} {engine:10} {seconds:7.2f} s", file=sys.stderr)


def limits(folder: Path) -> dict[str, float]:
    """Returns MiB/s of hashing in memory and of writing with fsync, on this machine at this moment."""
    block, digest = bytes(MIB), hashlib.sha256()
    began = time.monotonic()
    for _ in range(512):
        digest.update(block)
    hashing = 512 / (time.monotonic() - began)
    warm(1024)
    path = folder / "written"
    began = time.monotonic()
    with path.open("wb", buffering=0) as file:
        for _ in range(1024):
            file.write(block)
        os.fsync(file.fileno())
    writing = 1024 / (time.monotonic() - began)
    path.unlink()
    return {"sha256 in memory": hashing, "write and fsync": writing}


def table(bench: Bench, row: Row, engines: list[str]) -> str:
    own = statistics.median(seconds for seconds, _, _ in bench.figures[row.name, "ours"])
    lines = [
        f"### {row.title}",
        "",
        "| engine | runs | seconds min / median / max | MiB/s | time, ours = 1 | CPU s/GiB | RSS MiB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for engine in engines:
        found = bench.figures.get((row.name, engine))
        if not found:
            continue
        seconds = sorted(figure[0] for figure in found)
        middle = statistics.median(seconds)
        cpu = statistics.median(figure[1] for figure in found) * 1024 / row.mebibytes
        peak = statistics.median(figure[2] for figure in found)
        lines.append(
            f"| {engine} | {len(found)} | {seconds[0]:.2f} / {middle:.2f} / {seconds[-1]:.2f} |"
            f" {row.mebibytes / middle:.0f} | {middle / own:.2f} | {cpu:.2f} | {peak:.0f} |"
        )
    return "\n".join(lines)


def machine(engines: list[str]) -> str:
    versions = [f"Python {platform.python_version()}"]
    for engine in engines:
        if engine in {"curl", "wget", "aria2c"}:
            shown = subprocess.run(
                [engine, "--version"], capture_output=True, text=True, check=False
            )
            versions.append(" ".join(shown.stdout.split()[:3]))
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{os.cpu_count()} cores ({model}), Linux {platform.release()}; " + ", ".join(versions)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes")
    parser.add_argument("--rows", default="one,eight,many,capped,rtt,tls")
    parser.add_argument("--engines", default="ours,onestream,curl,aria2c,wget")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    engines = arguments.engines.split(",")

    def size(mebibytes: int) -> int:
        return max(1, int(mebibytes * arguments.scale))

    sizes = {"2g": size(2048), "1g": size(1024), "half": size(512)}
    sizes |= {f"eight{number}": size(256) for number in range(8)}
    sizes |= {f"many{number}": 1 for number in range(size(500))}
    ports = {name: free_port() for name in ("plain", "tls", "rtt")}
    plain, tls, rtt = (
        f"http://127.0.0.1:{ports['plain']}/",
        f"https://127.0.0.1:{ports['tls']}/",
        f"http://127.0.0.1:{ports['rtt']}/",
    )
    eight = [name for name in sizes if name.startswith("eight")]
    many = [name for name in sizes if name.startswith("many")]
    rows = [
        Row("one", f"One file of {sizes['2g']} MiB", ["2g"], plain, sizes["2g"]),
        Row("eight", f"Eight files of {size(256)} MiB", eight, plain, 8 * size(256)),
        Row("many", f"{len(many)} files of 1 MiB", many, plain, len(many)),
        Row("capped", f"{sizes['1g']} MiB, each connection capped at 50 MiB/s", ["1g"],
            plain + "capped/", sizes["1g"]),
        Row("rtt", f"{sizes['half']} MiB over a round trip of {ROUND_TRIP} ms", ["half"], rtt, sizes["half"]),
        Row("tls", f"{sizes['1g']} MiB over TLS", ["1g"], tls, sizes["1g"]),
    ]  # fmt: skip
    wanted = [row for row in rows if row.name in arguments.rows.split(",")]
    needed = {name for row in wanted for name in row.files}
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as content,
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
    ):
        bench = Bench(Path(folder), Path(content), {}, ports)
        Path(content).chmod(0o755)
        bench.digests = make_content(bench.content, {name: sizes[name] for name in needed})
        if "onestream" in engines:
            source = Path(__file__).with_name("onestream")
            subprocess.run(
                ["go", "build", "-o", bench.folder / "onestream", "."], cwd=source, check=True
            )
        with servers(bench):
            for row in wanted:
                for _ in range(arguments.rounds):
                    for engine in random.sample(engines, len(engines)):
                        # Slow beyond interest, and known to be one stream.
                        if row.name == "capped" and engine == "wget":
                            continue
                        run(bench, engine, row)
        found = limits(bench.folder)
    report = "\n\n".join(
        [
            machine(engines),
            "Limits in the same run: "
            + ", ".join(f"{what} {rate:.0f} MiB/s" for what, rate in found.items())
            + ".",
            *(table(bench, row, engines) for row in wanted),
        ]
    )
    print(report)
    if arguments.output:
        arguments.output.write_text(report + "\n")


if __name__ == "__main__":
    main()
