"""Runs the worker with a second in the place of its five minutes: `python -m support.hasty worker`."""

from __future__ import annotations

import sys

from model_gallery import cli
from model_gallery.worker import engine

assert engine._STALL_SECONDS > 1.0
engine._STALL_SECONDS = 1.0

if __name__ == "__main__":
    sys.exit(cli.main())
