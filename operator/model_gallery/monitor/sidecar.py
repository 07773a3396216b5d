"""Asks the sidecar of a pod what its processes use."""

from __future__ import annotations

from model_gallery.monitor.asking import Asker, Route
from model_gallery.protocol.usage import UsageReport, parse

__all__ = ["usage"]

_USAGE = Route("GET", "/usage")


async def usage(asker: Asker) -> UsageReport | None:
    """Returns its report; None where it is silent or tells nothing that can be read."""
    answer = await asker.try_ask(_USAGE)
    return None if answer is None else parse(answer.body)
