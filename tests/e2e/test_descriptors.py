"""Clients that stay connected leave the daemon the descriptors that it needs."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from nexusd.runtime import descriptors
from tests.delivery.receivers import endpoint
from tests.e2e.daemon import KEY, DaemonProcess
from tests.requirements import need_program

pytestmark = pytest.mark.slow

FOLLOW = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
LIMITED = {b"": ("connections_limited", "idle"), FOLLOW: ("event_readers_limited", "event_readers")}
SHED = "nexusd_http_connections_shed_total"
STOPPED = {"matchers": ['alertname="InstanceStopped"'], "receivers": ["ops"], "group_wait": "0s"}


@pytest.mark.parametrize(
    ("limit", "clients", "request_bytes"),
    [("512:1024", 1_100, b""), ("512:1024", 1_100, FOLLOW), ("128:128", 130, FOLLOW)],
    ids=["idle", "following", "few-descriptors"],
)
async def test_more_clients_than_descriptors_stop_neither_polls_nor_webhooks(
    tmp_path: Path, limit: str, clients: int, request_bytes: bytes
) -> None:
    descriptors.raise_limit()
    cloud = Cloud(EmulatorOptions(api_key=KEY, instances=5))
    async with endpoint() as ops, EmulatorServer(cloud) as api, AsyncExitStack() as stack:
        more = {"receivers": [{"name": "ops", "type": "webhook", "url": ops.url}], "routes": [STOPPED]}
        daemon = DaemonProcess(tmp_path, api.url, more)
        daemon.prefix = (need_program("prlimit"), f"--nofile={limit}")
        await stack.enter_async_context(daemon)
        for _ in range(clients):
            _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
            stack.callback(writer.close)
            writer.write(request_bytes)
        cloud.stop_instance(cloud.instances()[0].id)
        async with asyncio.timeout(20.0):
            while not ops.got:
                await asyncio.sleep(0.05)
        assert await daemon.status("/-/healthy") == 200
        event, reason = LIMITED[request_bytes]
        assert event in daemon.log.read_text()
        assert re.search(rf'{SHED}\{{reason="{reason}"\}} [1-9]', await daemon.text("/metrics"))
        assert "Too many open files" not in daemon.log.read_text()
