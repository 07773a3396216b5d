"""Runs the worker where a MiB takes an eighth of a second to hash: `python -m support.slowhash worker`."""

from __future__ import annotations

import sys
import time

from model_gallery import cli
from model_gallery.artifact.digest import Sha256

_SECONDS_PER_BYTE = 0.125 / (1 << 20)
_update = Sha256.update


def _slowly(self: Sha256, data: memoryview) -> None:
    time.sleep(len(data) * _SECONDS_PER_BYTE)
    _update(self, data)


Sha256.update = _slowly  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(cli.main())
