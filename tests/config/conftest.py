"""What nexusd exposes, for whatever is shipped that asks for it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from nexusd.core.fleets import Fleets, FleetSpec
from nexusd.core.rules_default import DEFAULT_RULES
from nexusd.web.metrics import MetricsRegistry
from tests.web.fakes import EVERYWHERE, instance, world_of
from tests.web.site import Site


@pytest.fixture
async def exposed() -> dict[str, list[Mapping[str, str]]]:
    """The labels of what a daemon exposes that has something of everything, by name."""
    site = Site(metrics=MetricsRegistry(["ops"]))
    site.daemon.world = world_of([instance(1)], EVERYWHERE)
    site.daemon.world.declare(Fleets((FleetSpec("web", 6, "pro"),)))
    table = tuple((rule.name, rule.severity) for rule in DEFAULT_RULES.values())
    async with site.running(receivers=("ops",), alert_rules=table):
        text = (await site.get("/metrics")).text
    found: dict[str, list[Mapping[str, str]]] = {}
    for family in parse_text(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found
