"""config/alertmanager: what inhibits what is as in nexusd, for its own alerts and for Prometheus's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import aiohttp
import pytest
import yaml

from nexusd.core.alerts import Alert, AlertState, fingerprint
from nexusd.core.matchers import all_match, parse_matcher
from nexusd.core.muting import mute
from nexusd.core.rules_default import DEFAULT_RULES
from tests.config.shipped import CONFIG, PROMETHEUS_ONLY, alerts, run
from tests.delivery.test_alertmanager import post_alerts, serving
from tests.requirements import need_program

SHIPPED = CONFIG / "alertmanager" / "alertmanager.yml"
INHIBITIONS = [
    (
        tuple(map(parse_matcher, rule["source_matchers"])),
        tuple(map(parse_matcher, rule["target_matchers"])),
        rule["equal"],
    )
    for rule in yaml.safe_load(SHIPPED.read_text())["inhibit_rules"]
]
NOW = 1_000.0

OF_A_REGION = frozenset(
    name for name in DEFAULT_RULES if name.startswith(("Region", "Instance")) and name != "InstanceLimitNear"
)
OF_PLACEMENTS = frozenset(name for name in DEFAULT_RULES if name.startswith("Placement"))


def firing(labels: Mapping[str, str], at: float = NOW) -> Alert:
    pairs = tuple(sorted(labels.items()))
    return Alert(fingerprint(pairs), pairs, (), AlertState.FIRING, at, at)


def own(name: str, region: str) -> dict[str, str]:
    """The labels of one of nexusd's alerts."""
    labels = {"alertname": name, "severity": DEFAULT_RULES[name].severity}
    if name in OF_A_REGION:
        labels["region"] = region
    if name in OF_PLACEMENTS:
        labels |= {"placement_id": "plc_1", "region": region}
    return labels


def inhibits(source: Mapping[str, str], target: Mapping[str, str]) -> bool:
    """What Alertmanager would say, by the rules that are shipped."""
    return any(
        all_match(sources, source)
        and all_match(targets, target)
        and all(source.get(label, "") == target.get(label, "") for label in equal)
        for sources, targets, equal in INHIBITIONS
    )


def pairs() -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    for source, target, region in product(DEFAULT_RULES, DEFAULT_RULES, ("us-east-1", "eu-west-2")):
        if (source, "us-east-1") != (target, region):
            yield own(source, "us-east-1"), own(target, region)


def test_nexusds_own_alerts_inhibit_each_other_as_in_nexusd() -> None:
    seen = set()
    for source, target in pairs():
        inhibiting, inhibited = firing(source), firing(target)
        muted = mute([inhibiting, inhibited], (), NOW).muted.get(inhibited.fingerprint)
        expected = muted is not None and inhibiting.fingerprint in muted.inhibited_by
        assert inhibits(source, target) == expected, (source, target)
        seen.add(expected)
    assert seen == {True, False}


def of_prometheus(labels: Mapping[str, str], job: str = "nexusd") -> dict[str, str]:
    """The same from the rules: those that are taken from nexusd's own have no region."""
    named = {"alertname": f"Nexusd{labels['alertname']}", "job": job, "severity": labels["severity"]}
    return named | ({"region": labels["region"]} if labels["alertname"].startswith("Region") else {})


def test_prometheuss_alerts_inhibit_each_other_likewise_within_their_job() -> None:
    for source, target in pairs():
        without_region = (
            target["alertname"].startswith("Instance") and source["alertname"] == "RegionUnhealthy"
        )
        expected = inhibits(source, target) and not without_region
        assert inhibits(of_prometheus(source), of_prometheus(target)) == expected, (source, target)
        assert not inhibits(of_prometheus(source, "other"), of_prometheus(target))


@pytest.mark.parametrize("source", ["CloudAPIUnreachable", "RegionUnhealthy", "NoEligibleRegion"])
def test_alerts_of_others_are_let_alone(source: str) -> None:
    labels = own(source, "us-east-1")
    for name in ("NodeDown", "NexusdDown"):
        assert not inhibits(labels, {"alertname": name, "region": "us-east-1"})
        assert not inhibits(
            of_prometheus(labels), {"alertname": name, "region": "us-east-1", "job": "nexusd"}
        )


def receiver(config: Path, *labels: str) -> str:
    """Who is told of an alert with these labels, as amtool sees it."""
    amtool = need_program("amtool")
    return run(amtool, "config", "routes", "test", f"--config.file={config}", *labels).stdout.strip()


@pytest.mark.slow
def test_amtool_finds_nothing_wrong_and_routes_the_watchdog_to_the_switch() -> None:
    checked = run(need_program("amtool"), "check-config", str(SHIPPED))
    assert (checked.returncode, checked.stderr) == (0, "")
    assert receiver(SHIPPED, "alertname=NexusdWatchdog", "severity=none") == "dead-mans-switch"
    assert receiver(SHIPPED, "alertname=NexusdRegionUnhealthy", "severity=warning") == "ops"
    assert receiver(SHIPPED, "alertname=InstanceStopped", "severity=info") == "ops"


@pytest.mark.slow
def test_with_the_commented_route_nobody_is_told_twice(tmp_path: Path) -> None:
    config = tmp_path / "alertmanager.yml"
    config.write_text(
        re.sub(r"^(    )# (- matchers|  receiver)", r"\1\2", SHIPPED.read_text(), flags=re.MULTILINE)
    )
    told = {name for name in alerts() if receiver(config, f"alertname={name}", "severity=page") == "ops"}
    assert told == {*PROMETHEUS_ONLY, "NexusdNotificationsFailing"}
    assert {receiver(config, f"alertname={name}", "severity=page") for name in DEFAULT_RULES} == {"ops"}


@pytest.mark.slow
async def test_a_real_alertmanager_inhibits_so(tmp_path: Path) -> None:
    """All alerts of the table at once, as nexusd sends them and as Prometheus does."""
    need_program("prometheus-alertmanager")
    sent = [own(name, "us-east-1") for name in DEFAULT_RULES]
    sent += [of_prometheus(labels) for labels in sent]
    expected = {
        (target["alertname"], any(inhibits(source, target) for source in sent if source != target))
        for target in sent
    }
    async with serving(SHIPPED, tmp_path) as url, aiohttp.ClientSession() as http:
        now = datetime.now(UTC).timestamp()
        await post_alerts(url, *(firing(labels, now) for labels in sent))
        async with asyncio.timeout(20.0):
            while await _shown(http, url) != expected:
                await asyncio.sleep(0.1)


async def _shown(http: aiohttp.ClientSession, url: str) -> set[tuple[str, bool]]:
    """Name, and whether it is inhibited."""
    async with http.get(f"{url}/api/v2/alerts") as answer:
        shown = await answer.json()
    return {(alert["labels"]["alertname"], bool(alert["status"]["inhibitedBy"])) for alert in shown}
