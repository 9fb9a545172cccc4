"""A real Prometheus, with the configuration that is shipped, scrapes a real daemon."""

from __future__ import annotations

import asyncio
import subprocess
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

SHIPPED = Path(__file__).parents[2] / "config" / "prometheus" / "prometheus.yml"


def configuration(daemon: DaemonProcess) -> str:
    """As shipped, but for where the daemon is and how often it is asked."""
    shipped = yaml.safe_load(SHIPPED.read_text())
    shipped["global"] = {**shipped.get("global", {}), "scrape_interval": "1s", "scrape_timeout": "1s"}
    [job] = [job for job in shipped["scrape_configs"] if job["job_name"] == "nexusd"]
    job.pop("scrape_interval", None)
    job.pop("scrape_timeout", None)
    job["static_configs"] = [{"targets": [f"127.0.0.1:{daemon.port}"]}]
    shipped["scrape_configs"] = [job]
    shipped.pop("rule_files", None)
    shipped.pop("alerting", None)
    return yaml.safe_dump(shipped)


async def query(port: int, expression: str) -> list[Any]:
    url = f"http://127.0.0.1:{port}/api/v1/query"
    async with aiohttp.ClientSession() as http, http.get(url, params={"query": expression}) as answer:
        return list((await answer.json())["data"]["result"])


@pytest.mark.slow
async def test_a_real_prometheus_scrapes_it_and_promtool_has_nothing_to_say(tmp_path: Path) -> None:
    prometheus, promtool = need_program("prometheus"), need_program("promtool")
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=42, pending_s=0.1, provisioning_s=0.1))
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url) as daemon:
        placed = await daemon.place("worker-01")
        await daemon.placed(placed["id"], "running")
        config, port = tmp_path / "prometheus.yml", free_port()
        config.write_text(configuration(daemon))
        process = await asyncio.create_subprocess_exec(
            prometheus,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(30.0):
                while not await _answers(port):
                    await asyncio.sleep(0.1)
                while not (up := await query(port, 'up{job="nexusd"}')):
                    await asyncio.sleep(0.1)
            assert up[0]["value"][1] == "1"
            total = await query(port, "sum(nexusd_instances)")
            assert total[0]["value"][1] == "43"
            assert await query(port, 'nexusd_placements{state="running"} == 1')
        finally:
            process.terminate()
            await process.wait()
        text = await daemon.text("/metrics")
        checked = subprocess.run(
            [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
        )
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


async def _answers(port: int) -> bool:
    try:
        await query(port, "up")
    except (aiohttp.ClientError, KeyError):
        return False
    return True
