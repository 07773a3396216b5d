"""`model-gallery catalog check`: reads an index as the operator would, and tells what it finds."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from model_gallery.api.conditions import Reason
from model_gallery.artifact import reference
from model_gallery.catalog import baseconfig, check, index
from model_gallery.errors import GalleryError, StalledError
from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.transport.client import HttpClient

__all__ = ["run"]

_MAX_BYTES = 16 * 1024 * 1024
_CONNECTIONS = 8


def run(place: str, configs: Path | None, *, as_json: bool) -> int:
    """Checks the index and prints the report.

    Args:
        place: a file, or an http(s) URL.
        configs: folder with the base configurations; None: they are fetched.

    Returns:
        0 where every entry can be installed, 1 where one cannot, 2 where there is no index.
    """
    # A person at a shell may reach what the machine reaches; the operator's limits are the chart's.
    client = HttpClient(NetworkPolicy(allowed_networks=("0.0.0.0/0", "::/0")))
    try:
        parsed = index.parse(_read(client, place))
    except (GalleryError, OSError) as error:
        sys.stderr.write(f"model-gallery: cannot read {place}: {error}\n")
        return 2
    report = check.check(parsed, _bases(client, sorted(parsed.references()), configs))
    print(_json(report) if as_json else _text(report))
    return 1 if report.problems else 0


def _read(client: HttpClient, place: str) -> bytes:
    if place.startswith(("http://", "https://", "github:")):
        fetched = client.fetch(reference.parse(place).url, max_bytes=_MAX_BYTES)
        return fetched.body or b""
    return Path(place).read_bytes()


def _bases(
    client: HttpClient, references: Iterable[str], configs: Path | None
) -> dict[str, baseconfig.BaseConfig | GalleryError]:
    def base(uri: str) -> baseconfig.BaseConfig | GalleryError:
        try:
            if configs is None:
                return baseconfig.parse(_read(client, uri), uri)
            name = reference.parse(uri).file_name
            return baseconfig.parse((configs / name).read_bytes(), uri)
        except OSError as error:
            return StalledError(Reason.BASE_CONFIG_UNAVAILABLE, f"{uri}: {error.strerror}")
        except GalleryError as error:
            return error

    uris = list(references)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        return dict(zip(uris, pool.map(base, uris), strict=True))


def _json(report: check.Report) -> str:
    return json.dumps(asdict(report), indent=2, ensure_ascii=False)


def _text(report: check.Report) -> str:
    lines = [f"{problem.entry}: {problem.reason}: {problem.message}" for problem in report.problems]
    for conflict in report.conflicts:
        names = ", ".join(conflict.entries)
        lines.append(f"note: {conflict.path} has different contents in {names}")
    lines.append(
        f"{report.entries} entries, {report.resolved} can be installed,"
        f" {len(report.problems)} problems, {len(report.conflicts)} path conflicts"
    )
    return "\n".join(lines)
