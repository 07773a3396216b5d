"""`describe`: all that is known of one Model, for a person who asks why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from model_gallery.api import labels
from model_gallery.plugin import facts, tables
from model_gallery.plugin.commands.listing import source_text
from model_gallery.plugin.problem import Exit, Forbidden
from model_gallery.plugin.session import Session
from model_gallery.plugin.tables import Table
from model_gallery.reconcile import sizes

__all__ = ["run", "text"]

Object = Mapping[str, Any]

_INDENT = "  "
_MAX_EVENTS = 20


def run(session: Session, name: str) -> int:
    """Prints a Model with its events."""
    found = session.cluster.get(labels.MODEL, session.namespace, name)
    if not session.output.for_people:
        session.output.one(found)
        return Exit.DONE
    try:
        events: Sequence[Object] | None = session.cluster.events(
            session.namespace, found["metadata"]["uid"]
        )
    except Forbidden:
        events = None
    session.output.text(text(found, events, session.now()))
    return Exit.DONE


def text(found: Object, events: Sequence[Object] | None, now: datetime) -> str:
    """Returns the description.

    Args:
        events: None where the user may not read them.
    """
    sections = (
        _pairs(_head(found, now)),
        _section("Conditions", _conditions(found, now)),
        _section("Transfer", _transfer(found)),
        _section("Plan", _plan(found)),
        _section("Damage", _damage(found)),
        _section("Files", _files(found)),
        _section("Model", _pairs(_weights(found))),
        _section("Serving", _serving(found)),
        _section("Last failure", _failure(found)),
        _section("Events", _events(events, now), empty="none"),
    )
    return "\n".join(section for section in sections if section)


def _head(found: Object, now: datetime) -> Iterable[tuple[str, Any]]:
    meta, spec, status = found["metadata"], facts.spec_of(found), facts.status_of(found)
    resolved, storage = status.get("resolved") or {}, status.get("storage") or {}
    place = storage.get("claimName", "")
    if storage.get("subPath"):
        place += f"/{storage['subPath']}"
    return (
        ("Name", meta["name"]),
        ("Namespace", meta["namespace"]),
        ("Age", tables.age(facts.created(found), now)),
        ("Gallery", spec.get("galleryName")),
        ("Served name", status.get("servedName") or spec.get("servedName")),
        ("Source", source_text(found)),
        ("Revision", resolved.get("revision")),
        ("Digest", resolved.get("digest")),
        ("Claim", place),
        ("Size", facts.size_text(found)),
        ("Installed", status.get("installedTime")),
        ("Verified", status.get("verifiedTime")),
        ("Checked", status.get("checkedTime")),
        ("Update", (status.get("updateAvailable") or {}).get("revision")),
        ("Made room for", (status.get("eviction") or {}).get("madeRoomFor")),
        ("Deletion policy", spec.get("deletionPolicy")),
        ("Suspended", "yes" if spec.get("suspend") else None),
    )


def _conditions(found: Object, now: datetime) -> str:
    rows = [
        (
            str(entry.get("type", "")),
            str(entry.get("status", "")),
            str(entry.get("reason", "")),
            tables.age(facts.moment(entry.get("lastTransitionTime")), now),
            str(entry.get("message", "")),
        )
        for entry in facts.status_of(found).get("conditions") or ()
    ]
    return _table(("TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"), rows)


def _transfer(found: Object) -> str:
    progress = facts.status_of(found).get("progress") or {}
    left = progress.get("etaSeconds")
    return _pairs(
        (
            ("Progress", facts.progress_text(found)),
            ("File", progress.get("file")),
            ("Time left", None if left is None else tables.duration(left)),
            ("Next try", facts.status_of(found).get("nextRetryTime")),
        )
    )


def _plan(found: Object) -> str:
    plan = facts.status_of(found).get("plan") or {}
    if not plan:
        return ""
    head = _pairs(
        (
            ("Revision", plan.get("revision")),
            ("Files", plan.get("filesTotal")),
            ("Size", sizes.to_text(plan.get("sizeBytes") or 0)),
            ("To fetch", sizes.to_text(plan.get("fetchBytes") or 0)),
            ("License", plan.get("license")),
        )
    )
    return "\n".join(part for part in (head, _listed(plan.get("files") or ())) if part)


def _damage(found: Object) -> str:
    damage = facts.status_of(found).get("damage") or {}
    rows = [
        (str(item.get("path", "")), str(item.get("problem", "")))
        for item in damage.get("problems") or ()
    ]
    return _table(("PATH", "PROBLEM"), rows)


def _files(found: Object) -> str:
    status = facts.status_of(found)
    files = status.get("files") or ()
    shown = _listed(files)
    omitted = (status.get("filesTotal") or 0) - len(files)
    return f"{shown}\n({omitted} more)" if shown and omitted > 0 else shown


def _listed(files: Sequence[Object]) -> str:
    """Files of a status; of a planned one the size may be unknown."""
    rows = [
        (
            str(file.get("path", "")),
            "" if file.get("sizeBytes") is None else sizes.to_text(file["sizeBytes"]),
            str(file.get("sha256", "")),
        )
        for file in files
    ]
    return _table(("PATH", "SIZE", "SHA256"), rows)


def _weights(found: Object) -> Iterable[tuple[str, Any]]:
    weights = facts.status_of(found).get("model") or {}
    return (
        ("Format", weights.get("format")),
        ("Architecture", weights.get("architecture")),
        ("Quantisation", weights.get("quantisation")),
        ("Parameters", weights.get("parameters")),
        ("Context length", weights.get("contextLength")),
    )


def _serving(found: Object) -> str:
    serving = facts.status_of(found).get("serving") or {}
    rows = [
        (
            str(pod.get("name", "")),
            str(pod.get("backend", "")),
            str(pod.get("state", "")),
            sizes.to_text(pod["memoryBytes"]) if pod.get("memoryBytes") else "",
            f"{pod['cpuMilli']}m" if pod.get("cpuMilli") is not None else "",
            _requests(pod),
            str(pod.get("lastUsedTime") or ""),
        )
        for pod in serving.get("pods") or ()
    ]
    unload = serving.get("unload") or {}
    told = (unload.get("time"), unload.get("reason"), unload.get("result"), unload.get("message"))
    parts = (
        _pairs(
            (
                ("State", serving.get("state")),
                ("Last unload", " ".join(str(part) for part in told if part)),
            )
        ),
        _table(("POD", "BACKEND", "STATE", "MEMORY", "CPU", "REQUESTS", "LAST-USED"), rows),
    )
    return "\n".join(part for part in parts if part)


def _requests(pod: Object) -> str:
    """Such as `2 (1 wait)`; empty where the backend does not tell."""
    if pod.get("running") is None:
        return ""
    waiting = pod.get("waiting")
    return f"{pod['running']} ({waiting} wait)" if waiting else str(pod["running"])


def _failure(found: Object) -> str:
    status = facts.status_of(found)
    failure = status.get("lastFailure") or {}
    return _pairs(
        (
            ("Reason", failure.get("reason")),
            ("Message", failure.get("message")),
            ("Time", failure.get("failedTime")),
            ("Attempts", status.get("attempts") or None),
        )
    )


def _events(events: Sequence[Object] | None, now: datetime) -> str:
    if events is None:
        return "(you may not read events here)"
    newest = sorted(events, key=_time)[-_MAX_EVENTS:]
    rows = [
        (
            str(event.get("type", "")),
            str(event.get("reason", "")),
            tables.age(facts.moment(_time(event)), now),
            str(event.get("message", "")),
        )
        for event in newest
    ]
    return _table(("TYPE", "REASON", "AGE", "MESSAGE"), rows)


def _time(event: Object) -> str:
    """When it happened last; both generations of the API write it elsewhere."""
    series = event.get("series") or {}
    for value in (
        series.get("lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
    ):
        if value:
            return str(value)
    return str(event["metadata"].get("creationTimestamp") or "")


def _pairs(pairs: Iterable[tuple[str, Any]]) -> str:
    """Lines of what is known; what is absent has no line."""
    known = [(f"{name}:", str(value)) for name, value in pairs if value not in {None, ""}]
    if not known:
        return ""
    header, *rows = known
    return tables.render(Table(header, rows))


def _table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return tables.render(Table(header, rows)) if rows else ""


def _section(title: str, body: str, empty: str = "") -> str:
    if not body:
        return f"{title}: {empty}" if empty else ""
    return f"{title}:\n" + "\n".join(_INDENT + line for line in body.splitlines())
