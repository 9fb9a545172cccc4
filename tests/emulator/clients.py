"""A real HTTP client of the emulator, and a clock that tests move by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from nexusd.emulator.cloud import Cloud
from nexusd.emulator.faults import Fault
from nexusd.emulator.options import EmulatorOptions, RegionSpec
from nexusd.emulator.server import EmulatorServer

START = 1_700_000_000.0
TWO_REGIONS = (RegionSpec("us-east-1", "Virginia, US", 12), RegionSpec("eu-west-2", "London, UK", 45))
WORKER = {"name": "worker-01", "region": "us-east-1", "plan": "pro"}


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Client:
    """Asks one emulator with the right key. `get` and `post` answer (status, decoded body)."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def get(self, path: str, **query: object) -> tuple[int, Any]:
        params = {key: str(value) for key, value in query.items()}
        async with self.session.get(self.url + path, params=params) as response:
            return response.status, await response.json()

    async def post(self, body: object = WORKER) -> tuple[int, Any]:
        async with self.session.post(f"{self.url}/instances", json=body) as response:
            return response.status, await response.json()

    async def names(self, **query: object) -> list[str]:
        _, page = await self.get("/instances", **query)
        return [instance["name"] for instance in page["data"]]

    async def sweep(self, limit: int = 100) -> list[str]:
        """Ids as naive paging by offset finds them."""
        ids: list[str] = []
        while True:
            _, page = await self.get("/instances", limit=limit, offset=len(ids))
            ids += [instance["id"] for instance in page["data"]]
            if not page["data"] or len(ids) >= page["meta"]["total"]:
                return ids


@asynccontextmanager
async def emulated(
    cloud: Cloud, *faults: Fault, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Client]:
    """The cloud served on loopback with these faults, and a client of it."""
    cloud.add_faults(faults)
    given = headers if headers is not None else {"Authorization": f"Bearer {cloud.api_key}"}
    timeout = aiohttp.ClientTimeout(total=5)
    async with (
        EmulatorServer(cloud) as server,
        aiohttp.ClientSession(headers=given, timeout=timeout) as session,
    ):
        yield Client(session, server.url)


def a_cloud(clock: HandClock | None = None, **options: Any) -> Cloud:
    """Two regions, no jitter, unless the options say otherwise."""
    given = {"regions": TWO_REGIONS, "latency_jitter_ms": 0.0, **options}
    return Cloud(EmulatorOptions(**given), clock or HandClock())
