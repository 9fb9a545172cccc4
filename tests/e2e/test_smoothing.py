"""Real processes: smoothing is switched on by the configuration and off by a reload."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest
import yaml

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess

OPTIONS = EmulatorOptions(api_key=KEY, instances=3)


async def smoothed(daemon: DaemonProcess) -> bool:
    """Whether every region has its moving average."""
    regions = (await daemon.get("/api/v1/regions"))["regions"]
    known = {"smoothed_ms" in region for region in regions}
    assert len(known) == 1
    return known.pop()


@pytest.mark.slow
async def test_smoothing_is_switched_on_by_the_configuration_and_off_by_a_reload(tmp_path: Path) -> None:
    on = {"placement": {"smoothing": "1m"}}
    async with EmulatorServer(Cloud(OPTIONS)) as server, DaemonProcess(tmp_path, server.url, on) as daemon:
        assert await smoothed(daemon)
        off = yaml.safe_load(daemon.config.read_text())
        del off["placement"]["smoothing"]
        daemon.config.write_text(yaml.safe_dump(off))
        daemon.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(10.0):
            while await daemon.status("/-/healthy") != 200 or await smoothed(daemon):
                await asyncio.sleep(0.05)
