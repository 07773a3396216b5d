"""How a wait shows itself on stderr: bars on a terminal, else a line whenever something changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from model_gallery.plugin import facts
from model_gallery.plugin.facts import Verdict
from model_gallery.plugin.tables import duration
from model_gallery.reconcile import sizes

__all__ = ["Display", "display"]

Object = Mapping[str, Any]


class Display(Protocol):
    """Shows how Models get on."""

    def show(self, name: str, found: Object | None) -> None:
        """Shows the present state of a Model; None where it is not there."""
        ...


@contextmanager
def display(names: Sequence[str], stream: TextIO | None = None) -> Iterator[Display]:
    """Yields bars on a terminal that may have colours, else lines."""
    stream = stream or sys.stderr
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        yield _Lines(stream)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(file=stream)) as bars:
        yield _Bars(bars, {name: bars.add_task(name, total=None, text="") for name in names})


class _Lines:
    """One line for each change."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: dict[str, str] = {}

    def show(self, name: str, found: Object | None) -> None:
        line = f"{name}: {_headline(found)}"
        transfer = facts.progress_text(found) if found else ""
        if transfer:
            line += f", {transfer}"
        if self._last.get(name) != line:
            self._last[name] = line
            self._stream.write(line + "\n")
            self._stream.flush()


class _Bars:
    """One bar for each Model."""

    def __init__(self, bars: Progress, tasks: Mapping[str, TaskID]) -> None:
        self._bars = bars
        self._tasks = tasks

    def show(self, name: str, found: Object | None) -> None:
        completed, total = amounts(found)
        text = f"{_headline(found)} {_pace(found)}".rstrip()
        self._bars.update(self._tasks[name], completed=completed, total=total, text=text)


def amounts(found: Object | None) -> tuple[int, int | None]:
    """Returns the bytes that a Model has, and shall have; None while that is not known."""
    status = facts.status_of(found) if found else {}
    progress = status.get("progress")
    if progress:
        return progress.get("completedBytes", 0), progress.get("totalBytes")
    if found is not None and facts.verdict(found)[0] is Verdict.READY:
        size = status.get("sizeBytes") or 0
        return size, size
    return 0, None


def _headline(found: Object | None) -> str:
    return facts.verdict(found)[1]


def _pace(found: Object | None) -> str:
    progress = (facts.status_of(found) if found else {}).get("progress") or {}
    rate, left = progress.get("bytesPerSecond"), progress.get("etaSeconds")
    shown = [f"{sizes.to_text(rate)}/s"] if rate else []
    if left is not None:
        shown.append(f"{duration(left)} left")
    return ", ".join(shown)
