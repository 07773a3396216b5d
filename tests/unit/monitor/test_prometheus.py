"""Sums are of all series of a name; a text of any kind costs its length and never more."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_gallery.monitor import prometheus

VLLM = b"""# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 1.0
vllm:num_requests_running{engine="1",model_name="tiny"} 2.0
vllm:num_requests_running{engine="0",model_name="other"} 4.0
vllm:num_requests_running_total 99
plain 5 1700000000000
"""
NAME = "vllm:num_requests_running"


@pytest.mark.parametrize(
    ("name", "labels", "total"),
    [
        (NAME, {}, 7.0),
        (NAME, {"model_name": "tiny"}, 3.0),
        (NAME, {"model_name": "tiny", "engine": "1"}, 2.0),
        (NAME, {"model_name": "none"}, None),
        ("plain", {}, 5.0),
        ("absent", {}, None),
    ],
)
def test_sums(name: str, labels: dict[str, str], total: float | None) -> None:
    samples = prometheus.parse(VLLM, {NAME, "plain", "absent"})

    assert samples.total(name, **labels) == total


def test_values_of_a_label() -> None:
    assert prometheus.parse(VLLM, {NAME}).values(NAME, "model_name") == ("tiny", "other")
    assert prometheus.parse(VLLM, {NAME}).values(NAME, "absent") == ()


def test_names_that_nobody_wants_are_not_kept() -> None:
    assert len(prometheus.parse(VLLM, {"plain"}).lines) == 1


@pytest.mark.parametrize(
    ("line", "labels", "value"),
    [
        (b'a{b="c"} 1', {"b": "c"}, 1),
        (b'a { b = "c" , d="" , } 1e3 17', {"b": "c", "d": ""}, 1000),
        (rb'a{b="q\"}\\ \n,x=\"y"} 2', {"b": 'q"}\\ \n,x="y'}, 2),
        (b"a\t-3\r", {}, -3),
        (b"a{} 0", {}, 0),
        ('a{b="é"} 4'.encode(), {"b": "é"}, 4),
    ],
)
def test_lines(line: bytes, labels: dict[str, str], value: float) -> None:
    (sample,) = prometheus.parse(b"x 1\n" + line + b"\ny 2\n", {"a"}).lines

    assert (sample.labels, sample.value) == (labels, value)


@pytest.mark.parametrize(
    "line",
    [
        b"a",
        b"a NaN",
        b"a +Inf",
        b"a 1e999",
        b"a 1_000",
        b"a 0x10",
        b"a 1.2.3",
        b'a{b="c} 1',
        b'a{b="c" 1',
        b"<html>",
        b"# a 1",
        b"\xff\xff 1",
        b" a 1",
    ],
)
def test_lines_that_are_none(line: bytes) -> None:
    samples = prometheus.parse(line, {"a"})

    assert samples.total("a") is None


def test_a_sum_that_is_too_large_is_unknown() -> None:
    assert prometheus.parse(b"a 1e308\na 1e308\n", {"a"}).total("a") is None


def test_a_part_of_too_many_samples_is_no_sum() -> None:
    assert prometheus.parse(b"a 1\n" * 10_000, {"a"}).total("a") == 10_000
    assert prometheus.parse(b"a 1\n" * 10_001, {"a"}).total("a") is None


@pytest.mark.parametrize(
    "body",
    [
        b'a{b="' + b"\\" * 1_000_000,
        b"a{" + b'b="c",' * 150_000 + b"} 1",
        b"a{" + b'"' * 1_000_000,
        b"a " + b"1" * 1_000_000,
        b"a" * 1_000_000,
        b"a{" * 500_000,
        b"a" + b" " * 1_000_000 + b"x",
    ],
    ids=["backslashes", "labels", "quotes", "digits", "name", "braces", "spaces"],
)
def test_no_line_costs_more_than_its_length(body: bytes) -> None:
    began = time.perf_counter()

    prometheus.parse(body, {"a"})

    assert time.perf_counter() - began < 2.0


@settings(max_examples=100, deadline=None)
@given(st.binary() | st.text(alphabet='a{}="\\,1 \n#').map(str.encode))
def test_any_bytes_are_read(body: bytes) -> None:
    total = prometheus.parse(body, {"a", ""}).total("a")

    assert total is None or isinstance(total, float)
