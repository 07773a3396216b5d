"""Runs one target for as long as wanted, guided by coverage: `python tests/fuzz/run.py TARGET [...]`.

For people, not for CI: README.md says what to install first. What it finds becomes a seed of the target and
a test of the room.
"""

from __future__ import annotations

import importlib
import logging
import sys
import tempfile
from pathlib import Path

import atheris

HERE = Path(__file__).parent


def main() -> int:
    targets = sorted(path.stem for path in (HERE / "targets").glob("*.py") if path.stem != "guard")
    if len(sys.argv) < 2 or sys.argv[1] not in targets:
        print(f"usage: run.py TARGET [libFuzzer options]\ntargets: {' '.join(targets)}")
        return 2
    name = sys.argv.pop(1)
    sys.path[:0] = [str(HERE.parents[1] / "operator"), str(HERE.parent)]
    logging.disable()
    with atheris.instrument_imports(include=["model_gallery"]):
        target = importlib.import_module(f"fuzz.targets.{name}")
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.SEEDS):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.Setup([*sys.argv, corpus], target.one)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
