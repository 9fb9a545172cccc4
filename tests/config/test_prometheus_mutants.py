"""Each rule for Prometheus, broken in many ways: the cases notice, and each of them can fail."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from tests.config.shipped import RULES, Block, Check, alerts, checks, failing, rules
from tests.requirements import need_program

pytestmark = pytest.mark.slow

AWAY = ""
REGIONS_KNOWN = 'nexusd:snapshot_known{resource="regions"}'
SHED = "nexusd_http_connections_shed_total"
BROKEN = (
    ("NexusdDown", "== 0 or absent", "== 0 and absent"),
    ("NexusdDown", ' or absent(up{job="nexusd"})', AWAY),
    ("NexusdDown", 'up{job="nexusd"} == 0', "up == 0"),
    ("NexusdConnectionsLimited", "total[5m]) > 0", "total[5m]) > 2"),
    ("NexusdConnectionsLimited", "total[5m]) > 0", "total[5m]) >= 0"),
    ("NexusdConnectionsLimited", "total[5m])", "total[4m])"),
    ("NexusdConnectionsLimited", "total[5m])", "total[6m])"),
    ("NexusdConnectionsLimited", f"increase({SHED}[5m])", SHED),
    ("NexusdConnectionsLimited", f"increase({SHED}", f"changes({SHED}"),
    ("NexusdConnectionsLimited", f"increase({SHED}", f"delta({SHED}"),
    ("NexusdConnectionsLimited", f"increase({SHED}[5m])", f"sum without (instance) (increase({SHED}[5m]))"),
    ("NexusdConnectionsLimited", f"increase({SHED}[5m])", f"sum without (reason) (increase({SHED}[5m]))"),
    ("NexusdConnectionsLimited", 'if eq $labels.reason "event_readers"', 'if eq $labels.reason "none"'),
    ("NexusdConnectionsLimited", 'if eq $labels.reason "refused"', 'if eq $labels.reason "none"'),
    ("NexusdWatchdog", "without (instance, version)", "without (version)"),
    ("NexusdWatchdog", "without (instance, version)", "without (instance)"),
    ("NexusdCloudAPIUnreachable", "> 3 * min without", "> 6 * min without"),
    ("NexusdCloudAPIUnreachable", "> 3 * min without", "> 2 * min without"),
    ("NexusdCloudAPIUnreachable", "min without (resource) (nexusd:sn", "max without (resource) (nexusd:sn"),
    ("NexusdCloudAPIUnreachable", "min without (resource) (nexusd_p", "max without (resource) (nexusd_p"),
    ("NexusdCloudAPIUnreachable", 'reason="partial"', 'reason="none"'),
    ("NexusdCloudAPIUnreachable", "max without (instance) (nexusd:api", "(nexusd:api"),
    ("NexusdCloudAPIUnreachable", "process_start_time_seconds", "0 * process_start_time_seconds"),
    (
        "NexusdCloudAPIUnreachable",
        "(job) nexusd_poll_last_success_timestamp_seconds > 0",
        "(job) nexusd_build_info",
    ),
    ("NexusdCloudAPIUnauthorized", "and ignoring (reason)\n", "or ignoring (reason)\n"),
    ("NexusdCloudAPIUnauthorized", "> 1.2 *", "> 3 *"),
    ("NexusdCloudAPIUnauthorized", "> 1.2 *", "> 0 *"),
    (
        "NexusdCloudAPIUnauthorized",
        "unless on (job) nexusd:snapshot_known\n",
        "unless on (job) nexusd_build_info\n",
    ),
    ("NexusdSnapshotStale", "> 6 *", "> 3 *"),
    ("NexusdSnapshotStale", "> 6 *", "> 8 *"),
    ("NexusdSnapshotStale", "_age:seconds > 3 *", "_age:seconds > 5 *"),
    ("NexusdSnapshotStale", "_age:seconds > 3 *", "_age:seconds > 2 *"),
    ("NexusdSnapshotStale", "partial|invalid|", "invalid|"),
    ("NexusdSnapshotStale", "partial|invalid|", "partial|"),
    ("NexusdSnapshotStale", "unless ignoring (resource) present_over_time(nexusd:api_unreachable[2m])", AWAY),
    ("NexusdSnapshotStale", "present_over_time(nexusd:api_unreachable[2m])", "nexusd:api_unreachable"),
    (
        "NexusdSnapshotStale",
        "unless ignoring (resource, reason) nexusd:api_unauthorized",
        AWAY,
    ),
    ("NexusdSnapshotStale", "unless on (job, resource) nexusd_poll", "unless on (job) nexusd_poll"),
    ("NexusdNoEligibleRegion", ' and ignoring (status) nexusd_region_status{status="healthy"} == 1\n', "\n"),
    (
        "NexusdNoEligibleRegion",
        "nexusd_region_capacity_available == 1 and",
        "nexusd_region_capacity_available and",
    ),
    ("NexusdNoEligibleRegion", 'seconds{resource="regions"} <= 3', 'seconds{resource="regions"} <= 300'),
    ("NexusdRegionUnhealthy", "nexusd_region_cooling_off", "max without (status) (nexusd_region_status)"),
    ("NexusdRegionUnhealthy", "nexusd_region_cooling_off", "nexusd_region_cooling_off == 1"),
    (
        "NexusdRegionUnhealthy",
        'unless ignoring (status)\n              nexusd_region_status{status="healthy"}',
        "unless ignoring (status)\n              nexusd_region_status",
    ),
    ("NexusdRegionUnhealthy", 'seconds{resource="regions"} <= 3', 'seconds{resource="regions"} <= 300'),
    ("NexusdRegionUnhealthy", 'seconds{resource="regions"} <= 3', 'seconds{resource="regions"} <= 1'),
    ("NexusdRegionUnhealthy", "and on (job) present_over_time(nexusd_build_info[1h])", AWAY),
    ("NexusdRegionUnhealthy", "nexusd_build_info[1h]", "nexusd_build_info[30m]"),
    (
        "NexusdRegionCapacityExhausted",
        'and ignoring (status) nexusd_region_status{status="healthy"} == 1\n            and',
        "and",
    ),
    (
        "NexusdRegionCapacityExhausted",
        "nexusd_region_capacity_available == 0",
        "nexusd_region_capacity_available",
    ),
    (
        "NexusdRegionCapacityExhausted",
        'seconds{resource="regions"} <= 3',
        'seconds{resource="regions"} <= 300',
    ),
    ("NexusdRegionLatencyHigh", "> 0.25", ">= 0.25"),
    ("NexusdRegionLatencyHigh", "> 0.25", "> 0.2511"),
    ("NexusdRegionLatencyHigh", "and on (job, region) nexusd_region_status\n", "\n"),
    (
        "NexusdRegionLatencyHigh",
        "unless on (job, region) nexusd_region_latency_seconds",
        "unless on (job, region) nexusd_region_status",
    ),
    ("NexusdRegionLatencyHigh", 'seconds{resource="regions"} <= 3', 'seconds{resource="regions"} <= 300'),
    ("NexusdFleetBelowCount", "nexusd_fleet_alive <", "nexusd_fleet_alive !="),
    ("NexusdFleetBelowCount", "nexusd_fleet_alive <", "nexusd_fleet_alive <="),
    ("NexusdFleetBelowCount", 'seconds{resource="instances"} <= 3', 'seconds{resource="instances"} <= 300'),
    (
        "NexusdFleetBelowCount",
        'alertname="MassDisappearance", state="firing"} > 0\n',
        'alertname="MassDisappearance", state="firing"} > 9\n',
    ),
    ("NexusdPlacementHeld", 'state="held"', 'state="failed"'),
    ("NexusdNotificationsFailing", "> 600", "> 660"),
    ("NexusdNotificationsFailing", "> 600", "> 585"),
    (
        "NexusdNotificationsFailing",
        "(nexusd_outbox_oldest_timestamp_seconds > 0)",
        "nexusd_outbox_oldest_timestamp_seconds",
    ),
    ("NexusdNotificationsFailing", '> min_over_time(nexusd_outbox_messages{state="dead"}[1d])', "> 0"),
    ("NexusdNotificationsFailing", "[1d]", "[2d]"),
    ("NexusdNotificationsFailing", "[1d]", "[12h]"),
    (
        "NexusdNotificationsFailing",
        'nexusd_outbox_messages{state="dead"} >',
        "sum without (state) (nexusd_outbox_messages) >",
    ),
)
"""What is changed in the file, and the alert whose cases are to notice."""


@dataclass(frozen=True)
class Mutant:
    alert: str
    what: str
    rules: list[Block] = field(hash=False, repr=False)


def changed(alert: str, what: str, **changes: object) -> Mutant:
    """With another value for a key of the alert's rule; None: without it."""
    found: list[Block] = rules()
    [rule] = [rule for rule in found if rule.get("alert") == alert]
    rule.update(changes)
    return Mutant(alert, what, [{k: v for k, v in one.items() if v is not None} for one in found])


def mutants() -> Iterator[Mutant]:
    """Of each rule ones that never fire, always fire, wait otherwise, do not hold, and the like."""
    for name, rule in alerts().items():
        yield changed(name, "never", expr="vector(1) > 2")
        yield changed(name, "always", expr="vector(1)", **{"for": None})
        yield changed(name, "another severity", labels={"severity": "page"})
        if name != "NexusdWatchdog":
            yield changed(name, "waits longer", **{"for": "20m"})
        if "for" in rule:
            yield changed(name, "does not wait", **{"for": None})
        judged, held, _ = rule["expr"].rpartition("\nor on")
        if held:
            yield changed(name, "is not held", expr=judged)
        if "nexusd_alerts" in rule["expr"]:
            yield changed(name, "also pending", expr=rule["expr"].replace(', state="firing"', ""))
            yield changed(name, "each replica's", expr=rule["expr"].replace("max without (instance) ", ""))
            yield changed(name, "another's", expr=rule["expr"].replace('{alertname="', '{alertname="x', 1))
    text = RULES.read_text()
    for name, old, new in BROKEN:
        assert old in text, old
        yield Mutant(name, f"{old} -> {new}", rules(text.replace(old, new)))


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[Mutant, set[Check]]:
    """The checks that fail for each mutant."""
    promtool, folder = need_program("promtool"), tmp_path_factory.mktemp("mutants")

    def judged(numbered: tuple[int, Mutant]) -> tuple[Mutant, set[Check]]:
        number, mutant = numbered
        return mutant, failing(promtool, folder / str(number), mutant.rules, mutant.alert)

    with ThreadPoolExecutor(max_workers=2) as pool:
        return dict(pool.map(judged, enumerate(mutants())))


def test_the_cases_notice_every_mutant(verdicts: dict[Mutant, set[Check]]) -> None:
    missed = [(mutant.alert, mutant.what) for mutant, failed in verdicts.items() if not failed]
    assert missed == []


def test_every_check_of_the_cases_can_fail(verdicts: dict[Mutant, set[Check]]) -> None:
    assert checks() - set().union(*verdicts.values()) == set()
