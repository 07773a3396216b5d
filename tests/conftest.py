"""Fixtures for all suites."""

from support.cluster import control_plane, full_cluster

__all__ = ["control_plane", "full_cluster"]
