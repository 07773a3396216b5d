"""What both kinds share: the base class of API types, bounded strings, conditions, union rules.

The CRDs are generated from these types (`api/crds.py`). CEL rules stand beside the field or type that
they constrain, as `json_schema_extra` with the key that the CRD will carry.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

__all__ = [
    "ApiType",
    "Condition",
    "FreeForm",
    "HostPattern",
    "ObjectName",
    "Time",
    "Url",
    "exactly_one",
    "rules",
]


class ApiType(BaseModel):
    """Base of all API types: camelCase outside, snake_case inside, immutable, strict on unknowns."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore"
    )


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Returns the schema extra for CEL rules, each a (rule, message) pair."""
    return {
        "x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in pairs]
    }


def exactly_one(*fields: str) -> dict[str, Any]:
    """Returns the schema extra for a union: exactly one of the fields must be set."""
    count = " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields)
    return rules((f"{count} == 1", f"exactly one of {', '.join(fields)} must be set"))


ObjectName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
    ),
]
"""The name of an object in the same namespace."""

Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2048,
        json_schema_extra=rules(
            ("!self.matches('://[^/?#]*@')", "must not hold a user name or password"),
        ),
    ),
]
"""A URL or one of the short forms of `artifact/reference.py`."""

HostPattern = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^\.?[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?$"),
]
"""A host, or with a dot in front all below one."""

Time = Annotated[str, Field(max_length=64, json_schema_extra={"format": "date-time"})]
"""RFC 3339, UTC, whole seconds."""

FreeForm = Annotated[
    dict[str, Any],
    Field(
        max_length=64,
        json_schema_extra={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    ),
]
"""Configuration of a backend, carried as it is."""


class Condition(ApiType):
    """One condition, in the form of metav1.Condition."""

    type: str = Field(max_length=64, description="Type of the condition, in CamelCase.")
    status: str = Field(
        max_length=16,
        description="True, False or Unknown.",
        json_schema_extra={"enum": ["True", "False", "Unknown"]},
    )
    observed_generation: int = Field(
        ge=0, le=2**53, description="The metadata.generation that the condition speaks of."
    )
    last_transition_time: Time = Field(description="When the status last changed.")
    reason: str = Field(
        min_length=1,
        max_length=64,
        description="Why the condition has its status, one CamelCase word of a stable list.",
    )
    message: str = Field(max_length=1024, description="A sentence for people.")
