"""WWW-Authenticate, as RFC 9110 writes it: what a registry asks for.

A parser of its own since the usual splitting at commas is wrong: realms hold commas within quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Challenge", "parse"]

_MAX_LENGTH = 8192
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - the grammar's name
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?=[\s,]|\Z)(?!\s*=)")
_PARAMETER = re.compile(rf"[\s,]*({_TOKEN})\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|({_TOKEN}))\s*(?=,|\Z)")
_TOKEN68 = re.compile(r"[ \t]+[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|\Z)")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate; scheme and names in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse(header: str) -> list[Challenge]:
    """Returns the challenges of a header, as far as it is well-formed."""
    text, position, found = header[:_MAX_LENGTH], 0, []
    while (match := _SCHEME.match(text, position)) is not None:
        position, parameters = match.end(), {}
        while (pair := _PARAMETER.match(text, position)) is not None:
            quoted = pair[2]
            value = pair[3] if quoted is None else _ESCAPE.sub(r"\1", quoted)
            parameters[pair[1].lower()] = value
            position = pair.end()
        if not parameters and (blob := _TOKEN68.match(text, position)) is not None:
            position = blob.end()
        found.append(Challenge(match[1].lower(), parameters))
    return found
