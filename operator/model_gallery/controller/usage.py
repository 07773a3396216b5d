"""What pods cost, as the metrics API of the cluster tells it, where it is served."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from model_gallery.errors import GalleryError
from model_gallery.reconcile import sizes
from model_gallery.runtime.client import ApiClient, Refused
from model_gallery.runtime.resources import POD_METRICS

__all__ = ["Usage", "parse"]

_LOG = logging.getLogger(__name__)
_ABSENT_SECONDS = 300.0
_MILLI = 1000
_NANO = 1_000_000
_MICRO = 1000
_NOT_SERVED = frozenset({403, 404})


@dataclass(slots=True)
class Usage:
    """Reads the metrics API; where it is not served, asks again now and then only."""

    client: ApiClient
    _absent_until: float = 0.0

    async def of(self, namespace: str) -> dict[str, tuple[int, int]]:
        """Returns CPU (thousandths of a core) and memory (bytes) by pod; empty where nobody tells."""
        now = asyncio.get_running_loop().time()
        if now < self._absent_until:
            return {}
        try:
            found = await self.client.list(POD_METRICS, namespace)
        except GalleryError as error:
            if isinstance(error, Refused) and error.code in _NOT_SERVED:
                self._absent_until = now + _ABSENT_SECONDS
            _LOG.debug("Lost the metrics of pods", extra={"namespace": namespace})
            return {}
        read = {item["metadata"]["name"]: parse(item) for item in found}
        return {name: cost for name, cost in read.items() if cost is not None}


def parse(item: dict[str, Any]) -> tuple[int, int] | None:
    """Returns CPU and memory of all containers of a PodMetrics object; None where it cannot be read."""
    usage = [container.get("usage") or {} for container in item.get("containers") or ()]
    try:
        cpu = round(sum(_milli(str(part.get("cpu", "0"))) for part in usage))
        memory = [sizes.from_quantity(str(part.get("memory", "0"))) for part in usage]
    except (ValueError, OverflowError):
        return None
    known = [size for size in memory if size is not None]
    return (cpu, sum(known)) if len(known) == len(memory) else None


def _milli(text: str) -> float:
    for suffix, divisor in (("n", _NANO), ("u", _MICRO)):
        if text.endswith(suffix):
            return float(text[:-1]) / divisor
    if text.endswith("m"):
        return float(text[:-1])
    return float(text) * _MILLI
