"""Grafana's dashboards that are shipped, and what their expressions ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.config.shipped import CONFIG

GRAFANA = CONFIG / "grafana"
DASHBOARDS = GRAFANA / "dashboards"
NAMES = ("daemon.json", "fleet-and-regions.json")

Block = dict[str, Any]

_METRIC = re.compile(r"\b((?:nexusd|process)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)\s*(=~|!=|=)\s*"([^"]*)"')


@dataclass(frozen=True)
class Selector:
    """A metric with its matchers: label, operator, value."""

    metric: str
    matchers: tuple[tuple[str, str, str], ...]


def dashboard(name: str) -> Block:
    loaded: Block = json.loads((DASHBOARDS / name).read_text())
    return loaded


def panels(name: str) -> list[Block]:
    """Without the rows."""
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str, str]]:
    """Dashboard, panel and expression."""
    for name in NAMES:
        for panel in panels(name):
            for target in panel["targets"]:
                yield name, panel["title"], target["expr"]


def selectors(expression: str) -> list[Selector]:
    return [
        Selector(metric, tuple(_MATCHER.findall(matchers)))
        for metric, matchers in _METRIC.findall(expression)
    ]
