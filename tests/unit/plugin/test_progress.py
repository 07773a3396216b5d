"""Bars on a terminal, lines elsewhere."""

from __future__ import annotations

import io

import pytest

from model_gallery.plugin import progress
from support.asread import READY, WORKING, model

MIDWAY = model(
    "a",
    WORKING,
    status={
        "progress": {
            "completedBytes": 1 << 20,
            "totalBytes": 4 << 20,
            "bytesPerSecond": 1 << 20,
            "etaSeconds": 3,
        }
    },
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO) -> str:
    with progress.display(["a"], stream) as display:
        for found in (None, MIDWAY, MIDWAY, model("a", READY, status={"sizeBytes": 4 << 20})):
            display.show("a", found)
    return stream.getvalue()


@pytest.mark.parametrize("colours", [True, False])
def test_bars_are_for_terminals_with_colours(monkeypatch, colours: bool) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "" if colours else "1")

    text = shown(Terminal())

    assert ("\x1b[" in text) is colours
    assert ("━" in text) is colours


def test_lines_say_each_change_once() -> None:
    assert shown(io.StringIO()).splitlines() == [
        "a: it is not there",
        "a: Progressing, 1.0 MiB of 4.0 MiB (25%), 1.0 MiB/s",
        "a: ready",
    ]


@pytest.mark.parametrize(
    ("found", "amounts"),
    [
        (None, (0, None)),
        (model("a", WORKING), (0, None)),
        (MIDWAY, (1 << 20, 4 << 20)),
        (model("a", READY, status={"sizeBytes": 5}), (5, 5)),
    ],
)
def test_amounts(found, amounts) -> None:
    assert progress.amounts(found) == amounts
