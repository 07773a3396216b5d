"""Expositions of Prometheus that backends serve."""

from __future__ import annotations

import math

from model_gallery.monitor import prometheus

_NAMES = {"vllm:num_requests_running", "api_call_count", "a"}
SEEDS = (
    b'# HELP a b\n# TYPE a counter\na{x="1",y="\\"\\\\\\n"} 3 1700000000\na 4\n',
    b'api_call_count{path="/v1/x"} 1e3\n',
    b'vllm:num_requests_running{model_name="m"} NaN\na{x="' + b"\\" * 400 + b" 1\r\n",
    b"a " + b"9" * 400 + b"\na{" + b",".join([b'x="1"'] * 50) + b"} +Inf\n",
)


def one(data: bytes) -> None:
    """Finite values, whatever is sent."""
    found = prometheus.parse(data, _NAMES)
    assert all(math.isfinite(line.value) and line.name in _NAMES for line in found.lines)
    for name in _NAMES:
        total = found.total(name, x="1")
        assert total is None or math.isfinite(total)
