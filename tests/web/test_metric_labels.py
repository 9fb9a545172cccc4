"""`/metrics` has the families of the product page, each with exactly its labels, before anything happened."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families as parse_text

from nexusd.core.fleets import Fleets, FleetSpec
from nexusd.core.lifecycle import Outcome, State
from nexusd.web.metrics import INSTANCE_STATUSES, MetricsRegistry
from tests.web.fakes import EVERYWHERE, instance, world_of
from tests.web.site import Site

Series = list[dict[str, str]]

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "http-api.md"

LABELS = {
    "instances": "region status",
    "instance_info": "instance_id name region",
    "instance_status": "instance_id status",
    "instance_series_dropped": "",
    "instance_transitions_total": "region from to",
    "region_info": "region name",
    "region_status": "region status",
    "region_latency_seconds": "region",
    "region_capacity_available": "region",
    "region_eligible": "region",
    "poll_runs_total": "resource",
    "poll_failures_total": "resource reason",
    "poll_skipped_total": "resource",
    "poll_duration_seconds_count": "resource",
    "poll_interval_seconds": "resource",
    "poll_last_success_timestamp_seconds": "resource",
    "api_requests_total": "endpoint method code",
    "api_retries_total": "endpoint",
    "api_request_duration_seconds_count": "endpoint",
    "api_circuit_open": "",
    "placements": "state",
    "placement_outcomes_total": "region outcome",
    "placement_duration_seconds_count": "",
    "placement_limit": "plan",
    "region_cooling_off": "region",
    "fleet_desired": "fleet",
    "fleet_alive": "fleet",
    "alerts": "alertname severity state",
    "alerts_suppressed": "reason",
    "notifications_total": "receiver",
    "notifications_failed_total": "receiver reason",
    "notification_requests_total": "receiver code",
    "notification_latency_seconds_count": "receiver",
    "outbox_messages": "receiver state",
    "outbox_oldest_timestamp_seconds": "receiver",
    "event_loop_lag_seconds_count": "",
    "leader": "",
    "config_last_reload_successful": "",
    "build_info": "version",
}
"""As product.md, section 6, lists them."""

REGIONS, RESOURCES, RECEIVERS = ("us-east-1", "eu-west-2"), ("regions", "instances"), ("ops",)
FILLED = {
    "instances": (REGIONS, INSTANCE_STATUSES),
    "instance_transitions_total": (REGIONS, INSTANCE_STATUSES, INSTANCE_STATUSES),
    "region_capacity_available": (REGIONS,),
    "region_eligible": (REGIONS,),
    "poll_runs_total": (RESOURCES,),
    "poll_failures_total": (RESOURCES, ("partial", "unauthorized", "timeout", "other")),
    "poll_duration_seconds_count": (RESOURCES,),
    "api_retries_total": (RESOURCES,),
    "placements": (tuple(State),),
    "placement_outcomes_total": (REGIONS, tuple(Outcome)),
    "region_cooling_off": (REGIONS,),
    "fleet_alive": (("web",),),
    "alerts": (("RegionUnhealthy",), ("warning",), ("pending", "firing")),
    "alerts_suppressed": (("inhibited", "silenced"),),
    "notifications_failed_total": (RECEIVERS, ("expired", "gone", "rejected", "other")),
    "notification_latency_seconds_count": (RECEIVERS,),
    "outbox_messages": (RECEIVERS, ("pending", "sent", "dead")),
}
"""Values of a family's labels, in the order above, that are there as soon as nexusd knows of them."""


@pytest.fixture
async def families() -> list[Metric]:
    site = Site(metrics=MetricsRegistry(RECEIVERS))
    site.daemon.world = world_of([instance(1)], EVERYWHERE)
    site.daemon.world.declare(Fleets((FleetSpec("web", 6, "pro"),)))
    rules = (("RegionUnhealthy", "warning"),)
    async with site.running(receivers=RECEIVERS, alert_rules=rules, per_instance=True):
        text = (await site.get("/metrics")).text
    return list(parse_text(text))


@pytest.fixture
def exposed(families: list[Metric]) -> dict[str, Series]:
    """The labels of each series by the name of its samples."""
    found: dict[str, Series] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name.removeprefix("nexusd_"), []).append(sample.labels)
    return found


def test_every_family_has_exactly_its_labels(exposed: dict[str, Series]) -> None:
    found = {name: {" ".join(labels) for labels in exposed.get(name, ())} for name in LABELS}
    assert found == {name: {labels} for name, labels in LABELS.items()}


@pytest.mark.parametrize("name", FILLED)
def test_what_may_come_is_there_as_zero(exposed: dict[str, Series], name: str) -> None:
    there = [tuple(labels.values()) for labels in exposed[name]]
    wanted = set(product(*FILLED[name]))
    if name == "instance_transitions_total":
        wanted = {labels for labels in wanted if labels[1] != labels[2]}
    assert wanted - set(there) == set()


def test_every_family_is_documented_with_its_labels_and_nothing_else_is(families: list[Metric]) -> None:
    rows = re.findall(r"^\| `(nexusd_[^`]+)` \| (\w+) \|", DOCUMENTATION.read_text(), re.MULTILINE)
    assert len(rows) == len(dict(rows))
    assert dict(rows) == {
        shown(family): family.type for family in families if family.name.startswith("nexusd_")
    }


def shown(family: Metric) -> str:
    """`nexusd_placements{state}`."""
    labels = ",".join(label for label in family.samples[0].labels if label != "le")
    total = "_total" if family.type == "counter" else ""
    return f"{family.name}{total}" + (f"{{{labels}}}" if labels else "")
