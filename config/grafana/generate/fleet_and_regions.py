"""*Fleet & regions*: instances, regions, the next placement, and placements.

Several replicas are one nexusd: each fact is shown once, as one of them has it (`panels.once`).
"""

from __future__ import annotations

from panels import GREEN, ORANGE, RED, YELLOW, Panel, Query, dashboard_of, once

OPEN = 'nexusd_placements{@, state=~"queued|creating|verifying|provisioning|held"}'
ENDED = 'nexusd_placements{@, state=~"running|failed|cancelled|expired"}'
FIRING = 'nexusd_alerts{@, state="firing", severity!="none"}'
PENDING = 'nexusd_alerts{@, state="pending"}'
SNAPSHOT = "From nexusd's last snapshot."

NOW = (
    Panel(
        "Instances",
        f"All that CloudNexus lists, whatever their status. {SNAPSHOT}",
        "short",
        (Query(f"sum({once('nexusd_instances{@}')})"),),
        kind="number",
        width=4,
        height=4,
    ),
    Panel(
        "Eligible regions",
        f"Regions that a placement without constraints may go to. With none, placements wait. {SNAPSHOT}",
        "short",
        (Query(f"sum({once('nexusd_region_eligible{@}')})"),),
        kind="number",
        width=4,
        height=4,
        colours={None: RED, 1: GREEN},
    ),
    Panel(
        "Best latency",
        f"Latency of the region that is next in line: the lowest of those that are eligible. {SNAPSHOT}",
        "s",
        (
            Query(
                f"""min({once("nexusd_region_latency_seconds{@}")}
                and on (job, region) {once("nexusd_region_eligible{@}")} == 1)"""
            ),
        ),
        kind="number",
        width=4,
        height=4,
    ),
    Panel(
        "Open placements",
        "Placements that have not ended: queued, creating, verifying, provisioning or held.",
        "short",
        (Query(f"sum({once(OPEN)})"),),
        kind="number",
        width=4,
        height=4,
    ),
    Panel(
        "Missing from fleets",
        "Instances that fleets are declared to have and that are not alive.",
        "short",
        (Query(f"sum(clamp_min({once('nexusd_fleet_desired{@}')} - {once('nexusd_fleet_alive{@}')}, 0))"),),
        kind="number",
        width=4,
        height=4,
        colours={None: GREEN, 1: ORANGE},
    ),
    Panel(
        "Firing alerts",
        "nexusd's own alerts that fire, without the Watchdog.",
        "short",
        (Query(f"sum({once(FIRING)})"),),
        kind="number",
        width=4,
        height=4,
        colours={None: GREEN, 1: RED},
    ),
)

REGIONS = (
    Panel(
        "State of regions",
        "Whether placements may go to a region, and if not, why. Passed over: it cools off after a refusal, "
        f"or is at its cap, or its data is stale. {SNAPSHOT}",
        "none",
        (
            Query(
                f"""max by (region) ({once('nexusd_region_status{@, status="healthy"}')})
                * (1 + max by (region) ({once("nexusd_region_capacity_available{@}")})
                * (1 + max by (region) ({once("nexusd_region_eligible{@}")})))""",
                "{{region}}",
            ),
        ),
        kind="states",
        width=24,
        words={
            3: ("eligible", GREEN),
            2: ("passed over", YELLOW),
            1: ("no capacity", ORANGE),
            0: ("unhealthy", RED),
        },
    ),
    Panel(
        "Latency by region",
        "As CloudNexus tells it. The line is where RegionLatencyHigh begins unless its threshold is set.",
        "s",
        (Query(f"max by (region) ({once('nexusd_region_latency_seconds{@}')})", "{{region}}"),),
        colours={None: GREEN, 0.25: RED},
    ),
    Panel(
        "Regions that cool off",
        "No create goes to a region for a while after it refused one.",
        "none",
        (Query(f"max by (region) ({once('nexusd_region_cooling_off{@}')})", "{{region}}"),),
        kind="states",
        words={0: ("open", GREEN), 1: ("cools off", YELLOW)},
    ),
)

FLEET = (
    Panel(
        "Instances by status",
        SNAPSHOT,
        "short",
        (Query(f"sum by (status) ({once('nexusd_instances{@}')})", "{{status}}"),),
        kind="stacked",
        width=8,
    ),
    Panel(
        "Instances by region",
        SNAPSHOT,
        "short",
        (Query(f"sum by (region) ({once('nexusd_instances{@}')})", "{{region}}"),),
        kind="stacked",
        width=8,
    ),
    Panel(
        "Changes of status",
        "Status changes between two snapshots.",
        "short",
        (
            Query(
                """sum by (from, to) (max by (job, region, from, to)
                (increase(nexusd_instance_transitions_total{@}[$__rate_interval]))) > 0""",
                "{{from}} → {{to}}",
            ),
        ),
        kind="bars",
        width=8,
    ),
    Panel(
        "Fleets: alive",
        "Instances of each declared fleet that count as alive.",
        "short",
        (Query(f"max by (fleet) ({once('nexusd_fleet_alive{@}')})", "{{fleet}}"),),
    ),
    Panel(
        "Fleets: alive minus declared",
        "Below zero instances are missing; above, there is a surplus: CloudNexus has no delete.",
        "short",
        (
            Query(
                f"max by (fleet) ({once('nexusd_fleet_alive{@}')} - {once('nexusd_fleet_desired{@}')})",
                "{{fleet}}",
            ),
        ),
    ),
)

PLACEMENTS = (
    Panel(
        "Placements by state",
        "Those that have not ended. Held ones wait for a person: `nexusd resolve`.",
        "short",
        (Query(f"sum by (state) ({once(OPEN)})", "{{state}}"),),
        kind="stacked",
    ),
    Panel(
        "Ended placements",
        "Placements that nexusd still remembers (history.retention), by how they ended.",
        "short",
        (Query(f"sum by (state) ({once(ENDED)})", "{{state}}"),),
    ),
    Panel(
        "Creates by outcome",
        "What came of each create that was sent, or was to be. What is unknown is verified first.",
        "short",
        (
            Query(
                "sum by (outcome) (increase(nexusd_placement_outcomes_total{@}[$__rate_interval]))",
                "{{outcome}}",
            ),
        ),
        kind="bars",
        width=8,
    ),
    Panel(
        "Creates by region",
        "Creates that were answered with an instance, or whose instance was found later.",
        "short",
        (
            Query(
                """sum by (region) (increase(
                nexusd_placement_outcomes_total{@, outcome=~"created|adopted"}[$__rate_interval]))""",
                "{{region}}",
            ),
        ),
        kind="bars",
        width=8,
    ),
    Panel(
        "Time to running",
        "From taking a placement in to its instance running.",
        "s",
        tuple(
            Query(
                f"""histogram_quantile({quantile}, sum by (le) (
                rate(nexusd_placement_duration_seconds_bucket{{@}}[$__rate_interval])))""",
                name,
            )
            for name, quantile in (("median", 0.5), ("95 %", 0.95))
        ),
        width=8,
    ),
)

ALERTS = (
    Panel(
        "Firing alerts by name",
        "nexusd's own alerts, without the Watchdog. `nexusd alerts` says what each is about.",
        "short",
        (
            Query(
                f"sum by (alertname) ({once(FIRING)}) > 0",
                "{{alertname}}",
            ),
        ),
        kind="bars",
        width=12,
    ),
    Panel(
        "Pending and muted alerts",
        "Pending: the reason has not held for long enough. Muted: they fire and are told to nobody, because "
        "another alert or a silence mutes them.",
        "short",
        (
            Query(f"sum({once(PENDING)})", "pending"),
            Query(f"sum by (reason) ({once('nexusd_alerts_suppressed{@}')})", "{{reason}}"),
        ),
    ),
)

DASHBOARD = dashboard_of(
    "nexusd-fleet-and-regions",
    "nexusd: Fleet & regions",
    "What CloudNexus has, where the next placement would go, and what becomes of placements.",
    {
        "Now": NOW,
        "Regions": REGIONS,
        "Fleet": FLEET,
        "Placements": PLACEMENTS,
        "Alerts": ALERTS,
    },
)
