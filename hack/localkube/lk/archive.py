"""Writing docker-archive image tars without any container tool."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class ImageConfig:
    """What a container of the image runs, and as whom."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    environment: tuple[str, ...] = field(
        default=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",)
    )


def write_image(archive: Path, reference: str, layer: Path, config: ImageConfig) -> None:
    """Write an image of one layer (a tar of its root file system) as a docker-archive."""
    with layer.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    config_bytes = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": list(config.entrypoint) or None,
                "Cmd": list(config.command) or None,
                "User": config.user,
                "Env": list(config.environment),
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
            # Builders that put layers on top of this one count the entries.
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "localkube"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config_bytes).hexdigest()}.json"
    layer_name = f"{digest}/layer.tar"
    manifest = json.dumps(
        [{"Config": config_name, "RepoTags": [reference], "Layers": [layer_name]}]
    ).encode()
    fresh = archive.with_name(f"{archive.name}.new")
    with tarfile.open(fresh, "w") as tar:
        _add_bytes(tar, config_name, config_bytes)
        tar.add(layer, layer_name)
        _add_bytes(tar, "manifest.json", manifest)
    fresh.rename(archive)


def write_single_binary_layer(layer: Path, binary: Path) -> None:
    """Write a layer with one executable at its root."""
    with tarfile.open(layer, "w") as tar:
        entry = tar.gettarinfo(binary, binary.name)
        entry.mode, entry.uid, entry.gid, entry.uname, entry.gname = 0o755, 0, 0, "", ""
        with binary.open("rb") as content:
            tar.addfile(entry, content)


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
