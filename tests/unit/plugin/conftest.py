"""The whole program against a stub of an API server, through a kubeconfig."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest

from model_gallery.plugin import main as program
from support.apistub import ApiStub, serving

NOW = datetime(2026, 1, 1, 0, 5, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Ran:
    """What a run of the program left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


@pytest.fixture
def stub(tmp_path, monkeypatch) -> Iterator[ApiStub]:
    with serving() as served:
        monkeypatch.setenv("KUBECONFIG", served.kubeconfig(tmp_path / "config"))
        monkeypatch.setattr(program, "_now", lambda: NOW)
        monkeypatch.delenv("NO_COLOR", raising=False)
        yield served


@pytest.fixture
def run(stub, capsys) -> Callable[..., Ran]:
    def runs(*arguments: str) -> Ran:
        try:
            code = program.main(arguments)
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return Ran(int(code), said.out, said.err)

    return runs
