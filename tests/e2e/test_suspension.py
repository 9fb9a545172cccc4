"""A real daemon that is stopped for a while (SIGSTOP, `docker pause`)."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess

pytestmark = pytest.mark.slow

STOPPED_S = 12.0
POLLING = {"polling": {"regions": "2s", "instances": "2s"}}


async def test_a_stopped_daemon_fires_no_alert_after_it_continues(tmp_path: Path) -> None:
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=10))
    async with EmulatorServer(cloud) as server, DaemonProcess(tmp_path, server.url, POLLING) as daemon:
        daemon.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(STOPPED_S)
        daemon.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(30.0):
            while "process_suspended" not in daemon.log.read_text():
                await asyncio.sleep(0.1)
        polled = daemon.log.read_text().count("poll_finished")
        async with asyncio.timeout(30.0):
            while daemon.log.read_text().count("poll_finished") < polled + 4:
                await asyncio.sleep(0.1)
        events = (await daemon.get("/api/v1/events"))["data"]
        assert await daemon.status("/-/healthy") == 200
    fired = [event["subject"]["name"] for event in events if event["type"] == "AlertFired"]
    assert [name for name in fired if name != "Watchdog"] == []
    assert "AlertInhibited" not in {event["type"] for event in events}
    lines = [json.loads(line) for line in daemon.log.read_text().splitlines()]
    [suspended] = [line for line in lines if line["event"] == "process_suspended"]
    assert suspended["seconds"] >= STOPPED_S - 2.0
