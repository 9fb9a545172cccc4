"""A real daemon whose SQLite file is taken away, or locked by another program."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess

pytestmark = pytest.mark.slow

OPTIONS = EmulatorOptions(api_key=KEY, instances=30, pending_s=0.2, provisioning_s=0.4)
RARELY = {"polling": {"regions": "1h", "instances": "1h"}}
"""So that the test's request meets the store first."""


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)


def delete_log(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink()


def damage(path: Path) -> None:
    os.truncate(path, 4096)


@pytest.mark.parametrize("change", [delete, replace, delete_log, damage])
async def test_a_request_that_finds_the_store_broken_ends_the_daemon(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    async with (
        EmulatorServer(Cloud(OPTIONS)) as server,
        DaemonProcess(tmp_path, server.url, RARELY) as daemon,
    ):
        change(tmp_path / "nexusd.db")
        async with aiohttp.ClientSession() as http:
            body = {"name": "web-1", "plan": "pro"}
            async with http.post(f"{daemon.url}/api/v1/placements", json=body) as answer:
                assert answer.status == 503
        assert await asyncio.wait_for(daemon.process.wait(), 20.0) == 1
    log = daemon.log.read_text()
    assert "Traceback" not in log
    assert log.splitlines()[-1].startswith("nexusd: ")
    assert "nexusd.db" in log.splitlines()[-1]


@asynccontextmanager
async def receiver(paths: list[str]) -> AsyncIterator[str]:
    """A server that records the paths of its requests."""

    async def record(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", record)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def until(status: Callable[[], Awaitable[int | None]], expected: int) -> None:
    async with asyncio.timeout(30.0):
        while await status() != expected:
            await asyncio.sleep(0.1)


async def test_a_lock_of_a_backup_stops_heartbeats_and_loses_no_notification(tmp_path: Path) -> None:
    paths: list[str] = []
    cloud = Cloud(OPTIONS)
    async with EmulatorServer(cloud) as server, receiver(paths) as url:
        more = {
            "receivers": [
                {"name": "ops", "type": "webhook", "url": f"{url}/ops"},
                {"name": "beat", "type": "heartbeat", "url": f"{url}/beat", "interval": "1s"},
            ],
            "routes": [
                {"matchers": ['alertname="InstanceStopped"'], "receivers": ["ops"], "group_wait": "0s"}
            ],
        }
        async with DaemonProcess(tmp_path, server.url, more) as daemon:
            backup = sqlite3.connect(tmp_path / "nexusd.db", isolation_level=None)
            backup.execute("BEGIN IMMEDIATE")
            instances = await daemon.get("/api/v1/instances?status=running&limit=1")
            cloud.stop_instance(instances["data"][0]["id"])
            await until(lambda: daemon.status("/-/healthy"), 503)
            assert await daemon.status("/-/ready") == 503
            paths.clear()
            await asyncio.sleep(3.0)
            assert paths == []
            backup.execute("ROLLBACK")
            backup.close()
            await until(lambda: daemon.status("/-/healthy"), 200)
            async with asyncio.timeout(20.0):
                while "/ops" not in paths:
                    await asyncio.sleep(0.1)
