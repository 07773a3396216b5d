"""docs/faults.md against the tests: every case has its row, and every test that a row names is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
TABLE = (REPOSITORY / "docs/faults.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("| ").split(" | ")]
    for line in TABLE.splitlines()
    if line.startswith("| ") and not line.startswith("| ---")
]
FILES = {
    path.relative_to(REPOSITORY / "tests").as_posix(): path
    for path in (REPOSITORY / "tests").rglob("*.py")
}
SHORT = {"C/": "unit/controller/", "M/": "unit/monitor/"}
CASES = [
    *(f"P{number:02}" for number in (1, 2, *range(7, 38), 57, 64, 70)),
    *(f"T{number:02}" for number in (*range(1, 56), *range(69, 77), 78)),
    *(f"W{number}" for number in range(1, 15)),
]
"""Of the tables that the project began with: what concerns the worker and its sources."""

_ID = r"[PTW]\d+"


def numbers(text: str) -> Iterator[str]:
    """Yields the cases that a cell names, those of a range too."""
    for first, last in re.findall(rf"\b({_ID})(?: to ({_ID}))?\b", text):
        kind, width = first[0], len(first) - 1
        for number in range(int(first[1:]), int((last or first)[1:]) + 1):
            yield f"{kind}{number:0{width}}"


def of_folder(name: str) -> dict[str, Path]:
    return {path: file for path, file in FILES.items() if path.startswith(name)}


def named_tests() -> Iterator[tuple[str, str]]:
    """Yields each file (or part of its path) and each name that the table says is a test's."""
    for text in re.findall(r"`([^`\s]+)`", TABLE):
        place, _, name = text.rpartition("::") if "::" in text else ("", "", text)
        if not place and (text.endswith((".py", "/"))):
            place, name = text, ""
        if place.endswith((".py", "/")) or name.startswith("test_"):
            yield place.removeprefix("tests/"), name


@pytest.mark.parametrize("case", CASES)
def test_every_case_has_a_row(case: str) -> None:
    rows = [row for row in ROWS if case in numbers(row[0])]

    assert rows, f"{case} is missing from docs/faults.md"
    assert all(row[-1] for row in rows), f"{case} names neither test nor reason"


@pytest.mark.parametrize(("place", "name"), sorted(set(named_tests())))
def test_every_test_that_is_named_is_there(place: str, name: str) -> None:
    for short, folder in SHORT.items():
        place = folder + place.removeprefix(short) if place.startswith(short) else place
    found = of_folder(place) if place.endswith("/") else {}
    found = found or {
        path: file for path, file in FILES.items() if f"/{path}".endswith(f"/{place}")
    }
    found = found if place else FILES
    assert found, f"there is no {place}"
    if not name:
        return
    begun = re.escape(name.removesuffix("..."))
    pattern = re.compile(rf"def {begun}" + ("" if name.endswith("...") else r"\("))
    assert any(pattern.search(file.read_text()) for file in found.values()), f"{place}::{name}"
