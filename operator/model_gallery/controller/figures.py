"""From objects to the values of their metrics. Absent facts have no series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from model_gallery.api.conditions import Reason
from model_gallery.reconcile import times
from model_gallery.telemetry.state import Value, conditions

__all__ = ["of_gallery", "of_model"]

Body = dict[str, Any]
_MODEL = "model_gallery_model_"
_GALLERY = "model_gallery_gallery_"
_VOLUME = "model_gallery_volume_"
_BACKEND = "model_gallery_backend_"
_MILLI = 1000


def of_model(body: Body) -> list[Value]:
    """Returns the values of a Model."""
    status = body.get("status") or {}
    facts, resolved = status.get("model") or {}, status.get("resolved") or {}
    told = (
        str((body.get("spec") or {}).get("galleryName", "")),
        facts.get("format", ""),
        facts.get("architecture") or "",
        facts.get("quantisation") or "",
        resolved.get("revision", ""),
    )
    return [
        Value(f"{_MODEL}info", told, 1.0),
        *conditions(f"{_MODEL}condition", _conditions(status)),
        *_numbers(
            _MODEL,
            size_bytes=status.get("sizeBytes"),
            files=status.get("filesTotal"),
            installed_timestamp_seconds=_seconds(status.get("installedTime")),
            checked_timestamp_seconds=_seconds(status.get("checkedTime")),
            verify_period_seconds=_verify_period(body.get("spec") or {}),
            damaged_files=(status.get("damage") or {}).get("total", 0),
            update_available=int("updateAvailable" in status),
            attempts=status.get("attempts", 0),
        ),
        *_serving(status.get("serving") or {}),
    ]


def _verify_period(spec: Body) -> float | None:
    period = float(spec.get("verifyPeriodSeconds", 0))
    # A suspended Model is not read, so it is not late either.
    return None if not period or spec.get("suspend") else period


def _serving(serving: Body) -> Iterator[Value]:
    pods = serving.get("pods") or []
    for state in sorted({pod["state"] for pod in pods}):
        count = sum(1 for pod in pods if pod["state"] == state)
        yield Value(f"{_MODEL}serving_pods", (state,), count)
    for phase in ("running", "waiting"):
        known = [pod[phase] for pod in pods if phase in pod]
        if known:
            yield Value(f"{_MODEL}requests", (phase,), sum(known))
    milli = serving.get("cpuMilli")
    yield from _numbers(
        _MODEL,
        memory_bytes=serving.get("memoryBytes"),
        vram_bytes=serving.get("vramBytes"),
        cpu_cores=None if milli is None else milli / _MILLI,
        last_used_timestamp_seconds=_seconds(serving.get("lastUsedTime")),
    )


def of_gallery(body: Body) -> list[Value]:
    """Returns the values of a Gallery and of its volume."""
    status = body.get("status") or {}
    index, storage = status.get("index") or {}, status.get("storage") or {}
    listing = status.get("listing") or {}
    values = [
        *conditions(f"{_GALLERY}condition", _conditions(status)),
        *_numbers(
            _GALLERY,
            entries=index.get("entries"),
            problem_entries=index.get("problemsTotal", 0) if index else None,
            last_refresh_timestamp_seconds=_seconds(index.get("fetchedTime")),
            index_stale=_stale(status) if index else None,
        ),
        *_numbers(
            _VOLUME,
            capacity_bytes=storage.get("capacityBytes"),
            available_bytes=storage.get("availableBytes"),
            managed_bytes=storage.get("managedBytes"),
            loose_bytes=storage.get("looseBytes"),
            reclaimable_bytes=storage.get("reclaimableBytes"),
            scanned_timestamp_seconds=_seconds(storage.get("scannedTime")),
        ),
    ]
    if listing:
        values += [
            Value(f"{_GALLERY}models", ("Configured",), listing["configured"]),
            Value(f"{_GALLERY}models", ("Loose",), listing["loose"]),
        ]
    for backend in status.get("backends") or ():
        name = backend["name"]
        for phase, key in (("running", "pods"), ("ready", "ready"), ("busy", "busy")):
            values.append(Value(f"{_BACKEND}pods", (name, phase), backend.get(key, 0)))
        values.append(Value(f"{_BACKEND}loaded_models", (name,), backend.get("loaded", 0)))
    return values


def _stale(status: Body) -> float:
    reasons = {entry.get("reason") for entry in status.get("conditions") or ()}
    return float(Reason.LAST_GOOD_COPY in reasons)


def _conditions(status: Body) -> Iterable[tuple[str, str]]:
    return [
        (condition["type"], condition["status"]) for condition in status.get("conditions") or ()
    ]


def _numbers(prefix: str, **numbers: float | None) -> list[Value]:
    return [
        Value(prefix + name, (), float(number))
        for name, number in numbers.items()
        if number is not None
    ]


def _seconds(text: str | None) -> float | None:
    return times.from_text(text).timestamp() if text else None
