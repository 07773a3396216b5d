"""Reads the few series that matter out of an exposition of Prometheus.

The library's own parser takes time that grows with the square of a hostile line, and would take it on the
loop that watches the cluster. This one looks at wanted names only, each byte once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from model_gallery.monitor import reading

__all__ = ["Sample", "Samples", "parse"]

_MAX_SAMPLES = 10_000
_LINE = re.compile(
    r"([a-zA-Z_:][a-zA-Z0-9_:]*+)[ \t]*+"
    r'(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*+")*+)\})?+'
    r"[ \t]*+([-+.0-9eE]++)(?:[ \t]|$)"
)
_LABEL = re.compile(r'[ \t,]*+([a-zA-Z_][a-zA-Z0-9_]*+)[ \t]*+=[ \t]*+"((?:[^"\\]|\\.)*+)"')
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*+")
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One line. Its value is finite."""

    name: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Samples:
    """The lines of the wanted names, in their order."""

    lines: tuple[Sample, ...] = ()

    def total(self, name: str, **labels: str) -> float | None:
        """Returns the sum over all series of a name that bear the labels; None where there are none."""
        return reading.added(*(line.value for line in self._of(name, labels)))

    def values(self, name: str, label: str) -> tuple[str, ...]:
        """Returns what a label is in the series of a name, each once."""
        found = (line.labels.get(label, "") for line in self._of(name, {}))
        return tuple(dict.fromkeys(value for value in found if value))

    def _of(self, name: str, labels: dict[str, str]) -> Iterator[Sample]:
        for line in self.lines:
            if line.name == name and labels.items() <= line.labels.items():
                yield line


def parse(body: bytes, names: Collection[str]) -> Samples:
    """Returns the samples of the names; lines that are none are passed over.

    Of a text with more samples than any real backend has, nothing is returned: a part of a sum is wrong.
    """
    found = []
    for line in body.decode(errors="replace").split("\n"):
        start = _NAME.match(line)
        if start is None or start[0] not in names:
            continue
        sample = _sample(line.rstrip("\r"))
        if sample is not None:
            found.append(sample)
        if len(found) > _MAX_SAMPLES:
            return Samples()
    return Samples(tuple(found))


def _sample(line: str) -> Sample | None:
    match = _LINE.match(line)
    if match is None:
        return None
    try:
        value = float(match[3])
    except ValueError:
        return None
    labels = {key: _unescaped(text) for key, text in _LABEL.findall(match[2] or "")}
    return Sample(match[1], labels, value) if math.isfinite(value) else None


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda match: _ESCAPES.get(match[1], match[1]), text)
