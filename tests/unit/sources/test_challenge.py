"""WWW-Authenticate: what servers send, and what they must not be able to make of us."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_gallery.sources.challenge import Challenge, parse


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", []),
        ("Basic", [Challenge("basic")]),
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://auth.example/token",service="reg",scope="repository:a:pull"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://auth.example/token",
                        "service": "reg",
                        "scope": "repository:a:pull",
                    },
                )
            ],
        ),
        (
            'BEARER Realm = "https://a/t?x=1,2" , Service=plain',
            [Challenge("bearer", {"realm": "https://a/t?x=1,2", "service": "plain"})],
        ),
        (
            'Basic realm="a, Bearer realm=b", Bearer realm="https://c"',
            [
                Challenge("basic", {"realm": "a, Bearer realm=b"}),
                Challenge("bearer", {"realm": "https://c"}),
            ],
        ),
        (r'Basic realm="say \"hi\""', [Challenge("basic", {"realm": 'say "hi"'})]),
        ('Bearer realm="open', [Challenge("bearer")]),
        (
            'Negotiate YII==, Bearer realm="x"',
            [Challenge("negotiate"), Challenge("bearer", {"realm": "x"})],
        ),
    ],
)
def test_headers(header: str, found: list[Challenge]) -> None:
    assert parse(header) == found


@given(st.text(alphabet='Basic=",\\ \t\nBearer', max_size=200))
def test_any_text_ends(header: str) -> None:
    assert all(one.scheme == one.scheme.lower() for one in parse(header))


def test_a_long_header_ends_quickly() -> None:
    assert parse('Bearer realm="' + "\\" * 1_000_000) == [Challenge("bearer")]
