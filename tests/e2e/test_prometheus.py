"""A real Prometheus, with the configuration that is shipped, scrapes a real daemon."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess, free_port
from tests.requirements import need_program

SHIPPED = Path(__file__).parents[2] / "config" / "prometheus"


def configuration(daemon: DaemonProcess) -> str:
    """As shipped, but for where the daemon is, how often it is asked and judged, and who is told."""
    shipped = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    shipped["global"] = {**shipped.get("global", {}), "scrape_interval": "1s", "scrape_timeout": "1s"}
    rules = yaml.safe_load((SHIPPED / "rules.yml").read_text())
    rules["groups"][0]["interval"] = "1s"
    (daemon.folder / "rules.yml").write_text(yaml.safe_dump(rules))
    [job] = [job for job in shipped["scrape_configs"] if job["job_name"] == "nexusd"]
    job.pop("scrape_interval", None)
    job.pop("scrape_timeout", None)
    job["static_configs"] = [{"targets": [f"127.0.0.1:{daemon.port}"]}]
    shipped["scrape_configs"] = [job]
    del shipped["alerting"]
    return yaml.safe_dump(shipped)


async def query(port: int, expression: str) -> list[Any]:
    return list((await _get(port, "query", query=expression))["result"])


async def rule_health(port: int) -> set[str]:
    """How the last evaluations of all the rules went."""
    [group] = (await _get(port, "rules"))["groups"]
    return {rule["health"] for rule in group["rules"]}


async def firing(port: int) -> set[str]:
    alerts = await query(port, 'ALERTS{alertstate="firing"}')
    return {alert["metric"]["alertname"] for alert in alerts}


@asynccontextmanager
async def prometheus(daemon: DaemonProcess, folder: Path) -> AsyncIterator[int]:
    """A Prometheus that scrapes the daemon; its port."""
    config, port = folder / "prometheus.yml", free_port()
    config.write_text(configuration(daemon))
    process = await asyncio.create_subprocess_exec(
        need_program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30.0):
            while not await _answers(port):
                await asyncio.sleep(0.1)
            while not await query(port, 'up{job="nexusd"}'):
                await asyncio.sleep(0.1)
        yield port
    finally:
        process.terminate()
        await process.wait()


@pytest.mark.slow
async def test_a_real_prometheus_scrapes_it_and_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    promtool = need_program("promtool")
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=42, pending_s=0.1, provisioning_s=0.1))
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url) as daemon:
        placed = await daemon.place("worker-01")
        await daemon.placed(placed["id"], "running")
        async with prometheus(daemon, tmp_path) as port:
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
        async with prometheus(daemon, tmp_path) as port, asyncio.timeout(60.0):
            while len(await query(port, "nexusd:snapshot_known")) < 2 or await rule_health(port) != {"ok"}:
                await asyncio.sleep(0.2)
            assert await firing(port) == {"NexusdWatchdog"}
            await server.refuse()
            while await firing(port) != {"NexusdWatchdog", "NexusdCloudAPIUnreachable"}:
                await asyncio.sleep(0.2)
            assert await rule_health(port) == {"ok"}


async def _answers(port: int) -> bool:
    try:
        await query(port, "up")
    except (aiohttp.ClientError, KeyError):
        return False
    return True


async def _get(port: int, path: str, **params: str) -> Any:
    url = f"http://127.0.0.1:{port}/api/v1/{path}"
    async with aiohttp.ClientSession() as http, http.get(url, params=params) as answer:
        return (await answer.json())["data"]
