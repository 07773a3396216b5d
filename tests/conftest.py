"""Fixtures for all suites."""

import asyncio

import pytest

from support.backends import backends
from support.cluster import control_plane, full_cluster

__all__ = ["backends", "control_plane", "full_cluster"]


@pytest.fixture(autouse=True)
def no_loop_by_accident():
    """Looptime asks synchronous tests for their loop, and asyncio would make one that nobody closes."""
    policy = asyncio.get_event_loop_policy()
    if getattr(getattr(policy, "_local", None), "_loop", None) is None:
        policy.set_event_loop(None)
