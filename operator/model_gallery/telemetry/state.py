"""The state of Models, Galleries and backends as metrics: computed when it changes, told when asked.

One value object for each object of ours, so that its series vanish with it and a scrape of 10,000 Models
parses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

__all__ = ["FAMILIES", "Family", "State", "Value", "conditions"]

_STATUSES = ("True", "False", "Unknown")


@dataclass(frozen=True, slots=True)
class Value:
    """One sample: the metric's short name, the labels beside namespace and name, and the value."""

    metric: str
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        name: as it is scraped.
        labels: all of them, in order.
    """

    name: str
    help: str
    labels: tuple[str, ...]


_OBJECT = ("namespace", "name")
_GALLERY = ("namespace", "gallery")
FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            "model_gallery_model_info",
            "1 for each Model, with what it is: gallery, format, architecture and quantisation of its"
            " weights (empty where unknown), revision.",
            (*_OBJECT, "gallery", "format", "architecture", "quantisation", "revision"),
        ),
        Family(
            "model_gallery_model_condition",
            "1 for the status that a condition of a Model has, 0 for the two others.",
            (*_OBJECT, "type", "status"),
        ),
        Family("model_gallery_model_size_bytes", "Bytes of all published files.", _OBJECT),
        Family("model_gallery_model_files", "Published files.", _OBJECT),
        Family(
            "model_gallery_model_installed_timestamp_seconds",
            "When the present files were published.",
            _OBJECT,
        ),
        Family(
            "model_gallery_model_checked_timestamp_seconds",
            "When all published bytes were last read and found whole.",
            _OBJECT,
        ),
        Family(
            "model_gallery_model_verify_period_seconds",
            "How often all published bytes shall be read; none where that is never by itself.",
            _OBJECT,
        ),
        Family(
            "model_gallery_model_damaged_files",
            "Files found missing or changed and not mended yet.",
            _OBJECT,
        ),
        Family(
            "model_gallery_model_update_available",
            "1 where the source of a pinned Model holds something newer.",
            _OBJECT,
        ),
        Family(
            "model_gallery_model_attempts",
            "Failed attempts in a row for the present plan.",
            _OBJECT,
        ),
        Family(
            "model_gallery_model_download_progress_ratio",
            "Share of the bytes of a running transfer that are on the volume, 0 to 1.",
            _OBJECT,
        ),
        Family(
            "model_gallery_model_serving_pods",
            "Pods in which a Model has a state (Loaded, Busy, Loading, Error, Unknown).",
            (*_OBJECT, "state"),
        ),
        Family(
            "model_gallery_model_memory_bytes",
            "RAM that a Model takes over all its pods, where it is known.",
            _OBJECT,
        ),
        Family(
            "model_gallery_model_vram_bytes",
            "Accelerator memory that a Model takes over all its pods, where it is known.",
            _OBJECT,
        ),
        Family(
            "model_gallery_model_cpu_cores",
            "CPU of the pods that hold a Model, in cores, where it is known.",
            _OBJECT,
        ),
        Family(
            "model_gallery_model_requests",
            "Requests that a Model works on (running) and that wait for it (waiting).",
            (*_OBJECT, "phase"),
        ),
        Family(
            "model_gallery_model_last_used_timestamp_seconds",
            "When a Model was last seen to work.",
            _OBJECT,
        ),
        Family(
            "model_gallery_gallery_condition",
            "1 for the status that a condition of a Gallery has, 0 for the two others.",
            (*_GALLERY, "type", "status"),
        ),
        Family("model_gallery_gallery_entries", "Entries of the index in use.", _GALLERY),
        Family(
            "model_gallery_gallery_problem_entries", "Entries that cannot be installed.", _GALLERY
        ),
        Family(
            "model_gallery_gallery_last_refresh_timestamp_seconds",
            "When the index in use was first fetched with this content.",
            _GALLERY,
        ),
        Family(
            "model_gallery_gallery_index_stale",
            "1 where the last good copy of the index is in use because its source fails, else 0.",
            _GALLERY,
        ),
        Family(
            "model_gallery_gallery_models",
            "Names in the listing, by kind: Configured or Loose.",
            (*_GALLERY, "kind"),
        ),
        Family("model_gallery_volume_capacity_bytes", "Capacity of the Gallery's claim.", _GALLERY),
        Family(
            "model_gallery_volume_available_bytes",
            "What may still be written to the volume, at the last scan.",
            _GALLERY,
        ),
        Family(
            "model_gallery_volume_managed_bytes",
            "Bytes in files of Models, shared ones counted once, at the last scan.",
            _GALLERY,
        ),
        Family(
            "model_gallery_volume_loose_bytes",
            "Bytes in files that no Model owns, at the last scan.",
            _GALLERY,
        ),
        Family(
            "model_gallery_volume_reclaimable_bytes",
            "Bytes of ours that nobody needs, at the last scan.",
            _GALLERY,
        ),
        Family(
            "model_gallery_volume_scanned_timestamp_seconds",
            "When the volume was last looked at.",
            _GALLERY,
        ),
        Family(
            "model_gallery_backend_pods",
            "Pods of a backend, by phase: running, ready, busy.",
            (*_GALLERY, "backend", "phase"),
        ),
        Family(
            "model_gallery_backend_loaded_models",
            "Models in memory over all pods of a backend.",
            (*_GALLERY, "backend"),
        ),
    )
}

_Key = tuple[str, str, str]


@dataclass(slots=True, eq=False)
class State(Collector):
    """The newest values of each object.

    Attributes:
        moving: asked at each scrape for values that change without a write: (namespace, name, values).
    """

    moving: Callable[[], Iterable[tuple[str, str, tuple[Value, ...]]]] = field(default=lambda: ())
    _values: dict[_Key, tuple[Value, ...]] = field(default_factory=dict)

    def put(self, kind: str, namespace: str, name: str, values: Iterable[Value]) -> None:
        """Replaces the values of an object."""
        self._values[kind, namespace, name] = tuple(values)

    def drop(self, kind: str, namespace: str, name: str) -> None:
        """Forgets an object that is gone."""
        self._values.pop((kind, namespace, name), None)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Returns the metrics without values, as the registry asks for them once."""
        return (_empty(family) for family in FAMILIES.values())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Returns all values."""
        found = {name: _empty(family) for name, family in FAMILIES.items()}
        everything = [
            *((namespace, name, values) for (_, namespace, name), values in self._values.items()),
            *self.moving(),
        ]
        for namespace, name, values in everything:
            for value in values:
                found[value.metric].add_metric((namespace, name, *value.labels), value.value)
        return iter(found.values())


def _empty(family: Family) -> GaugeMetricFamily:
    return GaugeMetricFamily(family.name, family.help, labels=family.labels)


def conditions(metric: str, found: Iterable[tuple[str, str]]) -> list[Value]:
    """Returns the values of conditions, each a (type, status) pair."""
    return [
        Value(metric, (type_, status), float(status == current))
        for type_, current in found
        for status in _STATUSES
    ]
