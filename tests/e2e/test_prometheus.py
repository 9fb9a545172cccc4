"""A real Prometheus, with the configuration that is shipped, scrapes a real daemon."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess
from tests.e2e.prometheus import ask, configuration, prometheus, query
from tests.requirements import need_program


async def rule_health(port: int) -> set[str]:
    """How the last evaluations of all the rules went."""
    [group] = (await ask(port, "rules"))["groups"]
    return {rule["health"] for rule in group["rules"]}


async def firing(port: int) -> set[str]:
    alerts = await query(port, 'ALERTS{alertstate="firing"}')
    return {alert["metric"]["alertname"] for alert in alerts}


@pytest.mark.slow
async def test_a_real_prometheus_scrapes_it_and_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    promtool = need_program("promtool")
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=42, pending_s=0.1, provisioning_s=0.1))
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url) as daemon:
        placed = await daemon.place("worker-01")
        await daemon.placed(placed["id"], "running")
        async with prometheus(configuration(daemon), tmp_path) as port, asyncio.timeout(30.0):
            while not await query(port, 'up{job="nexusd"}'):
                await asyncio.sleep(0.1)
            assert (await query(port, 'up{job="nexusd"}'))[0]["value"][1] == "1"
            total = await query(port, "sum(nexusd_instances)")
            assert total[0]["value"][1] == "43"
            assert await query(port, 'nexusd_placements{state="running"} == 1')
        text = await daemon.text("/metrics")
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.slow
async def test_the_shipped_rules_judge_what_a_real_daemon_exposes(tmp_path: Path) -> None:
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=42))
    more = {"polling": {"regions": "2s", "instances": "2s"}}
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url, more) as daemon:
        async with prometheus(configuration(daemon), tmp_path) as port, asyncio.timeout(60.0):
            while len(await query(port, "nexusd:snapshot_known")) < 2 or await rule_health(port) != {"ok"}:
                await asyncio.sleep(0.2)
            assert await firing(port) == {"NexusdWatchdog"}
            await server.refuse()
            while await firing(port) != {"NexusdWatchdog", "NexusdCloudAPIUnreachable"}:
                await asyncio.sleep(0.2)
            assert await rule_health(port) == {"ok"}
