"""Every parser of foreign bytes under a few hundred inputs, the same ones in every run."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from fuzz import mutate

FOLDER = Path(__file__).with_name("targets")
TARGETS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "guard")
EXAMPLES = 300


def target(name: str) -> ModuleType:
    return importlib.import_module(f"fuzz.targets.{name}")


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    """What is sound, and what once was not taken well."""
    module = target(name)
    for seed in module.SEEDS:
        module.one(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_inputs(name: str) -> None:
    module = target(name)

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(mutate.inputs(module.SEEDS))
    def run(data: bytes) -> None:
        module.one(data)

    run()


def test_an_input_is_what_its_seed_was_but_for_some_bytes() -> None:
    """Edits that always ruin a seed would never come past the first check of a parser."""
    seed = bytes(range(200))

    @settings(max_examples=EXAMPLES, derandomize=True, database=None)
    @given(some.data())
    def count(data: some.DataObject) -> None:
        found = data.draw(mutate.inputs([seed]))
        near.append(found != seed and found[:20] == seed[:20])

    near: list[bool] = []
    count()
    assert sum(near) > EXAMPLES // 4
