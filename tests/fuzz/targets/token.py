"""Answers of token services, and what registries ask for."""

from __future__ import annotations

import json

from fuzz.targets.guard import allowed
from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.sources import challenge
from model_gallery.sources.registry import Registry
from model_gallery.transport.client import Fetched, HttpClient
from model_gallery.transport.credentials import Credentials

_URL = "https://example.org/o/r"
_ASKED = 'Bearer realm="https://example.org/token?x=1",service="r",scope="a,b", Basic realm="x"'
SEEDS = (
    _ASKED.encode(),
    b'Bearer realm="http://[",service=x',
    b'Bearer realm="https://example.org:port/"',
    b"Negotiate YWJj==, Basic",
    json.dumps({"token": "abc", "expires_in": 300}).encode(),
    json.dumps({"access_token": "abc", "expires_in": -(10**400)}).encode(),
)


class _Client(HttpClient):
    """Answers every request with the same bytes."""

    body = b""

    def fetch(self, url: str, **_given: object) -> Fetched:  # type: ignore[override]
        return Fetched(self.body, None, None, url)


def one(data: bytes) -> None:
    """The bytes as a challenge, and as the token that is got by a good one."""
    header = data.decode("latin-1")
    challenge.parse(header)
    for asked, body in ((header, b'{"token": "t"}'), (_ASKED, data)):
        client = _Client(NetworkPolicy())
        client.body = body
        access = Registry(client, Credentials(), _URL)._access
        with allowed():
            access.answer(asked)
            for value in access(_URL).values():
                assert value.isascii()
                assert value.isprintable()
