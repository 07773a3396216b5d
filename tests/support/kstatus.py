"""What kstatus says of an object: the table that Flux, Helm 4 and kpt wait by, in its order."""

from __future__ import annotations

from typing import Any

TERMINATING = "Terminating"
IN_PROGRESS = "InProgress"
FAILED = "Failed"
CURRENT = "Current"


def verdict(body: dict[str, Any]) -> str:
    """Returns kstatus' word on a custom resource."""
    metadata, status = body.get("metadata") or {}, body.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return TERMINATING
    observed = status.get("observedGeneration")
    if observed is not None and observed != metadata.get("generation"):
        return IN_PROGRESS
    states = {c["type"]: c["status"] for c in status.get("conditions") or []}
    if states.get("Reconciling") == "True":
        return IN_PROGRESS
    if states.get("Stalled") == "True":
        return FAILED
    if "Ready" in states:
        return CURRENT if states["Ready"] == "True" else IN_PROGRESS
    return CURRENT
