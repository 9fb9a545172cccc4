"""config/prometheus: the alerts of nexusd's own table, from metrics that nexusd has."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from nexusd.core.rules_default import DEFAULT_RULES
from nexusd.web.metrics import CONNECTIONS_SHED
from tests.config.shipped import CASES, PROMETHEUS, PROMETHEUS_ONLY, RULES, alerts, checks, rules, run
from tests.requirements import need_program

RUNBOOK = Path(__file__).parents[2] / "docs" / "runbook.md"
NOT_HELD = PROMETHEUS_ONLY | {"NexusdWatchdog"}
"""Alerts that do not depend on a snapshot, and are no longer true when nexusd is not scraped."""

_SELECTOR = re.compile(r"\b(nexusd_\w+|process_\w+)(?:\{([^}]*)\})?")
_LABEL = re.compile(r'(\w+)(=~|=)"([^"]*)"')
_SECONDS = {"m": 60, "s": 1}


def seconds(duration: str) -> int:
    return int(duration[:-1]) * _SECONDS[duration[-1]]


def selectors() -> Iterator[tuple[str, Mapping[str, list[str]]]]:
    """Each metric of nexusd in the rules, with the values that its labels are to have."""
    for rule in rules():
        for name, labels in _SELECTOR.findall(rule["expr"]):
            yield name, {label: value.split("|") for label, _, value in _LABEL.findall(labels)}


def test_the_alerts_are_those_of_the_table_and_those_about_one_process() -> None:
    assert set(alerts()) == {f"Nexusd{name}" for name in DEFAULT_RULES} | PROMETHEUS_ONLY


@pytest.mark.parametrize("name", DEFAULT_RULES)
def test_an_alert_has_the_severity_the_for_and_the_runbook_of_the_table(name: str) -> None:
    rule, own = alerts()[f"Nexusd{name}"], DEFAULT_RULES[name]
    assert rule["labels"] == {"severity": own.severity}
    assert seconds(rule.get("for", "0s")) == own.for_s
    assert rule["annotations"]["runbook_url"] == own.runbook_url
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]


def test_thresholds_are_those_of_the_table() -> None:
    latency, oldest = DEFAULT_RULES["RegionLatencyHigh"], DEFAULT_RULES["NotificationsFailing"]
    assert (
        f"nexusd_region_latency_seconds > {(latency.threshold or 0) / 1000:g}\n"
        in (alerts()["NexusdRegionLatencyHigh"]["expr"])
    )
    assert f" > {oldest.threshold:g})" in alerts()["NexusdNotificationsFailing"]["expr"]


@pytest.mark.parametrize("name", sorted(PROMETHEUS_ONLY))
def test_the_runbook_has_a_section_for_an_alert_about_one_process(name: str) -> None:
    [*_, anchor] = alerts()[name]["annotations"]["runbook_url"].split("#")
    assert anchor == name.lower()
    assert f"\n## {name}\n" in RUNBOOK.read_text()


def test_an_alert_names_each_limit_that_connections_are_counted_under() -> None:
    description = alerts()["NexusdConnectionsLimited"]["annotations"]["description"]
    named = set(re.findall(r'eq \$labels.reason "(\w+)"', description))
    assert named | {"idle"} == set(CONNECTIONS_SHED)


def test_what_is_taken_from_nexusds_own_alerts_says_so_and_nothing_else_does() -> None:
    for name, rule in alerts().items():
        own = f'nexusd_alerts{{alertname="{name.removeprefix("Nexusd")}", state="firing"}}'
        assert (own in rule["expr"]) == (
            "Taken from nexusd's own alert" in rule["annotations"]["description"]
        )


@pytest.mark.parametrize("name", sorted(set(alerts()) - NOT_HELD))
def test_what_fires_is_held_while_it_cannot_be_judged(name: str) -> None:
    assert f'nexusd:alerts_held{{alertname="{name}"}}' in alerts()[name]["expr"]
    [held] = [rule["expr"] for rule in rules() if rule.get("record") == "nexusd:alerts_held"]
    names = re.findall(r'ALERTS\{alertname=~?"([^"]+)"', held)
    assert [known for known in names if re.fullmatch(known, name)]


def test_every_series_that_the_rules_name_is_exposed(exposed: dict[str, list[Mapping[str, str]]]) -> None:
    wanted = list(selectors())
    assert len(wanted) > 30
    for name, labels in wanted:
        assert name in exposed
        for label, values in labels.items():
            assert set(values) <= {own.get(label) for own in exposed[name]}, (name, label)


def test_the_series_of_the_cases_are_like_those_that_are_exposed(
    exposed: dict[str, list[Mapping[str, str]]],
) -> None:
    tested = set()
    for path in CASES:
        for case in yaml.safe_load(path.read_text())["tests"]:
            for series in case["input_series"] or ():
                name, _, labels = series["series"].partition("{")
                if name != "up":
                    tested.add(name)
                    own = set(re.findall(r"(\w+)=", labels)) - {"job", "instance"}
                    assert own == set(exposed[name][0]), name
    assert tested == {name for name, _ in selectors()}


def test_every_alert_is_seen_to_fire_and_not_to_fire() -> None:
    expected = {
        (check["alertname"], bool(check["exp_alerts"]))
        for path in CASES
        for case in yaml.safe_load(path.read_text())["tests"]
        for check in case["alert_rule_test"]
    }
    assert expected == {(name, fires) for name in alerts() for fires in (True, False)}


def test_prometheus_loads_the_rules() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    assert config["rule_files"] == [RULES.name]
    assert "nexusd" in {job["job_name"] for job in config["scrape_configs"]}


@pytest.mark.slow
def test_promtool_finds_nothing_wrong() -> None:
    promtool = need_program("promtool")
    for command in (["check", "config", "prometheus.yml"], ["check", "rules", "rules.yml"]):
        found = run(promtool, *command, cwd=PROMETHEUS)
        assert (found.returncode, found.stderr) == (0, ""), found.stdout


@pytest.mark.slow
def test_every_case_holds() -> None:
    found = run(need_program("promtool"), "test", "rules", *(path.name for path in CASES), cwd=PROMETHEUS)
    assert found.returncode == 0, found.stdout + found.stderr
    assert len(checks()) > 100
