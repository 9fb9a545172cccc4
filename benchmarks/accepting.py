"""Placements taken in over HTTP by a daemon of its own process: each 202 stands for a synced commit.

The cloud that it is told of is not there, so that accepting is all it does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import aiohttp

from benchmarks.processes import nexusd_run
from benchmarks.storing import beside_single_rows
from benchmarks.table import Row, at_least

CLIENTS = 32
FOR_S = 3.0
WARM_UP_S = 1.0
NO_CLOUD = "http://127.0.0.1:9/v1"


def rows() -> Iterator[Row]:
    what = f"accept placements over HTTP, synced, {CLIENTS} clients"
    yield beside_single_rows(what, accepted_per_second, at_least(0.5))


def accepted_per_second() -> float:
    with nexusd_run({"NEXUSD_CLOUDNEXUS__BASE_URL": NO_CLOUD}, "/-/healthy") as daemon:
        return asyncio.run(_accepted_per_second(daemon.url))


async def _accepted_per_second(url: str) -> float:
    """By clients with a connection of its own each and one request under way."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CLIENTS)) as http:
        measured_from = time.perf_counter() + WARM_UP_S
        until = measured_from + FOR_S
        done = 0

        async def client(number: int) -> None:
            nonlocal done
            made = 0
            while time.perf_counter() < until:
                body = {"name": f"b-{number}-{made}", "plan": "pro"}
                async with http.post(f"{url}/api/v1/placements", json=body) as answer:
                    if answer.status != 202:
                        raise RuntimeError(f"not accepted: {answer.status} {await answer.text()}")
                made += 1
                done += time.perf_counter() >= measured_from

        await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return done / FOR_S
