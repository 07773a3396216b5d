"""The clients: how each one is asked to bring a list of files into a folder, verified."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.origin import File

HERE = Path(__file__).parent
OPERATOR = HERE.parents[1] / "operator"
CACHE = (
    Path(os.environ.get("MODEL_GALLERY_CACHE", "~/.cache/model-gallery-operator")).expanduser()
    / "bench"
)
HUB_VERSION = "2.4.0"
MOST_IN_ENVIRONMENT = 64 * 1024
"""A longer operation travels in a file, as in the cluster."""


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        files: with the URL of each.
        folder: empty; the files are expected in it under their names.
        scratch: for what the client is told, outside of the folder.
        certificate: authority to trust, where the row speaks TLS.
    """

    files: Sequence[tuple[File, str]]
    folder: Path
    scratch: Path
    certificate: Path | None

    def write(self, name: str, lines: Sequence[str]) -> str:
        place = self.scratch / name
        place.write_text("".join(f"{line}\n" for line in lines))
        return str(place)

    def trusting(self, option: str) -> list[str]:
        return [f"{option}={self.certificate}"] if self.certificate else []

    def listed(self) -> str:
        lines = [f"{file.sha256} {file.size} {file.name} {url}" for file, url in self.files]
        return self.write("list", lines)


@dataclass(frozen=True)
class Command:
    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Engine:
    """One client.

    Attributes:
        command: what to run for a job.
        version: asked once; an exception means that the client cannot be had here.
    """

    name: str
    title: str
    command: Callable[[Job], Command]
    version: Callable[[], str]


def ours(job: Job) -> Command:
    files = [{"path": file.name, "url": url, "sha256": file.sha256} for file, url in job.files]
    wish = json.dumps(
        {
            "kind": "install",
            "owner": {"namespace": "bench", "name": "bench", "uid": "bench"},
            "planDigest": hashlib.sha256(json.dumps(files).encode()).hexdigest(),
            "files": files,
            "network": {"allowedNetworks": ["127.0.0.0/8"]},
        }
    )
    environment = {
        "PYTHONPATH": str(OPERATOR),
        "MODEL_GALLERY_ROOT": str(job.folder),
        "MODEL_GALLERY_TERMINATION_LOG": str(job.scratch / "termination"),
    }
    if len(wish) > MOST_IN_ENVIRONMENT:
        environment["MODEL_GALLERY_OPERATION_FILE"] = job.write("operation", [wish])
    else:
        environment["MODEL_GALLERY_OPERATION"] = wish
    return Command([sys.executable, "-m", "model_gallery", "worker"], environment)


def then_sha256sum(job: Job, arguments: Sequence[str]) -> Command:
    sums = job.write("sums", [f"{file.sha256}  {file.name}" for file, _ in job.files])
    script = '"$@" && exec sha256sum --check --quiet --strict "$SUMS"'
    return Command(["sh", "-c", script, "sh", *arguments], {"SUMS": sums})


def curl(job: Job) -> Command:
    lines = [f'url = "{url}"\noutput = "{file.name}"' for file, url in job.files]
    several = ["-Z", "--parallel-max", "16"] if len(job.files) > 1 else []
    certificate = ["--cacert", str(job.certificate)] if job.certificate else []
    configuration = ["--config", job.write("curl", lines)]
    return then_sha256sum(job, ["curl", "-q", "-sSf", *several, *certificate, *configuration])


def wget(job: Job) -> Command:
    urls = job.write("urls", [url for _, url in job.files])
    options = ["--no-config", "-nv", "-o", str(job.scratch / "wget.log"), "--tries=3"]
    return then_sha256sum(job, ["wget", *options, *job.trusting("--ca-certificate"), "-i", urls])


def aria2c(job: Job) -> Command:
    lines = [
        f"{url}\n  out={file.name}\n  checksum=sha-256={file.sha256}" for file, url in job.files
    ]
    arguments = [
        *("aria2c", "--no-conf", "--quiet", "-x16", "-s16", "-k1M", "-j16"),
        *("--file-allocation=falloc", *job.trusting("--ca-certificate")),
        *("--input-file", job.write("aria2c", lines)),
    ]
    return Command(arguments)


def hub(job: Job) -> Command:
    environment = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    python = str(CACHE / "hub" / "bin" / "python")
    return Command([python, str(HERE / "hubclient.py"), job.listed()], environment)


def localai(job: Job) -> Command:
    return Command([str(_onestream()), job.listed()])


def _onestream() -> Path:
    source = (HERE / "onestream" / "main.go").read_bytes()
    return CACHE / f"onestream-{hashlib.sha256(source).hexdigest()[:12]}"


def _said(*arguments: str) -> str:
    answer = subprocess.run(arguments, check=True, capture_output=True, text=True, timeout=300)
    return answer.stdout.splitlines()[0] if answer.stdout else ""


def _works(*arguments: str) -> bool:
    return subprocess.run(arguments, check=False, capture_output=True).returncode == 0


def _word(number: int, *arguments: str) -> Callable[[], str]:
    return lambda: _said(*arguments).split()[number]


def _our_version() -> str:
    code = "import model_gallery, platform; print(model_gallery.__version__, platform.python_version())"
    environment = {**os.environ, "PYTHONPATH": str(OPERATOR)}
    command = [sys.executable, "-c", code]
    answer = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    ours, python = answer.stdout.split()
    return f"{ours} (Python {python})"


def _hub_version() -> str:
    place = CACHE / "hub"
    python = place / "bin" / "python"
    code = "import huggingface_hub; print(huggingface_hub.__version__)"
    if not python.exists() or not _works(str(python), "-c", code):
        print(f"bench: install huggingface_hub {HUB_VERSION} into {place}", file=sys.stderr)
        place.parent.mkdir(parents=True, exist_ok=True)
        _said(sys.executable, "-m", "venv", str(place))
        wanted = f"huggingface_hub=={HUB_VERSION}"
        _said(str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", wanted)
    return _said(str(python), "-c", code)


def _go_version() -> str:
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not _onestream().exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        _said(
            go, "build", "-trimpath", "-o", str(_onestream()), str(HERE / "onestream" / "main.go")
        )
    return _said(go, "version").split()[2]


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("ours", "**our worker**", ours, _our_version),
        Engine(
            "localai",
            "one stream, hash inline, Go: what LocalAI's downloader does",
            localai,
            _go_version,
        ),
        Engine("curl", "curl, then sha256sum", curl, _word(1, "curl", "--version")),
        Engine("wget", "wget, then sha256sum", wget, _word(2, "wget", "--version")),
        Engine(
            "aria2c",
            "aria2c -x16 -s16 -k1M, checksum, falloc",
            aria2c,
            _word(2, "aria2c", "--version"),
        ),
        Engine("hub", "huggingface_hub (HTTP path), then hashlib", hub, _hub_version),
    )
}
