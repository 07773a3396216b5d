"""What the clients download from: files in memory, nginx, and the delay line before it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

MIB = 1 << 20
CONFIGURATION = """\
daemon off;
worker_processes 2;
pid {scratch}/nginx.pid;
error_log {scratch}/nginx.log warn;
{user}
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000;
  types {{ }}
  default_type application/octet-stream;
  client_body_temp_path {scratch}/body;
  proxy_temp_path {scratch}/proxy;
  fastcgi_temp_path {scratch}/fastcgi;
  uwsgi_temp_path {scratch}/uwsgi;
  scgi_temp_path {scratch}/scgi;
  server {{
    listen 127.0.0.1:{plain};
    listen 127.0.0.1:{tls} ssl;
    ssl_certificate {scratch}/certificate.pem;
    ssl_certificate_key {scratch}/key.pem;
    ssl_protocols TLSv1.3;
    root {files};
    location /capped/ {{ alias {files}/; limit_rate 50m; }}
  }}
}}
"""


@dataclass(frozen=True)
class File:
    name: str
    size: int
    sha256: str


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return made.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(200):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    said = log.read_text(errors="replace")[-500:] if log.exists() else ""
    raise SystemExit(f"{process.args[0]} does not listen: {said}")


class Origin:
    """nginx and the delay line; a context manager that ends them.

    Args:
        scratch: for configuration and certificate.
        files: folder on tmpfs that is served.
    """

    def __init__(self, scratch: Path, files: Path) -> None:
        self.scratch, self.files = scratch, files
        self.plain, self.tls, self.far = free_port(), free_port(), free_port()
        self.certificate = scratch / "certificate.pem"
        self.processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.terminate()
            process.wait()

    def _start(self) -> None:
        subprocess.run(
            [
                *(
                    "openssl",
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                ),
                *("-nodes", "-days", "2", "-subj", "/CN=bench"),
                *("-addext", "subjectAltName=IP:127.0.0.1"),
                *("-addext", "keyUsage=critical,digitalSignature,keyCertSign"),
                *("-keyout", self.scratch / "key.pem", "-out", self.certificate),
            ],
            check=True,
            capture_output=True,
        )
        configuration, log = self.scratch / "nginx.conf", self.scratch / "nginx.log"
        configuration.write_text(
            CONFIGURATION.format(
                scratch=self.scratch,
                files=self.files,
                plain=self.plain,
                tls=self.tls,
                user="user root;" if os.geteuid() == 0 else "",
            )
        )
        nginx = ["nginx", "-c", configuration, "-p", self.scratch, "-e", log]
        delayline = [
            *(sys.executable, Path(__file__).with_name("delayline.py")),
            *(str(self.far), str(self.plain)),
        ]
        for command, port in ((nginx, self.plain), (delayline, self.far)):
            process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
            self.processes.append(process)
            wait_for(port, process, log)

    def url(self, via: str, name: str) -> str:
        base = {
            "plain": f"http://127.0.0.1:{self.plain}",
            "capped": f"http://127.0.0.1:{self.plain}/capped",
            "rtt": f"http://127.0.0.1:{self.far}",
            "tls": f"https://127.0.0.1:{self.tls}",
        }
        return f"{base[via]}/{name}"

    @contextlib.contextmanager
    def serving(self, count: int, size: int) -> Iterator[list[File]]:
        """Makes files that differ, and takes them away at the end: memory holds one row at a time."""
        free = shutil.disk_usage(self.files).free
        if free < count * size + 64 * MIB:
            raise SystemExit(
                f"{self.files} has {free // MIB} MiB free, {count * size // MIB} MiB are needed;"
                " give a smaller --size"
            )
        try:
            yield [self._make(f"file-{number:03}.bin", size) for number in range(count)]
        finally:
            for place in self.files.iterdir():
                place.unlink()

    def _make(self, name: str, size: int) -> File:
        digest = hashlib.sha256()
        with (self.files / name).open("wb") as file:
            for start in range(0, size, MIB):
                block = os.urandom(min(MIB, size - start))
                digest.update(block)
                file.write(block)
        return File(name, size, digest.hexdigest())

    def cpu_seconds(self) -> float:
        """Returns what the servers have used so far."""
        mine = {process.pid for process in self.processes}
        ticks = 0
        for place in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = place.read_text().rpartition(")")[2].split()
                if int(place.parent.name) in mine or int(fields[1]) in mine:
                    ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")
