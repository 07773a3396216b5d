"""Runs the worker on a clock that jumps at every other look: `python -m support.jumpy worker`.

The time of day alone: the kernel's monotonic clock does not jump.
"""

from __future__ import annotations

import itertools
import os
import sys
import time

from model_gallery import cli

_SHIFT = float(os.environ["JUMP_SECONDS"])
_turn = itertools.cycle((0.0, _SHIFT))
_time = time.time

time.time = lambda: _time() + next(_turn)

if __name__ == "__main__":
    sys.exit(cli.main())
