"""The chart's alerts and dashboard: judged by promtool and a real Prometheus, explained in the docs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.figures import serving
from support.kube import wait_until
from support.prometheus import Prometheus, documented, promtool, scraping

REPOSITORY = Path(__file__).resolve().parents[2]
MONITORING = REPOSITORY / "charts" / "model-gallery-operator" / "files" / "monitoring"
RULES, DASHBOARD = MONITORING / "rules.yaml", MONITORING / "fleet.json"
CASES = REPOSITORY / "tests" / "data" / "alerts.yaml"
RUNBOOKS = REPOSITORY / "docs" / "runbooks.md"
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
PANELS: list[dict[str, Any]] = [
    panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"
]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
NAMES = [rule["alert"] for rule in ALERTS]


def known() -> set[str]:
    """Every series that may be asked for."""
    return {
        name + ending
        for name, kind in documented().items()
        for ending in (("_count", "_sum", "_bucket") if kind == "histogram" else ("",))
    }


def asked(text: str) -> set[str]:
    return set(re.findall(r"model_gallery_\w+", text))


def test_promtool_passes_the_rules_and_their_tests() -> None:
    promtool("check", "rules", "--lint=all", str(RULES))
    promtool("test", "rules", str(CASES))


@pytest.mark.parametrize("name", NAMES)
def test_each_alert_is_seen_to_fire_and_to_be_silent(name: str) -> None:
    tests = yaml.safe_load(CASES.read_text())["tests"]
    cases = [one for test in tests for one in test["alert_rule_test"] if one["alertname"] == name]

    assert {bool(one.get("exp_alerts")) for one in cases} == {True, False}


@pytest.mark.parametrize("rule", ALERTS, ids=NAMES)
def test_each_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    told = rule["annotations"]
    page = RUNBOOKS.read_text()
    _, _, section = page.partition(f"\n## {rule['alert']}\n")
    section = section.partition("\n## ")[0]

    assert set(told) == {"summary", "description", "runbook"}
    assert told["runbook"].endswith(f"docs/runbooks.md#{rule['alert'].lower()}")
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert all(part in section for part in ("**Means.**", "**Look.**", "**Do.**", "kubectl "))


def test_no_runbook_without_its_alert() -> None:
    assert re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE) == NAMES


@pytest.mark.parametrize("page", [RULES, DASHBOARD, RUNBOOKS], ids=lambda page: page.name)
def test_only_metrics_that_exist_are_named(page: Path) -> None:
    found = asked(page.read_text())

    assert found
    assert found <= known()


def test_the_dashboard_shows_every_metric() -> None:
    shown = asked(DASHBOARD.read_text())
    unseen = {
        name
        for name, kind in documented().items()
        if not {name, name + "_bucket" if kind == "histogram" else name} & shown
    }

    # The age of an index that merely does not change is no news; the two others are in `kubectl get`.
    assert unseen == {
        "model_gallery_model_files",
        "model_gallery_model_installed_timestamp_seconds",
        "model_gallery_gallery_last_refresh_timestamp_seconds",
    }


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with (
        serving() as target,
        scraping(target, tmp_path_factory.mktemp("prometheus")) as running,
    ):
        yield running


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_panel_has_something_to_show(prometheus: Prometheus, expression: str) -> None:
    """Over an operator that has done a little of everything."""
    real = expression.replace("$namespace", ".*")
    if real.endswith("== 0"):  # what is not as it should be
        real = real.removesuffix("== 0")

    wait_until(real, lambda: prometheus.query(real), 20)


def test_each_alert_has_something_to_look_at(prometheus: Prometheus) -> None:
    """A label that no series has would silence an alert for ever, and promtool could not tell."""
    for selector in re.findall(r"model_gallery_\w+\{[^}]*\}", RULES.read_text()):
        name, _, labels = selector.partition("{")
        keys = re.findall(r"(\w+)[=!]", labels)
        found = prometheus.query(name)
        assert found, name
        assert all(set(keys) <= set(series) for series, _ in found), selector
