"""Typed reading of what others wrote, with errors that name the field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model_gallery.api.conditions import Reason
from model_gallery.errors import StalledError

__all__ = ["Fields"]


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping that somebody wrote. An absent field, null and an empty one are the same.

    Attributes:
        place: where it stands, for messages, such as `entry 'x': files[0].`.
        reason: reason of the errors.
    """

    values: Mapping[str, Any]
    place: str
    reason: Reason = Reason.ENTRY_INVALID

    def text(self, key: str) -> str:
        """Returns a text field; a number is taken as its text."""
        value = self.values.get(key)
        if value is None:
            return ""
        if not isinstance(value, str | int | float):
            raise self.error(key, "must be text")
        return str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Returns a field that is a list of texts."""
        values = self.values.get(key) or []
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise self.error(key, "must be a list of texts")
        return tuple(values)

    def mapping(self, key: str) -> Mapping[str, Any]:
        """Returns a field that is a mapping."""
        value = self.values.get(key) or {}
        if not isinstance(value, Mapping):
            raise self.error(key, "must be a mapping")
        return value

    def mappings(self, key: str) -> tuple[Fields, ...]:
        """Returns a field that is a list of mappings."""
        values = self.values.get(key) or []
        if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
            raise self.error(key, "must be a list of mappings")
        return tuple(
            Fields(value, f"{self.place}{key}[{number}].", self.reason)
            for number, value in enumerate(values)
        )

    def error(self, key: str, problem: str) -> StalledError:
        """Returns the error that names the field and what is wrong with it."""
        return StalledError(self.reason, f"{self.place}{key} {problem}")
