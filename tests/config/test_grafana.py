"""config/grafana: the rules of Grafana's dashboard linter, and metrics that nexusd has.

https://github.com/grafana/dashboard-linter/blob/main/docs/index.md
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.config.dashboards import DASHBOARDS, GRAFANA, NAMES, dashboard, expressions, panels, selectors
from tests.requirements import need, need_program

UNITS = {"bytes", "cps", "none", "percentunit", "reqps", "s", "short"}
"""Of Grafana's, those that nexusd's metrics come in (grafana-data: valueFormats/categories.ts)."""
OF_NAMES = {"Version"}
"""Panels of what is no number."""

every_dashboard = pytest.mark.parametrize("name", NAMES)


def variables(name: str) -> Mapping[str, Any]:
    return {variable["name"]: variable for variable in dashboard(name)["templating"]["list"]}


def test_there_is_nothing_else() -> None:
    assert sorted(path.name for path in DASHBOARDS.iterdir()) == list(NAMES)


@every_dashboard
def test_template_datasource(name: str) -> None:
    [source] = [v for v in dashboard(name)["templating"]["list"] if v["type"] == "datasource"]
    assert (source["name"], source["label"], source["query"]) == ("datasource", "Data source", "prometheus")


@every_dashboard
@pytest.mark.parametrize("label", ["job", "instance"])
def test_template_job_and_instance(name: str, label: str) -> None:
    variable = variables(name)[label]
    assert (variable["type"], variable["label"]) == ("query", label)
    assert variable["datasource"] == {"type": "prometheus", "uid": "$datasource"}
    assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, ".+")


@every_dashboard
def test_template_label_promql(name: str) -> None:
    queries = {label: variable["query"] for label, variable in variables(name).items()}
    assert queries["job"] == "label_values(nexusd_build_info, job)"
    assert queries["instance"] == 'label_values(nexusd_build_info{job=~"$job"}, instance)'


@every_dashboard
def test_template_on_time_change_reload(name: str) -> None:
    assert {v["refresh"] for v in variables(name).values() if v["type"] == "query"} == {2}


@every_dashboard
def test_uneditable(name: str) -> None:
    assert dashboard(name)["editable"] is False


@every_dashboard
def test_panel_datasource(name: str) -> None:
    for panel in panels(name):
        for block in (panel, *panel["targets"]):
            assert block["datasource"]["uid"] == "$datasource", panel["title"]


@every_dashboard
def test_panel_title_description(name: str) -> None:
    for panel in panels(name):
        assert panel["title"].strip()
        assert panel["description"].strip().endswith((".", "`.")), panel["title"]
    counts = Counter(panel["title"] for panel in panels(name))
    assert [title for title, count in counts.items() if count > 1] == []


@every_dashboard
def test_panel_units(name: str) -> None:
    for panel in panels(name):
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"] in UNITS, panel["title"]
        said = "mappings" in defaults or panel["title"] in OF_NAMES
        assert (defaults["unit"] == "none") == said, panel["title"]


def test_target_job_and_instance() -> None:
    for _, title, expression in expressions():
        found = selectors(expression)
        assert found, title
        for selector in found:
            assert {("job", "=~", "$job"), ("instance", "=~", "$instance")} <= set(selector.matchers), title


def test_target_rate_interval() -> None:
    for _, title, expression in expressions():
        ranges = re.findall(r"\[([^\]]*)\]", expression)
        assert set(ranges) <= {"$__rate_interval"}, title
        assert len(ranges) == len(re.findall(r"\b(?:rate|irate|increase)\(", expression)), title


def test_counters_are_asked_for_their_rate_and_nothing_else_is() -> None:
    for _, title, expression in expressions():
        for metric, rated in re.findall(r"\b(nexusd_\w+|process_\w+)\{[^}]*\}(\[)?", expression):
            assert bool(rated) == metric.endswith(("_total", "_bucket")), (title, metric)


def test_every_series_that_is_asked_for_is_exposed(exposed: dict[str, list[Mapping[str, str]]]) -> None:
    for _, title, expression in expressions():
        for selector in selectors(expression):
            assert selector.metric in exposed, title
            for label, operator, value in selector.matchers:
                if label in ("job", "instance") or operator == "!=":
                    continue
                known = {own.get(label) for own in exposed[selector.metric]}
                assert set(value.split("|")) <= known, (title, label)


def test_labels_of_expressions_and_legends_are_of_the_metrics(
    exposed: dict[str, list[Mapping[str, str]]],
) -> None:
    for name in NAMES:
        for panel in panels(name):
            for target in panel["targets"]:
                known = {"job", "instance"}
                for selector in selectors(target["expr"]):
                    known |= set(exposed[selector.metric][0])
                used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
                for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", target["expr"]):
                    used |= set(labels.replace(",", " ").split())
                assert used <= known, panel["title"]


@every_dashboard
def test_panels_fill_the_grid_without_overlap(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    blocks = dashboard(name)["panels"]
    assert len({block["id"] for block in blocks}) == len(blocks)
    for block in blocks:
        at = block["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len(taken) == 24 * (1 + max(y for _, y in taken))


def test_the_provisioning_is_of_what_is_shipped() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/nexusd.yaml").read_text())["datasources"]
    by_type = Counter(source["type"] for source in sources)
    assert by_type == {"prometheus": 1, "alertmanager": 2}
    assert len({source["uid"] for source in sources}) == 3
    [prometheus] = [source for source in sources if source["type"] == "prometheus"]
    assert prometheus["jsonData"]["alertmanagerUid"] in {source["uid"] for source in sources}
    scraped = yaml.safe_load((GRAFANA.parent / "prometheus" / "prometheus.yml").read_text())
    assert prometheus["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/nexusd.yaml").read_text())["providers"]
    assert provider["type"] == "file"


@pytest.mark.slow
def test_the_dashboards_are_what_is_generated(tmp_path: Path) -> None:
    need(find_spec("grafana_foundation_sdk"), "grafana-foundation-sdk is not installed")
    command = [sys.executable, str(GRAFANA / "generate"), str(tmp_path)]
    subprocess.run(command, check=True, timeout=60)
    for name in NAMES:
        again = f"{name}: run python config/grafana/generate"
        assert (tmp_path / name).read_text() == (DASHBOARDS / name).read_text(), again


REPLICAS_THAT_DISAGREE = """
rule_files: []
evaluation_interval: 15s
tests:
  - interval: 15s
    input_series:
      - {series: 'nexusd_leader{job="nexusd", instance="a"}', values: '0x8'}
      - {series: 'nexusd_leader{job="nexusd", instance="b"}', values: '1 1 0x6'}
      - {series: 'nexusd_poll_last_success_timestamp_seconds{job="nexusd", instance="a"}', values: '0+15x8'}
      - {series: 'nexusd_poll_last_success_timestamp_seconds{job="nexusd", instance="b"}', values: '0x8'}
      - {series: 'nexusd_instances{job="nexusd", instance="a", region="r", status="pending"}', values: '5x8'}
      - {series: 'nexusd_instances{job="nexusd", instance="a", region="r", status="running"}', values: '0x8'}
      - {series: 'nexusd_instances{job="nexusd", instance="b", region="r", status="pending"}', values: '0x8'}
      - {series: 'nexusd_instances{job="nexusd", instance="b", region="r", status="running"}', values: '4x8'}
    promql_expr_test: []
"""
"""The leader has seen that the instances run, and that one is gone; after 30 s there is no leader."""


@pytest.mark.slow
def test_an_instance_that_two_replicas_show_differently_counts_once(tmp_path: Path) -> None:
    found = {panel: expression for _, panel, expression in expressions()}
    expression = found["Instances"].replace("$job", "nexusd").replace("$instance", ".*")
    cases = yaml.safe_load(REPLICAS_THAT_DISAGREE)
    cases["tests"][0]["promql_expr_test"] = [
        {"expr": expression, "eval_time": at, "exp_samples": [{"labels": "{}", "value": value}]}
        for at, value in (("15s", 4), ("60s", 5))
    ]
    file = tmp_path / "replicas_test.yml"
    file.write_text(yaml.safe_dump(cases))
    command = [need_program("promtool"), "test", "rules", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
