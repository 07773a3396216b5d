"""Servers and clients for the sources' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from model_gallery.protocol.operation import NetworkPolicy
from model_gallery.transport.client import HttpClient
from model_gallery.transport.credentials import Credentials
from support.scripted import SECRET, Scripted, serve


@pytest.fixture
def server() -> Iterator[Scripted]:
    with serve() as script:
        yield script


@pytest.fixture
def elsewhere() -> Iterator[Scripted]:
    """Another origin: a store behind a redirect, or somebody else's server."""
    with serve() as script:
        yield script


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(NetworkPolicy(allowed_networks=("127.0.0.0/8",)))


@pytest.fixture
def credentials() -> Credentials:
    return Credentials(True, frozenset({"127.0.0.1"}), {"token": SECRET})
