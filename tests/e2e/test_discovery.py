"""A real Prometheus discovers instances from `/api/v1/sd`."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess
from tests.e2e.prometheus import ask, configuration, prometheus

HOUR_OF_REFRESHES = 60
"""As often as Prometheus asks in an hour, with what is shipped; here it asks ten times a second."""
SETTLED_S = 6.0
"""Prometheus passes on what it discovered every 5 s at most."""


async def targets(port: int) -> dict[str, Any]:
    """The labels of each target by its address."""
    active = (await ask(port, "targets", state="active"))["activeTargets"]
    return {target["discoveredLabels"]["__address__"]: target["labels"] for target in active}


async def failures(port: int) -> float:
    """How often Prometheus was refused targets."""
    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{port}/metrics") as answer:
        found = re.search(r"^prometheus_sd_http_failures_total (\S+)$", await answer.text(), re.MULTILINE)
    assert found is not None
    return float(found[1])


async def outlast(port: int, refreshes: int) -> None:
    """Wait for that many refreshes to fail, and for Prometheus to have acted on them."""
    begun = await failures(port)
    while await failures(port) < begun + refreshes:
        await asyncio.sleep(0.2)
    await asyncio.sleep(SETTLED_S)


@pytest.mark.slow
async def test_prometheus_discovers_keeps_and_follows_instances(tmp_path: Path) -> None:
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=42, pending_s=0.1, provisioning_s=0.1))
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url) as daemon:
        listed = (await daemon.get("/api/v1/instances?limit=100"))["data"]
        expected = {f"{row['public_ip']}:9100": (row["name"], row["region"]) for row in listed}
        assert len(expected) == 42
        config = configuration(daemon, ["node"])
        async with prometheus(config, tmp_path) as port, asyncio.timeout(60.0):
            while not (found := await targets(port)):
                await asyncio.sleep(0.1)
            assert {at: (labels["name"], labels["region"]) for at, labels in found.items()} == expected

            await server.refuse()
            await outlast(port, HOUR_OF_REFRESHES)
            assert await daemon.status("/api/v1/sd") == 503
            assert set(await targets(port)) == set(expected)

            await server.accept()
            placed = await daemon.place("worker-01")
            await daemon.placed(placed["id"], "running")
            while (found := await targets(port)).keys() == expected.keys():
                await asyncio.sleep(0.1)
            assert [found[at]["name"] for at in found.keys() - expected.keys()] == ["worker-01"]
            assert expected.keys() <= found.keys()
