"""What is news: a change of a condition's status or reason, not of its wording."""

from __future__ import annotations

from collections.abc import Sequence

from model_gallery.api.conditions import ConditionType
from model_gallery.api.v1alpha1.common import Condition

__all__ = ["condition", "is_news"]


def condition(conditions: Sequence[Condition], type_: ConditionType) -> Condition | None:
    """Returns the condition of the type, or None."""
    return next((found for found in conditions if found.type == type_), None)


def is_news(old: Condition | None, new: Condition) -> bool:
    """Whether people should be told of the new condition."""
    return old is None or (old.status, old.reason) != (new.status, new.reason)
