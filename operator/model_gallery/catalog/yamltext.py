"""YAML text of others, read within bounds; YAML text of ours, written in one form.

Galleries come from the network. The text is read event by event, so that each bound is checked before
anything is built:

- 16 MiB of UTF-8 text, one document, 64 levels;
- aliases count with what they stand for, at most 32 Mi characters in all;
- no tags beyond those of JSON's types and merge keys, no infinities, no NaN;
- keys are text, and one that is there twice has the same value. (go-yaml refuses these too, yet
  LocalAI's `vllm.yaml` has one.)

Merge keys are resolved here: whoever reads the result never sees one.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import yaml
from yaml.events import (
    AliasEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.parser import Parser
from yaml.reader import Reader, ReaderError
from yaml.scanner import Scanner, ScannerError

from model_gallery.api.conditions import Reason
from model_gallery.catalog import scalars
from model_gallery.errors import StalledError

__all__ = ["MAX_TEXT_BYTES", "dump", "load"]

MAX_TEXT_BYTES = 16 * 1024 * 1024
"""LocalAI's whole gallery has 2.4 MB."""
_MAX_DEPTH = 64
_MAX_EXPANDED = 32 * 1024 * 1024
_MAX_LENIENT_BYTES = 4 * 1024 * 1024
"""The lenient parser is written in Python and takes about a second per MiB."""

_TAG = "tag:yaml.org,2002:"
_MERGE = _TAG + "merge"
_SURROGATE = re.compile("[\ud800-\udfff]")
_SCALAR_TYPES: dict[str, tuple[type, ...]] = {
    _TAG + "null": (type(None),),
    _TAG + "bool": (bool,),
    _TAG + "int": (int,),
    _TAG + "float": (float, int),
}
_STRING_TAGS = frozenset({"!", _TAG + "str", _TAG + "timestamp"})
_MAPPING_TAGS = frozenset({None, "!", _TAG + "map"})
_SEQUENCE_TAGS = frozenset({None, "!", _TAG + "seq"})


class _Events(Protocol):
    def get_event(self) -> Event: ...


class _Refused(Exception):  # noqa: N818 - never leaves this module
    """What is wrong, and in which line (from 1)."""

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line = line


class _LenientParser(Reader, Scanner, Parser):
    """PyYAML's own parser, with the escape that go-yaml knows beyond the standard."""

    ESCAPE_REPLACEMENTS = {**Scanner.ESCAPE_REPLACEMENTS, "'": "'"}  # type: ignore[misc] # noqa: RUF012

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)


_FastParser: type[Any] = (
    yaml.cyaml.CParser  # type: ignore[attr-defined] # where PyYAML was built with libyaml
    if yaml.__with_libyaml__
    else _LenientParser
)


def load(text: bytes | str, *, what: str, reason: Reason) -> Any:
    """Returns the value of the document: mappings, lists, text, numbers, truth values, None.

    Mappings and lists that an alias stands for are the same objects; treat them as immutable.

    Args:
        what: what the text is, for messages.
        reason: reason of the error.

    Raises:
        StalledError: the text is no YAML within the bounds; the message names the line.
    """
    try:
        decoded = _decoded(text)
        try:
            return _document(_FastParser(decoded))
        except ScannerError as error:
            lenient = "unknown escape" in str(error) and len(decoded) <= _MAX_LENIENT_BYTES
            if not lenient:
                raise
            return _document(_LenientParser(decoded))
    except _Refused as error:
        raise _invalid(what, reason, str(error), error.line) from error
    except ReaderError as error:
        line = decoded.count("\n", 0, error.position) + 1
        raise _invalid(what, reason, "holds characters that YAML forbids", line) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise _invalid(what, reason, f"is no YAML: {error.problem}", line) from error


def _invalid(what: str, reason: Reason, problem: str, line: int) -> StalledError:
    return StalledError(reason, f"{what}, line {line}: {problem}")


def _decoded(text: bytes | str) -> str:
    if len(text) > MAX_TEXT_BYTES:
        raise _Refused(f"is larger than {MAX_TEXT_BYTES // 2**20} MiB", 1)
    if isinstance(text, bytes):
        try:
            return text.decode().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise _Refused("is no UTF-8", text.count(b"\n", 0, error.start) + 1) from error
    return text.removeprefix("\ufeff")


def _document(events: _Events) -> Any:
    """Returns the value of the only document."""
    events.get_event()
    if isinstance(events.get_event(), StreamEndEvent):
        return None
    value = _Builder(events).value(events.get_event(), 0)
    events.get_event()
    following = events.get_event()
    if not isinstance(following, StreamEndEvent):
        raise _Refused("only one document is allowed", _line(following))
    return value


def _line(event: Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


class _Builder:
    """Builds values from events.

    Attributes:
        expanded: characters and nodes so far, aliases counted with what they stand for.
    """

    __slots__ = ("_anchors", "_next", "expanded")

    def __init__(self, events: _Events) -> None:
        self._next = events.get_event
        self._anchors: dict[str, tuple[Any, int]] = {}
        self.expanded = 0

    def value(self, event: Any, depth: int) -> Any:
        """Returns the value that begins with the event."""
        if isinstance(event, AliasEvent):
            return self._alias(event)
        before = self.expanded
        self.expanded += 1
        value: Any
        if isinstance(event, ScalarEvent):
            self.expanded += len(event.value)
            value = _scalar(event)
        elif depth >= _MAX_DEPTH:
            raise _Refused(f"is nested deeper than {_MAX_DEPTH} levels", _line(event))
        elif isinstance(event, MappingStartEvent):
            value = self._mapping(event, depth + 1)
        else:
            value = self._sequence(event, depth + 1)
        if event.anchor:
            self._anchors[event.anchor] = (value, self.expanded - before)
        return value

    def _alias(self, event: AliasEvent) -> Any:
        anchor = event.anchor or ""
        found = self._anchors.get(anchor)
        if found is None:
            raise _Refused(f"alias *{anchor[:64]} has no complete anchor", _line(event))
        value, weight = found
        self.expanded += weight
        if self.expanded > _MAX_EXPANDED:
            raise _Refused("its aliases stand for too much text", _line(event))
        return value

    def _sequence(self, event: SequenceStartEvent, depth: int) -> list[Any]:
        _check_tag(event, _SEQUENCE_TAGS)
        values = []
        while not isinstance(following := self._next(), SequenceEndEvent):
            values.append(self.value(following, depth))
        return values

    def _mapping(self, event: MappingStartEvent, depth: int) -> dict[str, Any]:
        _check_tag(event, _MAPPING_TAGS)
        own: dict[str, Any] = {}
        inherited: list[dict[str, Any]] = []
        while not isinstance(key := self._next(), MappingEndEvent):
            if not isinstance(key, ScalarEvent):
                raise _Refused("keys must be text", _line(key))
            if _is_merge(key):
                inherited += _merged(self.value(self._next(), depth), _line(key))
                continue
            text = self._key(key)
            value = self.value(self._next(), depth)
            if own.setdefault(text, value) != value:
                raise _Refused(f"key {text[:64]!r} is there twice", _line(key))
        if not inherited:
            return own
        result: dict[str, Any] = {}
        for values in reversed(inherited):
            result |= values
        return result | own

    def _key(self, event: ScalarEvent) -> str:
        _scalar(event)
        text: str = event.value
        self.expanded += 1 + len(text)
        if event.anchor:
            self._anchors[event.anchor] = (text, 1 + len(text))
        return text


def _is_merge(event: ScalarEvent) -> bool:
    untagged = event.tag is None and event.implicit[0]
    return event.value == "<<" and (event.tag == _MERGE or untagged)


def _merged(value: Any, line: int) -> list[dict[str, Any]]:
    """Returns what a merge key brings, the winner first."""
    sources = value if isinstance(value, list) else [value]
    if not all(isinstance(source, dict) for source in sources):
        raise _Refused("a merge key needs a mapping or a list of mappings", line)
    return sources


def _check_tag(event: Any, allowed: frozenset[str | None]) -> None:
    if event.tag not in allowed:
        raise _Refused(f"tag {str(event.tag)[:64]} is not allowed", _line(event))


def _scalar(event: ScalarEvent) -> scalars.Scalar:
    text: str = event.value
    if not text.isascii() and _SURROGATE.search(text):
        raise _Refused("holds half of a surrogate pair", _line(event))
    if event.tag is None and not event.implicit[0]:
        return text
    if event.tag is None or event.tag in _SCALAR_TYPES:
        try:
            value = scalars.resolve(text)
        except ValueError as error:
            raise _Refused(str(error), _line(event)) from error
        if event.tag is None or isinstance(value, _SCALAR_TYPES[event.tag]):
            return value
    if event.tag in _STRING_TAGS:
        return text
    raise _Refused(f"tag {str(event.tag)[:64]} is not allowed here", _line(event))


_FastDumper: Any = yaml.CSafeDumper if yaml.__with_libyaml__ else yaml.SafeDumper


class _Dumper(_FastDumper):  # type: ignore[misc]
    """Writes text in block style, and quotes what either YAML 1.1 or go-yaml takes for no text."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _represent_text(dumper: Any, text: str) -> Any:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar(_TAG + "str", text, style=style)


_Dumper.add_representer(str, _represent_text)
_Dumper.add_implicit_resolver(_TAG + "int", scalars.INTEGER, list("-+0123456789"))
_Dumper.add_implicit_resolver(_TAG + "float", scalars.FLOAT, list("-+0123456789."))


def dump(value: Any, *, sort_keys: bool) -> str:
    """Returns the block style YAML text of a JSON value; the same text for the same value.

    Args:
        sort_keys: whether mappings are written by key; else in their own order.
    """
    text: str = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=False,
        allow_unicode=True,
        sort_keys=sort_keys,
        width=2**30,
    )
    return text
