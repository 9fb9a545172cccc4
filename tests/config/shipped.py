"""The rules for Prometheus that are shipped, their cases, and `promtool` to try them with."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).parents[2] / "config"
PROMETHEUS = CONFIG / "prometheus"
RULES = PROMETHEUS / "rules.yml"
CASES = (PROMETHEUS / "rules_test.yml", PROMETHEUS / "rules_hours_test.yml")

PROMETHEUS_ONLY = frozenset({"NexusdDown", "NexusdConnectionsLimited"})
"""Alerts about one process, which nexusd itself does not have."""

Block = dict[str, Any]

_FAILURE = re.compile(
    r"^ +name: (?P<case>.*),\n +alertname: (?P<alert>\w+), time: (?P<at>\w+), $", re.MULTILINE
)


@dataclass(frozen=True)
class Check:
    """One look at an alert in one of the cases."""

    case: str
    alert: str
    at: str


def rules(text: str | None = None) -> list[Block]:
    [group] = yaml.safe_load(RULES.read_text() if text is None else text)["groups"]
    found: list[Block] = group["rules"]
    return found


def alerts() -> Mapping[str, Block]:
    """The rules that alert, by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def checks() -> set[Check]:
    return {
        Check(case["name"], check["alertname"], check["eval_time"])
        for path in CASES
        for case in yaml.safe_load(path.read_text())["tests"]
        for check in case["alert_rule_test"]
    }


def failing(promtool: str, folder: Path, changed: list[Block], alert: str) -> set[Check]:
    """What the cases say of this alert and does not hold, when these are the rules."""
    folder.mkdir()
    kept = [rule for rule in changed if rule.get("alert") in (None, alert)]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "nexusd", "rules": kept}]}))
    tried = [path.name for path in CASES if _write_cases(path, folder / path.name, alert)]
    found = run(promtool, "test", "rules", *tried, cwd=folder)
    output = found.stdout + found.stderr
    failures = {Check(*match.groups()) for match in _FAILURE.finditer(output)}
    assert bool(failures) == (found.returncode != 0), output
    return failures


def run(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def _write_cases(source: Path, target: Path, alert: str) -> bool:
    """The cases about this alert, without the checks of others. Whether there is any."""
    content = yaml.safe_load(source.read_text())
    cases = content["tests"]
    for case in cases:
        case["alert_rule_test"] = [c for c in case["alert_rule_test"] if c["alertname"] == alert]
    content["tests"] = [case for case in cases if case["alert_rule_test"]]
    target.write_text(yaml.safe_dump(content))
    return bool(content["tests"])
