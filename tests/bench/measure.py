"""Runs one program and writes what it cost: `measure.py RESULT PROGRAM [ARGUMENT ...]`.

A process of its own, and a small one: Linux counts the memory of the process that forks into the peak of
the program that is then executed, so a large parent would be measured instead of the client.
"""

import os
import sys
import time

began = time.perf_counter()
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
seconds = time.perf_counter() - began
with open(sys.argv[1], "w") as result:  # noqa: PTH123 - pathlib alone is 4 MiB
    numbers = (
        os.waitstatus_to_exitcode(status),
        seconds,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss,
    )
    result.write(" ".join(map(str, numbers)))
