"""A real Prometheus that scrapes one target, and promtool; hack/tools brings both."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.kube import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Prometheus", "documented", "promtool", "scraping"]

_REPOSITORY = Path(__file__).resolve().parents[2]
_CACHE = Path(
    os.environ.get("MODEL_GALLERY_CACHE") or Path.home() / ".cache/model-gallery-operator"
)
_PAGE = _REPOSITORY / "docs" / "metrics.md"
_FIELDS = 4


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus.

    Attributes:
        url: of its HTTP API.
    """

    url: str

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Returns labels and value of each series that the expression gives now."""
        found = self._get("query", query=expression)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(one["metric"], float(one["value"][1])) for one in found["result"]]

    def value(self, expression: str) -> float | None:
        """Returns the value of the one series that the expression gives; None where it gives none."""
        found = self.query(expression)
        assert len(found) <= 1, f"{expression} gives {len(found)} series: {found}"
        return found[0][1] if found else None

    def until(self, expression: str, want: float | None, timeout: float = 20) -> None:
        """Returns once the expression has the value; None: once it gives nothing."""
        wait_until(
            f"{expression} is {want}",
            lambda: self.value(expression) == want,
            timeout,
            lambda: f"it is {self.query(expression)}",
        )

    def _get(self, what: str, **parameters: str) -> Any:
        address = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - ours
            return json.load(answer)["data"]


@contextmanager
def scraping(target: str, folder: Path) -> Iterator[Prometheus]:
    """Runs a Prometheus that scrapes `http://<target>/metrics` each second until the block ends.

    Args:
        target: host and port.
        folder: for its configuration, data and log.
    """
    scrape = {"job_name": "operator", "static_configs": [{"targets": [target]}]}
    wish = {"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}
    configuration, log = folder / "prometheus.yml", folder / "prometheus.log"
    configuration.write_text(json.dumps(wish))
    address = f"127.0.0.1:{_free_port()}"
    command = [
        _program("prometheus"),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        try:
            made = Prometheus(f"http://{address}")
            wait_until("Prometheus has scraped", lambda: _has_scraped(made), 30, log.read_text)
            yield made
        finally:
            process.terminate()
            process.wait(timeout=20)


def promtool(*arguments: str, stdin: str = "") -> str:
    """Runs promtool; returns what it printed.

    Raises:
        AssertionError: it ended with another exit code than 0, which lint findings give as well.
    """
    done = subprocess.run(
        [_program("promtool"), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done.stdout


def documented() -> dict[str, str]:
    """Returns the type of each metric in docs/metrics.md."""
    rows = (line.split("|") for line in _PAGE.read_text().splitlines() if line.startswith("| `"))
    return {row[1].strip(" `"): row[2].strip() for row in rows if len(row) > _FIELDS}


def _has_scraped(running: Prometheus) -> bool:
    try:
        return running.value("up") == 1
    except OSError:
        return False


def _program(name: str) -> str:
    cached = _CACHE / "tools" / name
    found = str(cached) if cached.exists() else shutil.which(name)
    assert found, f"{name} is not here; `hack/tools prometheus` brings it"
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as made:
        return int(made.getsockname()[1])
