"""What most fault cases begin with: a server that follows a script, and an empty volume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.faultserver import FaultServer, serve
from support.worker import Worker


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with serve() as running:
        yield running


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    """A test module may lay something down beside the volume: its own fixture of this name wins."""
    return Worker(tmp_path / "volume")
