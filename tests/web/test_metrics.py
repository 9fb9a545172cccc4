"""`/metrics`: what is in it, in which form, and that nothing from outside makes it grow without end."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from nexusd.core.alerts import AlertState
from nexusd.core.cooling import CoolingOff
from nexusd.core.errors import StoreUnavailableError
from nexusd.core.fleets import Fleets, FleetSpec
from nexusd.core.lifecycle import State
from nexusd.core.limits import InstanceLimits
from nexusd.core.records import Region
from nexusd.web.exposition import escape, number
from nexusd.web.metrics import MAX_REGIONS, MetricsRegistry
from tests.requirements import need_program
from tests.web.fakes import EVERYWHERE, NOW, alert, instance, muted_world, placement, world_of
from tests.web.site import Reply, Site

OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"}

DOCUMENTED = [
    "instances",
    "instance_transitions_total",
    "region_info",
    "region_status",
    "region_latency_seconds",
    "region_capacity_available",
    "region_eligible",
    "poll_runs_total",
    "poll_failures_total",
    "poll_skipped_total",
    "poll_duration_seconds",
    "poll_interval_seconds",
    "poll_last_success_timestamp_seconds",
    "api_requests_total",
    "api_retries_total",
    "api_request_duration_seconds",
    "api_circuit_open",
    "placements",
    "placement_outcomes_total",
    "placement_duration_seconds",
    "placement_limit",
    "region_cooling_off",
    "fleet_desired",
    "fleet_alive",
    "alerts",
    "alerts_suppressed",
    "notifications_total",
    "notifications_failed_total",
    "notification_requests_total",
    "notification_latency_seconds",
    "outbox_messages",
    "outbox_oldest_timestamp_seconds",
    "event_loop_lag_seconds",
    "event_loop_tasks",
    "leader",
    "config_last_reload_successful",
    "build_info",
]


def samples(answer: Reply) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """By name and labels; fails when a series is written twice."""
    found: dict[Any, float] = {}
    for family in parse_text(answer.text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found, key
            found[key] = sample.value
    return found


async def scrape(site: Site, name: str, **labels: str) -> float:
    return samples(await site.get("/metrics"))[f"nexusd_{name}", tuple(sorted(labels.items()))]


def _names(answer: Reply) -> set[str]:
    return {line.split()[2] for line in answer.text.splitlines() if line.startswith("# TYPE ")}


def _busy() -> Site:
    """A site with something of everything, and hostile text in it."""
    site = Site(metrics=MetricsRegistry(n for n in ["ops"]))
    site.daemon.world = world_of(
        [instance(1), instance(2, 'odd"\\\n{}'), instance(3, region="left\nregion")], EVERYWHERE
    )
    site.daemon.world.alerts = {"a": alert(region="us-east-1"), "b": alert(state=AlertState.PENDING)}
    site.store.placements.put(placement(1), placement(2, State.RUNNING))
    site.store.outbox.numbers = {("ops", "pending"): 2, ("ops", "dead"): 1}
    site.store.outbox.oldest = {"ops": NOW - 60}
    metrics = site.metrics
    metrics.api_request("instances", "GET", "200", 0.2)
    metrics.api_retry("regions")
    metrics.poll_ended("regions", "partial", 1.5)
    metrics.instances_changed("us-east-1", "running", "stopped", 1)
    metrics.placement_attempt("us-east-1", "created")
    metrics.placement_ended(30.0)
    metrics.notification("ops", None, 0.3)
    metrics.notification("ops", "gone", None)
    metrics.notification_request("ops", "200")
    metrics.loop_lag(0.002)
    return site


async def test_every_documented_metric_is_there_from_the_start(site: Site) -> None:
    answer = await site.get("/metrics")
    assert {f"nexusd_{name}" for name in DOCUMENTED} <= _names(answer)
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


async def test_every_documented_metric_has_series_before_anything_happened() -> None:
    site = Site(metrics=MetricsRegistry(n for n in ["ops"]))
    site.daemon.world.declare(Fleets((FleetSpec("web", 6, "pro"),)))
    async with site.running(receivers=("ops",), alert_rules=(("RegionUnhealthy", "warning"),)):
        names = {name for name, _ in samples(await site.get("/metrics"))}
    for name in DOCUMENTED:
        own = {f"nexusd_{name}", f"nexusd_{name}_count"}
        assert own & names, name


@pytest.mark.parametrize("per_instance", [True, False])
async def test_promtool_has_nothing_to_say(per_instance: bool) -> None:
    promtool = need_program("promtool")
    async with _busy().running(per_instance=per_instance) as site:
        body = (await site.get("/metrics")).body
    checked = await asyncio.to_thread(
        subprocess.run,
        [promtool, "check", "metrics"],
        input=body,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


async def test_openmetrics_is_served_when_asked_for_and_parses() -> None:
    async with _busy().running(per_instance=True) as site:
        answer = await site.get("/metrics", headers=OPENMETRICS)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    families = {family.name for family in parse_openmetrics(answer.text)}
    assert {
        "nexusd_poll_runs",
        "nexusd_instances",
        "nexusd_event_loop_lag_seconds",
        "nexusd_instance_info",
    } <= families


async def test_both_formats_say_the_same() -> None:
    async with _busy().running() as site:
        text = await site.get("/metrics")
        other = await site.get("/metrics", headers=OPENMETRICS)
    openmetrics = {
        (s.name, tuple(sorted(s.labels.items()))): s.value
        for f in parse_openmetrics(other.text)
        for s in f.samples
    }
    own = {key: value for key, value in samples(text).items() if key[0].startswith("nexusd_")}
    assert own == {key: value for key, value in openmetrics.items() if key[0].startswith("nexusd_")}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "text/plain"),
        ("*/*", "text/plain"),
        ("application/openmetrics-text", "application/openmetrics-text"),
        ("application/openmetrics-text;q=0", "text/plain"),
        ("application/openmetrics-text;q=0.2, text/plain;q=0.9", "text/plain"),
        ("application/openmetrics-text;version=abc", "application/openmetrics-text"),
        (";;,=,", "text/plain"),
    ],
)
async def test_the_format_is_negotiated(site: Site, accept: str, expected: str) -> None:
    answer = await site.get("/metrics", headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith(expected + ";")
    assert answer.headers["Vary"] == "Accept, Accept-Encoding"


@pytest.mark.parametrize(
    ("encoding", "zipped"), [("gzip", True), ("br, gzip;q=0.5", True), ("gzip;q=0", False), ("", False)]
)
async def test_gzip_is_used_when_it_is_taken(site: Site, encoding: str, zipped: bool) -> None:
    answer = await site.get("/metrics", headers={"Accept-Encoding": encoding})
    assert (answer.headers.get("Content-Encoding") == "gzip") is zipped
    text = gzip.decompress(answer.body) if zipped else answer.body
    assert b"nexusd_build_info" in text


async def test_instances_are_counted_by_region_and_status_with_zeros(site: Site) -> None:
    site.daemon.world = world_of([instance(1), instance(2), instance(3, "stopped")], EVERYWHERE)
    assert await scrape(site, "instances", region="us-east-1", status="running") == 2
    assert await scrape(site, "instances", region="us-east-1", status="pending") == 0
    assert await scrape(site, "instances", region="eu-west-2", status="running") == 0


async def test_latency_is_in_seconds(site: Site) -> None:
    assert await scrape(site, "region_latency_seconds", region="us-east-1") == 0.012


async def test_a_region_without_latency_has_no_latency_series(site: Site) -> None:
    site.daemon.world = world_of([], [Region("r1", status="healthy")])
    assert "nexusd_region_latency_seconds{" not in (await site.get("/metrics")).text


async def test_a_region_status_is_one_for_what_it_is_and_zero_for_what_it_was(site: Site) -> None:
    site.daemon.world = world_of([], [Region("r1", status="degraded")])
    await site.get("/metrics")
    site.daemon.world = world_of([], [Region("r1", status="healthy")])
    assert await scrape(site, "region_status", region="r1", status="healthy") == 1
    assert await scrape(site, "region_status", region="r1", status="degraded") == 0


async def test_eligibility_and_cooling_off_are_flags(site: Site) -> None:
    site.daemon.world.cooling_off = {("eu-west-2", ""): CoolingOff("eu-west-2", NOW + 60, 1, "capacity")}
    assert await scrape(site, "region_eligible", region="us-east-1") == 1
    assert await scrape(site, "region_eligible", region="eu-west-2") == 0
    assert await scrape(site, "region_cooling_off", region="eu-west-2") == 1
    assert await scrape(site, "region_cooling_off", region="us-east-1") == 0


async def test_limits_on_instances_are_shown_and_infinite_where_there_are_none(site: Site) -> None:
    assert await scrape(site, "placement_limit", plan="") == float("inf")
    site.daemon.world.limits = InstanceLimits(total=50, per_plan=20)
    assert await scrape(site, "placement_limit", plan="") == 50
    assert await scrape(site, "placement_limit", plan="pro") == 20


async def test_a_timestamp_is_what_the_wall_clock_would_show(site: Site) -> None:
    site.clock.step_wall_clock(3600)
    assert await scrape(site, "poll_last_success_timestamp_seconds", resource="regions") == NOW - 10 + 3600


async def test_what_the_rooms_count_is_shown() -> None:
    async with _busy().running(receivers=("ops",)) as site:
        answer = samples(await site.get("/metrics"))
    expected: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
        ("api_requests_total", (("code", "200"), ("endpoint", "instances"), ("method", "GET"))): 1,
        ("api_retries_total", (("endpoint", "regions"),)): 1,
        ("poll_runs_total", (("resource", "regions"),)): 1,
        ("poll_failures_total", (("reason", "partial"), ("resource", "regions"))): 1,
        ("poll_failures_total", (("reason", "partial"), ("resource", "instances"))): 0,
        ("poll_duration_seconds_bucket", (("le", "1.0"), ("resource", "regions"))): 0,
        ("poll_duration_seconds_bucket", (("le", "2.5"), ("resource", "regions"))): 1,
        ("poll_duration_seconds_sum", (("resource", "regions"),)): 1.5,
        ("instance_transitions_total", (("from", "running"), ("region", "us-east-1"), ("to", "stopped"))): 1,
        ("placement_outcomes_total", (("outcome", "created"), ("region", "us-east-1"))): 1,
        ("placement_outcomes_total", (("outcome", "refused"), ("region", "eu-west-2"))): 0,
        ("placement_duration_seconds_count", ()): 1,
        ("notifications_total", (("receiver", "ops"),)): 2,
        ("notifications_failed_total", (("reason", "gone"), ("receiver", "ops"))): 1,
        ("notification_latency_seconds_count", (("receiver", "ops"),)): 1,
        ("event_loop_lag_seconds_count", ()): 1,
        ("placements", (("state", "queued"),)): 1,
        ("placements", (("state", "failed"),)): 0,
        ("outbox_messages", (("receiver", "ops"), ("state", "pending"))): 2,
        ("outbox_messages", (("receiver", "ops"), ("state", "sent"))): 0,
        ("outbox_oldest_timestamp_seconds", (("receiver", "ops"),)): NOW - 60,
        ("alerts", (("alertname", "RegionUnhealthy"), ("severity", "warning"), ("state", "firing"))): 1,
        ("leader", ()): 1,
        ("build_info", (("version", "1.2.3"),)): 1,
    }
    assert {key: answer[f"nexusd_{key[0]}", key[1]] for key in expected} == expected


async def test_the_circuit_and_the_last_reload_are_flags(site: Site) -> None:
    site.metrics.api_circuit("open")
    site.metrics.reloaded(successful=False)
    assert await scrape(site, "api_circuit_open") == 1
    assert await scrape(site, "config_last_reload_successful") == 0


async def test_unknown_values_from_outside_end_as_other(site: Site) -> None:
    site.daemon.world = world_of(instance(n, f"odd-{n}") for n in range(50))
    for n in range(500):
        site.metrics.api_request(f"/{n}", f"M{n}", str(n), 0.1)
        site.metrics.poll_ended(f"r{n}", f"why{n}", 0.1)
        site.metrics.instances_changed("us-east-1", f"a{n}", f"b{n}", 1)
        site.metrics.placement_attempt("us-east-1", f"o{n}")
        site.metrics.notification("ops", f"f{n}", None)
        site.metrics.notification_request("ops", str(n))
    found = samples(await site.get("/metrics"))

    statuses = {dict(labels)["status"] for name, labels in found if name == "nexusd_instances"}
    assert len(statuses) == 5 + 10 + 1
    assert sum(value for (name, _), value in found.items() if name == "nexusd_instances") == 50
    assert sum(value for (name, _), value in found.items() if name == "nexusd_api_requests_total") == 500
    assert len(found) < 1500


@pytest.mark.slow
async def test_more_regions_than_anybody_has_end_as_other(site: Site) -> None:
    extra = 50
    site.daemon.world = world_of(instance(n, region=f"r{n:05}") for n in range(MAX_REGIONS + extra))
    found = samples(await site.get("/metrics"))
    regions = {dict(labels)["region"] for name, labels in found if name == "nexusd_instances"}
    assert len(regions) == MAX_REGIONS + 1
    assert found["nexusd_instances", (("region", "other"), ("status", "running"))] == extra


async def test_ten_thousand_hostile_regions_and_statuses_make_no_more_series_than_the_bounds(
    site: Site,
) -> None:
    names = (f'"\n}} {n}' for n in range(10_000))
    site.daemon.world = world_of(instance(n, region=name, status=name) for n, name in enumerate(names))
    lines = (await site.get("/metrics")).text.splitlines()
    shown = [line for line in lines if line.startswith("nexusd_instances{")]
    assert len(shown) <= (MAX_REGIONS + 1) * (5 + 10 + 1)
    assert sum(int(line.rpartition(" ")[2]) for line in shown) == 10_000
    transitions = sum(line.startswith("nexusd_instance_transitions_total{") for line in lines)
    assert transitions == MAX_REGIONS * 20


async def test_what_moves_between_two_scrapes_is_shown(site: Site) -> None:
    site.daemon.world = world_of([instance(1)])
    before = samples(await site.get("/metrics"))
    site.daemon.world = world_of([instance(1), instance(2, "stopped")])
    site.metrics.instances_changed("us-east-1", "running", "stopped", 3)
    after = samples(await site.get("/metrics"))
    stopped = ("nexusd_instances", (("region", "us-east-1"), ("status", "stopped")))
    assert (before[stopped], after[stopped]) == (0, 1)
    moved = (("from", "running"), ("region", "us-east-1"), ("to", "stopped"))
    assert after["nexusd_instance_transitions_total", moved] == 3


async def test_a_store_that_is_away_costs_no_scrape_and_keeps_the_last_counts() -> None:
    async with _busy().running(store_timeout_s=0.02) as site:
        await site.get("/metrics")
        site.clock.advance(60)
        site.store.error = StoreUnavailableError("disk full")
        assert await scrape(site, "placements", state="queued") == 1
        site.store.error, site.store.hangs = None, True
        assert await scrape(site, "placements", state="queued") == 1


async def test_the_age_of_the_counts_is_exposed() -> None:
    async with _busy().running() as site:
        counted_at = await scrape(site, "store_counts_timestamp_seconds")
        site.clock.advance(60)
        site.store.hangs = True
        assert await scrape(site, "store_counts_timestamp_seconds") == counted_at == NOW


async def test_many_scrapes_at_once_read_the_store_once(site: Site) -> None:
    await asyncio.gather(*(site.get("/metrics") for _ in range(20)))
    assert site.store.runs == 1


async def test_per_instance_series_are_not_there_unless_asked_for(site: Site) -> None:
    assert "nexusd_instance_info" not in _names(await site.get("/metrics"))


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_escaped_value_is_read_back_as_it_was(value: str) -> None:
    text = f'# TYPE x gauge\nx{{a="{escape(value)}"}} 1\n'
    assert [s.labels["a"] for f in parse_text(text) for s in f.samples] == [value]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (True, "1"), (1.0, "1"), (0.012, "0.012"), (1.7e9, "1700000000"), (float("inf"), "+Inf")],
)
def test_numbers_are_written_as_the_formats_want_them(value: float, expected: str) -> None:
    assert number(value) == expected


def test_a_number_that_is_none_is_nan() -> None:
    assert number(float("nan")) == "NaN"


def test_the_shipped_scrape_configuration_is_clean() -> None:
    checked = subprocess.run(
        [need_program("promtool"), "check", "config", "config/prometheus/prometheus.yml"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "SUCCESS" in checked.stdout
    assert not checked.stderr


@pytest.mark.parametrize("reason", ["inhibited", "silenced"])
async def test_suppressed_alerts_are_counted_by_reason(site: Site, reason: str) -> None:
    assert await scrape(site, "alerts_suppressed", reason=reason) == 0
    site.daemon.world = muted_world()
    assert await scrape(site, "alerts_suppressed", reason=reason) == 1
