"""The built-in rules with their defaults (product.md, section 4). `settings` changes what is configured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nexusd.core import rules_cloud as cloud
from nexusd.core import rules_fleets as fleets
from nexusd.core import rules_instances as instances
from nexusd.core import rules_notifications as notifications
from nexusd.core import rules_placements as placements
from nexusd.core.rules import Condition, Rule

RUNBOOK = "https://github.com/nexusd/nexusd/blob/main/docs/runbook.md"
"""Where each alert is explained, by an anchor of its name in lower case."""

_MINUTE_S = 60.0
_HOUR_S = 3600.0

_STOPPED = Condition(instances.instance_stopped, "instance_id", instances.still_stopped)
_TERMINATED = Condition(instances.instance_terminated, "instance_id", instances.still_terminated)
_VANISHED = Condition(instances.instance_vanished, "instance_id", instances.still_vanished, momentary=True)
_STUCK = Condition(instances.instance_stuck, "instance_id", threshold_is_wait=True)

_TABLE = (
    Rule("Watchdog", Condition(cloud.watchdog), "none"),
    Rule("CloudAPIUnreachable", Condition(cloud.api_unreachable), "critical"),
    Rule("CloudAPIUnauthorized", Condition(cloud.api_unauthorized), "critical"),
    Rule("SnapshotStale", Condition(cloud.snapshot_stale), "warning"),
    Rule("MassDisappearance", Condition(cloud.mass_disappearance), "critical"),
    Rule("NoEligibleRegion", Condition(cloud.no_eligible_region), "critical", for_s=_MINUTE_S),
    Rule("RegionUnhealthy", Condition(cloud.region_unhealthy, "region"), "warning", for_s=2 * _MINUTE_S),
    Rule(
        "RegionCapacityExhausted",
        Condition(cloud.region_capacity_exhausted, "region"),
        "info",
        for_s=15 * _MINUTE_S,
    ),
    Rule(
        "RegionLatencyHigh",
        Condition(cloud.region_latency_high, "region"),
        "warning",
        for_s=5 * _MINUTE_S,
        threshold=250.0,
    ),
    Rule("InstanceStopped", _STOPPED, "warning", resolve_after_s=24 * _HOUR_S),
    Rule("InstanceTerminated", _TERMINATED, "warning", resolve_after_s=24 * _HOUR_S),
    Rule("InstanceVanished", _VANISHED, "critical", resolve_after_s=_HOUR_S),
    Rule("InstanceStuck", _STUCK, "warning", threshold=15 * _MINUTE_S),
    Rule(
        "PlacementFailed",
        Condition(placements.placement_failed, "placement_id", timed=True),
        "critical",
        resolve_after_s=_HOUR_S,
    ),
    Rule("PlacementHeld", Condition(placements.placement_held, "placement_id"), "critical"),
    Rule(
        placements.PLACEMENT_DELAYED,
        Condition(placements.placement_delayed, "placement_id"),
        "warning",
        threshold=10 * _MINUTE_S,
    ),
    Rule(
        "DuplicateName",
        Condition(placements.duplicate_name, "name", placements.still_shared),
        "warning",
    ),
    Rule("InstanceLimitNear", Condition(placements.instance_limit_near, "plan"), "warning"),
    Rule("FleetBelowCount", Condition(fleets.fleet_below_count, "fleet"), "critical", for_s=5 * _MINUTE_S),
    Rule(
        notifications.NOTIFICATIONS_FAILING,
        Condition(notifications.notifications_failing, "receiver", timed=True),
        "critical",
        threshold=10 * _MINUTE_S,
        resolve_after_s=24 * _HOUR_S,
    ),
)

DEFAULT_RULES: Mapping[str, Rule] = {
    rule.name: replace(rule, runbook_url=f"{RUNBOOK}#{rule.name.lower()}") for rule in _TABLE
}
"""By name, in the order of the table. A configured rule is `dataclasses.replace` of its default."""
