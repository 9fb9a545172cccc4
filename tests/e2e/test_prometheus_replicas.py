"""A real Prometheus that scrapes two replicas on one PostgreSQL.

Dashboards and rules count each fact once.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.config.dashboards import expressions
from tests.e2e.daemon import KEY, DaemonProcess
from tests.e2e.prometheus import ask, configuration, prometheus, query
from tests.store.cluster import running_cluster

SETTINGS = {
    "polling": {"regions": "1s", "instances": "1s"},
    "alerts": {"rules": {"InstanceStuck": {"threshold": "1s"}}},
}
AGE_TOLERANCE = 5.0
"""Ages and times of start differ between replicas, in seconds."""

Series = dict[frozenset[tuple[str, str]], float]


def two_targets(first: DaemonProcess, second: DaemonProcess) -> str:
    config = yaml.safe_load(configuration(first))
    config["scrape_configs"][0]["static_configs"] = [
        {"targets": [f"127.0.0.1:{each.port}" for each in (first, second)]}
    ]
    return str(yaml.safe_dump(config))


async def evaluate(port: int, expression: str, instance: str, at: float) -> Series:
    """Evaluate a dashboard's expression for the instances that match."""
    for variable, value in (("$job", "nexusd"), ("$instance", instance), ("$__rate_interval", "30s")):
        expression = expression.replace(variable, value)
    found = (await ask(port, "query", query=expression, time=str(at)))["result"]
    return {frozenset(one["metric"].items()): float(one["value"][1]) for one in found}


async def differences(port: int, leader: str, at: float) -> dict[str, Any]:
    """Return panels whose value for both replicas differs from the leader's."""
    found: dict[str, Any] = {}
    for dashboard, panel, expression in expressions():
        both, alone = [await evaluate(port, expression, which, at) for which in (".*", leader)]
        if any(name == "instance" for labels in both for name, _ in labels):
            continue
        tolerance = AGE_TOLERANCE if "time()" in expression else 1e-9
        if both.keys() != alone.keys() or any(abs(both[key] - alone[key]) > tolerance for key in both):
            found[f"{dashboard}: {panel}: {expression}"] = both, alone
    return found


@pytest.mark.slow
async def test_two_replicas_double_no_value_and_no_alert(tmp_path: Path) -> None:
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=42, provisioning_s=600.0))
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    with running_cluster() as cluster:
        more = {**SETTINGS, "store": {"url": cluster.url("postgres")}}
        async with (
            EmulatorServer(cloud) as server,
            DaemonProcess(folders[0], server.url, more) as first,
            DaemonProcess(folders[1], server.url, more) as second,
            prometheus(two_targets(first, second), folders[0]) as port,
            asyncio.timeout(90.0),
        ):
            await first.place("stuck")
            expected = 'count(nexusd_alerts{alertname="InstanceStuck", state="firing"} == 1) == 2'
            while not await query(port, expected):
                await asyncio.sleep(0.2)
            await asyncio.sleep(3.0)  # rates need a few scrapes of what is now at rest
            [leads] = await query(port, "nexusd_leader == 1")
            assert await differences(port, leads["metric"]["instance"], time.time()) == {}
            alerts = await query(port, 'ALERTS{alertstate="firing"}')
    names = sorted(alert["metric"]["alertname"] for alert in alerts)
    assert names == ["NexusdInstanceStuck", "NexusdWatchdog"]
    assert not any("instance" in alert["metric"] for alert in alerts)
