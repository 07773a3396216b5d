"""The generated CRDs: equal to what is checked in, and within the conventions of the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model_gallery.api import crds
from support import api_lint

REPOSITORY = Path(__file__).parents[3]
DEFINITIONS = crds.definitions()


@pytest.mark.parametrize(
    "folder", ["crds", "charts/model-gallery-operator/files/crds"], ids=["crds", "chart"]
)
def test_what_is_checked_in_is_what_the_types_say(folder: str) -> None:
    """Run `make generate` after a change of operator/model_gallery/api."""
    found = {path.name: path.read_text() for path in (REPOSITORY / folder).glob("*.yaml")}

    assert found == crds.render()


@pytest.mark.parametrize("crd", DEFINITIONS.values(), ids=DEFINITIONS.keys())
@pytest.mark.parametrize("part", ["spec", "status"])
def test_the_types_keep_the_conventions(crd: dict[str, Any], part: str) -> None:
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    assert api_lint.problems(schema["properties"][part], part) == []


@pytest.mark.parametrize("crd", DEFINITIONS.values(), ids=DEFINITIONS.keys())
def test_nobody_takes_an_unseen_object_for_finished(crd: dict[str, Any]) -> None:
    """Kstatus calls an object without status Current."""
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

    assert schema["properties"]["status"]["default"] == {"observedGeneration": -1}


LINT_CASES: dict[str, tuple[dict[str, Any], str]] = {
    "an unbounded string": ({"type": "string"}, "A1"),
    "an unbounded list": ({"type": "array", "items": {"type": "boolean"}}, "A1"),
    "a number with a fraction": ({"type": "number"}, "A2"),
    "a nullable": ({"type": "boolean", "nullable": True}, "A2"),
    "a map of objects": (
        {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "object"}},
        "A3",
    ),
    "a name with an underscore": (
        {"type": "object", "properties": {"a_b": {"type": "boolean", "description": "x"}}},
        "A4",
    ),
    "a field without a word": ({"type": "object", "properties": {"a": {"type": "boolean"}}}, "A5"),
    "conditions without a key": (
        {
            "type": "object",
            "properties": {
                "conditions": {
                    "type": "array",
                    "maxItems": 1,
                    "description": "x",
                    "items": {"type": "boolean"},
                }
            },
        },
        "A6",
    ),
    "an enum in lower case": ({"type": "string", "enum": ["delete"]}, "A7"),
}


@pytest.mark.parametrize(("schema", "rule"), LINT_CASES.values(), ids=LINT_CASES.keys())
def test_each_rule_bites(schema: dict[str, Any], rule: str) -> None:
    assert any(problem.startswith(rule) for problem in api_lint.problems(schema))
