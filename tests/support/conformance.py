"""Real servers on loopback, one for each kind of source; hack/tools brings them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support import ocimake, scripted
from support.github import GitHub, blob_id
from support.ocimake import Layer

CACHE = Path(os.environ.get("MODEL_GALLERY_CACHE") or Path.home() / ".cache/model-gallery-operator")
BUILT = {
    "versitygw": CACHE / "tools" / "versitygw-v1.8.0",
    "oras": CACHE / "tools" / "oras-v1.3.0",
}
"""What hack/tools builds, by name."""
KEYS = {"accessKeyId": "conformance", "secretAccessKey": "canary-s3-secret"}
COMMIT = "c" * 40


@dataclass
class Kind:
    """One kind of source with its server.

    Attributes:
        wish: parts of an install operation that name the content.
        path: where the file is published.
        stored: where the server keeps the bytes, to spoil them.
        secret: what the worker's credentials folder holds.
        pinned: whether the source has revisions; promised: whether it promises digests.
        url: of the server; empty where there is none.
        store: another server, to which this one sends for contents.
        several: parts of an operation for `model.dat` and `notes.txt`; empty where a source is one file.
    """

    name: str
    wish: dict[str, Any]
    path: str
    stored: Path
    secret: dict[str, str] = field(default_factory=dict)
    pinned: bool = True
    promised: bool = True
    missing: dict[str, Any] = field(default_factory=dict)
    url: str = ""
    several: dict[str, Any] = field(default_factory=dict)
    store: scripted.Scripted | None = None

    def at(self, url: str, wish: dict[str, Any]) -> dict[str, Any]:
        """Returns a wish with another server in the place of this one."""
        changed: dict[str, Any] = json.loads(json.dumps(wish).replace(self.url, url))
        return changed


NOTES = b"notes"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])


def program(name: str) -> str:
    built = BUILT.get(name)
    if built is not None and built.exists():
        return str(built)
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not here; hack/tools brings it")
    return found


@contextlib.contextmanager
def running(port: int, *command: str, **more: Any) -> Iterator[None]:
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        **more,
    )
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


def repository(kind: str, url: str, **more: Any) -> dict[str, Any]:
    return {"repository": {"kind": kind, "url": url, "folder": "m", **more}}


@contextlib.contextmanager
def http(folder: Path, data: bytes) -> Iterator[Kind]:
    port, stored = free_port(), folder / "files" / "model.dat"
    stored.parent.mkdir()
    stored.write_bytes(data)
    config = folder / "nginx.conf"
    user = "user root; " if os.geteuid() == 0 else ""
    config.write_text(
        f"{user}daemon off; pid {folder}/pid; error_log {folder}/error; events {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/t; proxy_temp_path {folder}/t;"
        f" fastcgi_temp_path {folder}/t; uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;"
        f" server {{ listen 127.0.0.1:{port}; root {stored.parent}; }} }}\n"
    )
    url = f"http://127.0.0.1:{port}"
    file = {"path": "m/model.dat", "url": f"{url}/model.dat", "sha256": sha256(data)}
    with running(port, program("nginx"), "-e", f"{folder}/error", "-c", str(config)):
        yield Kind(
            "http",
            {"files": [file]},
            "m/model.dat",
            stored,
            pinned=False,
            missing={"files": [{**file, "url": f"{url}/none"}]},
            url=url,
        )


LAYERS: dict[str, Callable[[bytes], list[Layer]]] = {
    "oci": lambda data: [
        Layer(data, "application/octet-stream", {"org.opencontainers.image.title": "model.dat"})
    ],
    "ollama": lambda data: [Layer(data, "application/vnd.ollama.image.model")],
    "modelpack": lambda data: [ocimake.model_pack("model.dat", data)],
    "oras": lambda data: [ocimake.oras_folder("m", [("model.dat", data)])],
    "image": lambda data: [
        ocimake.image([("models/m/model.dat", data), ("models/m/old", b"old")]),
        ocimake.image([("models/m/.wh.old", b""), ("etc/passwd", b"root")]),
    ],
}
"""How each kind of artifact holds the content, the layer with it first."""


@contextlib.contextmanager
def registry(folder: Path) -> Iterator[str]:
    """Runs Debian's docker-registry with an empty store in the folder; yields its URL."""
    port = free_port()
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with running(port, program("docker-registry"), "serve", str(config)):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def artifact(name: str, folder: Path, data: bytes) -> Iterator[Kind]:
    """Serves the content as a kind of artifact."""
    with registry(folder) as base:
        layers = LAYERS[name](data)
        push(base, "v1", *layers)
        notes = Layer(NOTES, "text/plain", {"org.opencontainers.image.title": "notes.txt"})
        if name == "image":
            notes = ocimake.image([("models/notes.txt", NOTES)])
        push(base, "several", *layers, notes)
        digest = layers[0].digest.removeprefix("sha256:")
        stored = folder / f"registry/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data"
        kind, url = ("Ollama" if name == "ollama" else "OCI"), f"{base}/me/model"
        place = {"oras": "m/m/model.dat", "image": "m/m/model.dat", "ollama": "m/model-v1.gguf"}
        yield Kind(
            name,
            repository(kind, url, revision="v1"),
            place.get(name, "m/model.dat"),
            stored,
            missing=repository(kind, url, revision="v2"),
            url=base,
            several={} if name == "ollama" else repository(kind, url, revision="several"),
        )


def push(base: str, tag: str, *layers: Layer) -> None:
    """Pushes an artifact, as the distribution protocol says."""
    for content in (b"{}", *(layer.data for layer in layers)):
        begun = call("POST", f"{base}/v2/me/model/blobs/uploads/", b"")
        place = begun.headers["Location"]
        digest = ocimake.digest_of(content)
        call("PUT", f"{place}&digest={digest}", content, "application/octet-stream")
    body = ocimake.manifest(*layers)
    call("PUT", f"{base}/v2/me/model/manifests/{tag}", body, ocimake.MANIFEST)


def call(method: str, url: str, data: bytes, kind: str = "") -> Any:
    headers = {"Content-Type": kind} if kind else {}
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310
    return urllib.request.urlopen(request, timeout=30)  # noqa: S310


@contextlib.contextmanager
def s3(folder: Path, data: bytes) -> Iterator[Kind]:
    port, root = free_port(), folder / "s3"
    (root / "bucket" / "models").mkdir(parents=True)
    stored = root / "bucket" / "models" / "model.dat"
    stored.write_bytes(data)
    (root / "bucket" / "several").mkdir()
    (root / "bucket" / "several" / "model.dat").write_bytes(data)
    (root / "bucket" / "several" / "notes.txt").write_bytes(NOTES)
    command = (
        program("versitygw"), "--port", f"127.0.0.1:{port}", "--access", KEYS["accessKeyId"],
        "--secret", KEYS["secretAccessKey"], "--quiet", "posix", str(root),
    )  # fmt: skip
    with running(port, *command):
        url = f"http://127.0.0.1:{port}/bucket"
        yield Kind(
            "s3",
            repository("S3", f"{url}/models/"),
            "m/model.dat",
            stored,
            secret={**KEYS, "allowed-hosts": "127.0.0.1"},
            promised=False,
            missing=repository("S3", f"{url}/none/"),
            url=f"http://127.0.0.1:{port}",
            several=repository("S3", f"{url}/several/"),
        )


@contextlib.contextmanager
def hub(folder: Path, data: bytes) -> Iterator[Kind]:
    """An imitation: no real Hub can run here."""
    stored = folder / "model.dat"
    stored.write_bytes(data)
    listing = [
        {
            "type": "file", "path": "model.dat", "size": 1, "oid": "0" * 40,
            "lfs": {"oid": sha256(data), "size": len(data)},
        }
    ]  # fmt: skip
    notes = {"type": "file", "path": "notes.txt", "size": len(NOTES), "oid": blob_id(NOTES)}
    with scripted.serve() as server:
        server.routes = {
            "/api/models/me/model/revision/main": scripted.Answer(
                b'{"sha": "%s"}' % COMMIT.encode()
            ),
            f"/api/models/me/model/tree/{COMMIT}?recursive=true": scripted.Answer(
                json.dumps(listing).encode()
            ),
            f"/me/model/resolve/{COMMIT}/model.dat": lambda _: scripted.Answer(stored.read_bytes()),
            "/api/models/me/several/revision/main": scripted.Answer(
                b'{"sha": "%s"}' % COMMIT.encode()
            ),
            f"/api/models/me/several/tree/{COMMIT}?recursive=true": scripted.Answer(
                json.dumps([*listing, notes]).encode()
            ),
            f"/me/several/resolve/{COMMIT}/model.dat": scripted.Answer(data),
            f"/me/several/resolve/{COMMIT}/notes.txt": scripted.Answer(NOTES),
        }
        yield Kind(
            "huggingface",
            repository("HuggingFace", f"{server.url}/me/model"),
            "m/model.dat",
            stored,
            missing=repository("HuggingFace", f"{server.url}/me/none"),
            url=server.url,
            several=repository("HuggingFace", f"{server.url}/me/several"),
        )


@contextlib.contextmanager
def github(folder: Path, data: bytes, *, release: bool) -> Iterator[Kind]:
    """An imitation too: a file in LFS of a repository, or an asset of a release."""
    stored = folder / "model.dat"
    stored.write_bytes(data)
    with scripted.serve() as server, scripted.serve() as store:
        made = GitHub(server, store)
        if release:
            made.add_asset(4, "model.dat", data)
            made.add_asset(5, "notes.txt", NOTES)
            store.routes[f"/5?{made.signed}"] = scripted.Answer(NOTES)
        else:
            made.add_large("model.dat", data)
            made.files["notes.txt"] = NOTES
        store.routes["/*"] = lambda _: scripted.Answer(stored.read_bytes())
        kind = "GitHubRelease" if release else "GitHub"
        yield Kind(
            "githubrelease" if release else "github",
            repository(kind, made.url, include=["*.dat"]),
            "m/model.dat",
            stored,
            missing=repository(kind, made.url, revision="none"),
            url=server.url,
            several=repository(kind, made.url),
            store=store,
        )


@contextlib.contextmanager
def claim(folder: Path, data: bytes) -> Iterator[Kind]:
    stored = folder / "claim" / "dir" / "model.dat"
    stored.parent.mkdir(parents=True)
    stored.write_bytes(data)
    several = folder / "claim" / "several"
    several.mkdir()
    (several / "model.dat").write_bytes(data)
    (several / "notes.txt").write_bytes(NOTES)
    yield Kind(
        "claim",
        repository("Claim", "pvc://other/dir/"),
        "m/model.dat",
        stored,
        pinned=False,
        promised=False,
        missing=repository("Claim", "pvc://other/none"),
        several=repository("Claim", "pvc://other/several/"),
    )


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def kind_of(name: str, folder: Path, data: bytes) -> contextlib.AbstractContextManager[Kind]:
    if name in LAYERS:
        return artifact(name, folder, data)
    if name in {"github", "githubrelease"}:
        return github(folder, data, release=name == "githubrelease")
    return {"http": http, "s3": s3, "huggingface": hub, "claim": claim}[name](folder, data)
