"""The images of a full cluster, made on this machine and kept in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lk import tools
from lk.archive import ImageConfig, write_image, write_single_binary_layer
from lk.paths import cache_root
from lk.report import LocalkubeError, step

SUITE = "bookworm"
BASE_REFERENCE = "debian:bookworm-slim"
BASE_PACKAGES = "ca-certificates,python3,python3-venv"
# The same leave-outs as Debian's own -slim images.
BASE_EXCLUDES = ("/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/doc/*")
NOBODY = "65534:65534"
FORMAT = b"2"  # another one makes all images anew
PAUSE_SOURCE = Path(__file__).with_name("pause.c")
PAUSE_REFERENCE = "localhost/pause:1"
ADDONS = ("coredns", "metrics-server", "local-path-provisioner")


@dataclass(frozen=True)
class Image:
    """An image in the cache."""

    reference: str
    archive: Path


def addon_reference(command: str) -> str:
    """Return the image name of an add-on."""
    return f"localhost/{command}:{tools.version(command)}"


def base_image() -> Image:
    """Return the Debian image that the product is built from, making it when missing."""
    with _image_lock():
        return _base_image()


def _base_image() -> Image:
    recipe = " ".join((SUITE, BASE_PACKAGES, *BASE_EXCLUDES))
    image = Image(BASE_REFERENCE, _archive("base", recipe.encode()))
    if not image.archive.exists():
        with step(f"make the base image {BASE_REFERENCE}"), _scratch() as scratch:
            layer = scratch / "base.tar"
            _run(
                "base",
                [
                    "mmdebstrap",
                    "--variant=minbase",
                    f"--include={BASE_PACKAGES}",
                    *(f"--dpkgopt=path-exclude={path}" for path in BASE_EXCLUDES),
                    SUITE,
                    str(layer),
                ],
            )
            write_image(image.archive, image.reference, layer, ImageConfig(command=("bash",)))
    return image


def all_images() -> list[Image]:
    """Return every image a full cluster needs, making the missing ones."""
    with _image_lock():
        return [_pause_image(), *map(_addon_image, ADDONS), _base_image()]


def _pause_image() -> Image:
    image = Image(PAUSE_REFERENCE, _archive("pause", PAUSE_SOURCE.read_bytes()))
    if not image.archive.exists():
        with step(f"make the image {image.reference}"), _scratch() as scratch:
            binary = scratch / "pause"
            _run("pause", ["gcc", "-static", "-Os", "-s", "-o", str(binary), str(PAUSE_SOURCE)])
            _single_binary_image(image, binary, scratch, "65535:65535")
    return image


def _addon_image(command: str) -> Image:
    binary = tools.path(command)
    image = Image(addon_reference(command), _archive(command, str(binary).encode()))
    if not image.archive.exists():
        with step(f"make the image {image.reference}"), _scratch() as scratch:
            _single_binary_image(image, binary, scratch, NOBODY)
    return image


def _single_binary_image(image: Image, binary: Path, scratch: Path, user: str) -> None:
    layer = scratch / "layer.tar"
    write_single_binary_layer(layer, binary)
    write_image(
        image.archive,
        image.reference,
        layer,
        ImageConfig(entrypoint=(f"/{binary.name}",), user=user),
    )


def _directory() -> Path:
    return cache_root() / "images"


def _archive(name: str, recipe: bytes) -> Path:
    return _directory() / f"{name}-{hashlib.sha256(FORMAT + recipe).hexdigest()[:12]}.tar"


@contextmanager
def _image_lock() -> Iterator[None]:
    """Let one localkube make images at a time; a second one then finds them made."""
    _directory().mkdir(parents=True, exist_ok=True)
    with (_directory() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _scratch() -> Iterator[Path]:
    """Give a temporary directory in the cache: a layer can be larger than /tmp."""
    with tempfile.TemporaryDirectory(dir=cache_root()) as directory:
        yield Path(directory)


def _run(name: str, command: list[str]) -> None:
    log = cache_root() / f"image-{name}.log"
    with log.open("w") as output:
        if subprocess.run(command, stdout=output, stderr=output, check=False).returncode != 0:
            raise LocalkubeError(f"`{command[0]}` failed while making the image {name}", log)
