"""The rules are readable, each alert fires when it should, and names only what is measured."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.infra.metric_names import (
    GIVEN,
    PROMETHEUS,
    ROOT,
    declared,
    named,
    recorded,
    rules,
    selected,
)

ALERTS = [rule for rule in rules() if "alert" in rule]
SCRAPED = {"job", "instance"}


def promtool(*words: str) -> str:
    program = shutil.which("promtool")
    assert program is not None
    done = subprocess.run(
        [program, *words], cwd=PROMETHEUS, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.needs("promtool")
def test_prometheus_takes_the_configuration_and_the_rules() -> None:
    promtool("check", "config", "prometheus.yml")


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("file", sorted(path.name for path in PROMETHEUS.glob("*_test.yml")))
def test_alerts_fire_when_they_should_and_only_then(file: str) -> None:
    promtool("test", "rules", file)


def test_each_alert_is_tested_with_numbers_and_with_none() -> None:
    tests = [
        yaml.safe_load(path.read_text())["tests"] for path in sorted(PROMETHEUS.glob("*_test.yml"))
    ]
    silent, numbers = "", ""
    for case in (case for file in tests for case in file):
        if case["input_series"]:
            numbers += str(case)
        else:
            silent += str(case)
    for alert in ALERTS:
        assert alert["alert"] in silent, f"{alert['alert']} has no case without data"
        if alert["alert"] != "ProcessMissing":  # it is about having no data
            assert alert["alert"] in numbers, f"{alert['alert']} has no case with data"


@pytest.mark.parametrize(
    "rule", list(rules()), ids=lambda rule: rule.get("alert") or rule["record"]
)
def test_rules_name_only_metrics_and_labels_that_exist(rule: dict[str, str]) -> None:
    known = declared()
    names = named(rule["expr"])
    assert names, f"no metric was found in {rule['expr']}"
    assert names <= known.keys() | recorded() | GIVEN
    for metric, label in selected(rule["expr"]):
        if metric in known:
            assert label in known[metric] | SCRAPED, f"{metric} has no label {label}"


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_says_what_how_bad_for_whom_and_what_to_do(
    alert: dict[str, dict[str, str]],
) -> None:
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["labels"]["team"] in {"clinical", "ops"}
    assert alert["annotations"]["summary"]
    assert alert["annotations"]["description"]
    runbook = ROOT / alert["annotations"]["runbook_url"]
    assert str(alert["alert"]) in runbook.read_text() + (runbook.parent / "README.md").read_text()


def test_the_runbooks_index_names_each_page_and_each_alert() -> None:
    folder = ROOT / "infra" / "runbooks"
    index = (folder / "README.md").read_text()
    assert all(
        f"({page.name})" in index for page in folder.glob("*.md") if page.name != "README.md"
    )
    assert all(str(alert["alert"]) in index for alert in ALERTS)


def test_each_process_is_scraped() -> None:
    jobs = {
        job["job_name"]
        for job in yaml.safe_load(Path(PROMETHEUS, "prometheus.yml").read_text())["scrape_configs"]
    }
    assert {"gateway", "triage", "worklist", "web"} <= jobs
