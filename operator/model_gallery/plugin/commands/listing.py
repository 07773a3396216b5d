"""`list`: the Models at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from model_gallery.api import labels
from model_gallery.api.conditions import ConditionType
from model_gallery.plugin import facts, tables
from model_gallery.plugin.output import Format
from model_gallery.plugin.problem import Exit
from model_gallery.plugin.session import Session
from model_gallery.plugin.tables import Table

__all__ = ["run", "source_text", "table"]

_MESSAGE_WIDTH = 60


def run(session: Session, *, everywhere: bool) -> int:
    """Prints the Models of the namespace, or of all."""
    namespace = None if everywhere else session.namespace
    items = session.cluster.objects(labels.MODEL, namespace)
    items.sort(key=lambda item: (item["metadata"]["namespace"], facts.name_of(item)))
    if not session.output.for_people:
        session.output.found(items)
        return Exit.DONE
    wide = session.output.format is Format.WIDE
    where = "any namespace" if everywhere else f"namespace {namespace}"
    session.output.table(
        table(items, session.now(), wide=wide, everywhere=everywhere), f"No Models in {where}."
    )
    return Exit.DONE


def table(
    items: list[dict[str, Any]], now: datetime, *, wide: bool = False, everywhere: bool = False
) -> Table:
    """Returns the table of Models."""
    header: tuple[str, ...] = (
        *("NAME", "SERVED-NAME", "GALLERY", "READY", "REASON"),
        *("SIZE", "PROGRESS", "LOADED", "AGE"),
    )
    if everywhere:
        header = ("NAMESPACE", *header)
    if wide:
        header = (*header, "SOURCE", "MESSAGE")
    return Table(header, [_row(item, now, wide=wide, everywhere=everywhere) for item in items])


def source_text(found: Mapping[str, Any]) -> str:
    """Returns where a Model comes from, as one word."""
    source = facts.spec_of(found).get("source") or {}
    match source:
        case {"entry": {"name": name}}:
            return f"entry {name}"
        case {"uri": uri}:
            return str(uri)
        case {"huggingFace": {"repo": repo}}:
            return f"huggingface://{repo}"
        case {"s3": {"bucket": bucket}}:
            return f"s3://{bucket}/{source['s3'].get('key', '')}"
        case {"files": [first, *others]}:
            return str(first.get("uri", "")) + (f" and {len(others)} more" if others else "")
        case _:
            return ""


def _row(item: dict[str, Any], now: datetime, *, wide: bool, everywhere: bool) -> tuple[str, ...]:
    status = facts.status_of(item)
    ready = facts.condition(item, ConditionType.READY)
    progress = status.get("progress") or {}
    row: tuple[str, ...] = (
        facts.name_of(item),
        str(status.get("servedName") or facts.spec_of(item).get("servedName") or ""),
        str(facts.spec_of(item).get("galleryName", "")),
        ready.status or "Unknown",
        ready.reason,
        facts.size_text(item),
        tables.percent(progress.get("completedBytes", 0), progress.get("totalBytes")),
        str((status.get("serving") or {}).get("state", "")),
        tables.age(facts.created(item), now),
    )
    if everywhere:
        row = (item["metadata"]["namespace"], *row)
    if wide:
        row = (*row, source_text(item), tables.cut(ready.message, _MESSAGE_WIDTH))
    return row
