"""Models as people ask for them at a shell. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from model_gallery.api import labels
from model_gallery.artifact import reference
from model_gallery.artifact.digest import sha256_of_bytes
from model_gallery.artifact.path import ArtifactPath
from model_gallery.errors import GalleryError
from model_gallery.plugin.problem import Exit, Problem

__all__ = ["Wish", "adopted", "is_uri", "model", "object_name"]

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?\Z")
_MAX_NAME = 253
_MAX_MADE_NAME = 63
_DIGITS = 6
_WEIGHTS = (".gguf", ".safetensors", ".bin", ".onnx", ".pt", ".pth", ".ggml")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line says.

    Attributes:
        what: name of an entry, or a URI.
        name: of the Model; empty: made of `what`.
        sha256: of the only file; empty: as the source promises.
    """

    what: str
    gallery: str
    namespace: str
    name: str = ""
    served_name: str = ""
    sha256: str = ""


def is_uri(what: str) -> bool:
    """Whether the text is a URI. Names of entries may hold colons and slashes too."""
    return "://" in what or what.startswith(("github:", "huggingface:", "hf:", "ollama:", "oci:"))


def model(wish: Wish) -> dict[str, Any]:
    """Returns the manifest of a Model from an entry or a URI.

    Raises:
        Problem: what is asked for cannot be; a matter of usage.
    """
    return _manifest(wish, _source(wish), _stem(wish.what) if is_uri(wish.what) else wish.what)


def adopted(wish: Wish) -> dict[str, Any]:
    """Returns the manifest of a Model for a file that lies on the volume already.

    Args:
        wish: `what` is the file's path, relative to the volume's root.

    Raises:
        Problem: the path or the digest cannot be.
    """
    try:
        path = str(ArtifactPath.parse(wish.what))
    except GalleryError as error:
        raise _usage(f"PATH {wish.what!r}: {error.message}") from error
    file = {"path": path, "uri": f"file:///{quote(path)}"}
    if wish.sha256:
        file["sha256"] = _digest(wish.sha256)
    return _manifest(wish, {"files": [file]}, _stem(path))


def object_name(text: str) -> str:
    """Returns a legal `metadata.name` that reminds of the text; empty where none does.

    One that had to be cut ends with digits: builds of one model often differ in their last letters only.
    """
    legal = re.sub(r"[^a-z0-9.]+", "-", text.lower())
    whole = re.sub(r"[-.]*\.[-.]*", ".", legal).strip("-.")
    if len(whole) <= _MAX_MADE_NAME:
        return whole
    # What a shell hands over need not be text.
    digits = sha256_of_bytes(text.encode(errors="surrogatepass"))[:_DIGITS]
    return f"{whole[: _MAX_MADE_NAME - _DIGITS - 1].rstrip('-.')}-{digits}"


def _manifest(wish: Wish, source: dict[str, Any], origin: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"galleryName": wish.gallery}
    if wish.served_name:
        spec["servedName"] = wish.served_name
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.MODEL,
        "metadata": {"name": _name(wish, origin), "namespace": wish.namespace},
        "spec": {**spec, "source": source},
    }


def _name(wish: Wish, origin: str) -> str:
    if not wish.name:
        made = object_name(origin)
        if not made:
            raise _usage(f"no object can be named after {wish.what!r}: give a name with --name")
        return made
    if len(wish.name) > _MAX_NAME or not _NAME.match(wish.name):
        raise _usage(
            f"--name {wish.name!r}: only lower case letters, digits, `-` and `.`,"
            " with a letter or digit at both ends"
        )
    return wish.name


def _source(wish: Wish) -> dict[str, Any]:
    if not is_uri(wish.what):
        if wish.sha256:
            raise _usage("--sha256 is for URIs: entries of an index bring their own digests")
        return {"entry": {"name": wish.what}}
    try:
        found = reference.repository(wish.what)
        # With a digest of its own the file needs no API: it is fetched raw.
        raw = found is None or (bool(wish.sha256) and found.kind == "GitHub" and found.single)
        file_name = reference.parse(wish.what).file_name if raw else ""
    except GalleryError as error:
        raise _usage(error.message) from error
    if not wish.sha256:
        return {"uri": wish.what}
    if not file_name:
        raise _usage("--sha256 needs a URI of one file over http(s), huggingface:// or github:")
    return {"files": [{"path": file_name, "uri": wish.what, "sha256": _digest(wish.sha256)}]}


def _stem(place: str) -> str:
    """Returns the last name of a path or URI, without query, revision and known extensions."""
    last = re.split(r"[?#]", place)[0].rstrip("/").rpartition("/")[2]
    last = last.partition("@")[0].rpartition("//")[2]
    lower = last.lower()
    ending = next((ending for ending in _WEIGHTS if lower.endswith(ending)), "")
    return last.removesuffix(last[len(last) - len(ending) :]) if ending else last


def _digest(text: str) -> str:
    plain = text.lower().removeprefix("sha256:")
    if not _SHA256.match(plain):
        raise _usage(f"--sha256 {text!r}: 64 hex digits, as sha256sum prints them")
    return plain


def _usage(message: str) -> Problem:
    return Problem(message, Exit.USAGE)
