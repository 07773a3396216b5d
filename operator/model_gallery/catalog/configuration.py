"""Model configurations: merged deeply, and checked as far as they name files and programs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from model_gallery.catalog.fields import Fields
from model_gallery.catalog.files import safe_path

__all__ = ["check", "merge", "use_cases", "weights"]

_BACKEND = re.compile(r"[A-Za-z0-9_-]+\Z")


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Returns both: mappings merge deeply, of all else the upper side wins, lists as a whole.

    The result shares what it did not have to merge; treat all three as immutable.
    """
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        result[key] = merge(below, value) if both and below is not None else value
    return result


def check(config: Fields) -> None:
    """Checks the fields by which a backend finds programs and files, as LocalAI does.

    Raises:
        StalledError: UnsafePath for a path, else the reason of the fields.
    """
    backend = config.text("backend")
    if backend and not _BACKEND.match(backend):
        raise config.error("backend", "must consist of letters, digits, `-` and `_`")
    parameters = Fields(config.mapping("parameters"), f"{config.place}parameters.", config.reason)
    for fields, key in ((parameters, "model"), (config, "mmproj")):
        _check_path(fields, key)
    for file in config.mappings("download_files"):
        safe_path(file.text("filename"), f"{file.place}filename")


def use_cases(config: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Returns what a configuration says that its model is for, in lower case, without `FLAG_`."""
    known = (config or {}).get("known_usecases")
    if not isinstance(known, list):
        return ()
    names = (name.lower().removeprefix("flag_") for name in known if isinstance(name, str))
    return tuple(sorted(set(names)))


def weights(config: Mapping[str, Any] | None) -> str:
    """Returns the file that a configuration names as the model's weights; empty without one."""
    parameters = (config or {}).get("parameters")
    model = parameters.get("model") if isinstance(parameters, Mapping) else None
    return model if isinstance(model, str) else ""


def _check_path(fields: Fields, key: str) -> None:
    text = fields.text(key)
    if text:
        safe_path(text, f"{fields.place}{key}")
