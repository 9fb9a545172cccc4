"""A real daemon on a PostgreSQL that does not respond.

It is behind a silent network, or behind a table lock.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import psycopg
import pytest

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from tests.e2e.daemon import KEY, DaemonProcess
from tests.silent_proxy import SilentProxy
from tests.store.cluster import Cluster, running_cluster

pytestmark = pytest.mark.slow

OPTIONS = EmulatorOptions(api_key=KEY, instances=30, pending_s=0.2, provisioning_s=0.4)
SILENT_S = 25.0
"""Longer than a lease, and than the kernel waits for an acknowledgement."""
READERS = 5
ANSWERED_WITHIN_S = 3.0
"""Of a busy machine. A reader used to wait 5 s for each reader before it."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        running.execute("CREATE DATABASE nexusd")
        yield running


@asynccontextmanager
async def daemon_on(folder: Path, cluster: Cluster) -> AsyncIterator[tuple[DaemonProcess, SilentProxy]]:
    async with (
        EmulatorServer(Cloud(OPTIONS)) as server,
        SilentProxy(f"{cluster.folder}/.s.PGSQL.5432") as proxy,
    ):
        store = {"url": f"postgresql://postgres@127.0.0.1:{proxy.port}/nexusd"}
        polling = {"regions": "1s", "instances": "1s"}
        more = {"store": store, "polling": polling, "server": {"shutdown_timeout": "1s"}}
        async with DaemonProcess(folder, server.url, more) as daemon:
            yield daemon, proxy


async def watch(daemon: DaemonProcess, seconds: float) -> list[str]:
    """Read the live endpoints by several readers; return reasons for not being ready."""
    reasons = []
    timeout = aiohttp.ClientTimeout(total=ANSWERED_WITHIN_S)
    until = time.monotonic() + seconds
    async with aiohttp.ClientSession(timeout=timeout) as http:

        async def read(path: str) -> str:
            async with http.get(daemon.url + path) as answer:
                return await answer.text()

        while time.monotonic() < until:
            paths = ("/metrics", "/api/v1/status") * READERS
            *_, metrics, status = await asyncio.gather(*map(read, paths))
            await read("/")
            shown = json.loads(status)
            reasons.append(shown["not_ready_reason"])
            assert not any(poll["stale"] for poll in shown["resources"].values()), shown
            assert "nexusd_store_counts_timestamp_seconds" in metrics
            assert not any("CloudAPIUnreachable" in str(alert) for alert in shown["alerts"]["active"])
            await asyncio.sleep(0.5)
    return reasons


async def test_a_silent_network_stops_neither_polls_nor_readers(tmp_path: Path, cluster: Cluster) -> None:
    async with daemon_on(tmp_path, cluster) as (daemon, proxy):
        proxy.silence()
        reasons = await watch(daemon, SILENT_S)
        assert str(reasons[-1]).startswith("the store has not answered for")
        assert await daemon.status("/-/healthy") == 503
        proxy.restore()
        await daemon.ready(60.0)
        placed = await daemon.place("after")
        await daemon.placed(placed["id"], "running")
        assert "CloudAPIUnreachable" not in json.dumps(await daemon.get("/api/v1/events?limit=1000"))


async def test_a_table_lock_stops_neither_polls_nor_readers(tmp_path: Path, cluster: Cluster) -> None:
    async with daemon_on(tmp_path, cluster) as (daemon, _):
        with psycopg.connect(host=str(cluster.folder), user="postgres", dbname="nexusd") as other:
            other.execute("LOCK TABLE placements, outbox, meta IN ACCESS EXCLUSIVE MODE")
            reasons = await watch(daemon, SILENT_S)
        assert any("the store has not" in str(reason) for reason in reasons)
        await daemon.ready(60.0)
        assert "CloudAPIUnreachable" not in json.dumps(await daemon.get("/api/v1/events?limit=1000"))


async def test_it_stops_while_the_store_is_silent(tmp_path: Path, cluster: Cluster) -> None:
    async with daemon_on(tmp_path, cluster) as (daemon, proxy):
        proxy.silence()
        await asyncio.sleep(3.0)
        assert await daemon.stop() == 0
