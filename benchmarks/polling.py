"""One poll of a fleet, beside fetching and decoding the same pages with nothing around it.

The pages are served by a process of its own, so that only the reader is measured.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import aiohttp
import msgspec

from benchmarks.rounds import interleaved, median_round
from benchmarks.table import Figure, Row, at_most
from nexusd.cloud.client import CloudNexus
from nexusd.cloud.key import LiteralKey
from nexusd.cloud.options import CloudOptions
from nexusd.core.inventory import Inventory, SweepPolicy, compare
from nexusd.core.records import Instance
from nexusd.emulator.cloud import Cloud
from nexusd.emulator.options import DEMO_API_KEY, EmulatorOptions
from nexusd.emulator.server import EmulatorServer
from nexusd.runtime.clock import SystemClock

INSTANCES = 20_000
CONCURRENCY = 8


def rows() -> Iterator[Row]:
    what = f"sweep and compare {INSTANCES:,} unchanged instances, CPU"
    ours, floor = median_round(interleaved(what, sweep_cpu_s, floor_cpu_s), float)
    yield Row("G1", what, Figure(ours, "s"), Figure(floor, "s", "aiohttp + msgspec"), at_most(1.3))


class _Page(msgspec.Struct):
    data: list[Instance]


class _NoMetrics:
    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_arguments: None


def _serve(pipe: Connection) -> None:
    async def serve() -> None:
        cloud = Cloud(EmulatorOptions(instances=INSTANCES))
        async with EmulatorServer(cloud) as server:
            cloud.prebuild()
            pipe.send(server.url)
            await asyncio.to_thread(pipe.recv)

    asyncio.run(serve())


@contextmanager
def _server() -> Iterator[str]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    yield ours.recv()
    ours.send("end")
    process.join()


def _cpu_s(work: Callable[[str], Awaitable[Any]]) -> float:
    """CPU of the second of two passes, so that connections and caches are as they are in the long run."""

    async def measured(url: str) -> float:
        return float(await work(url))

    with _server() as url:
        return asyncio.run(measured(url))


def sweep_cpu_s() -> float:
    async def work(url: str) -> float:
        options = CloudOptions(url, max_concurrent_requests=CONCURRENCY, max_requests_per_second=1e5)
        metrics: Any = _NoMetrics()
        inventory = Inventory()
        async with CloudNexus(
            options, LiteralKey(DEMO_API_KEY), SystemClock(), random.Random(1), metrics
        ) as api:
            inventory.apply(compare(inventory, await api.sweep_instances(), SweepPolicy()))
            began = time.process_time()
            inventory.apply(compare(inventory, await api.sweep_instances(), SweepPolicy()))
            return time.process_time() - began

    return _cpu_s(work)


def floor_cpu_s() -> float:
    async def work(url: str) -> float:
        decoder, slots = msgspec.json.Decoder(_Page), asyncio.Semaphore(CONCURRENCY)
        headers = {"Authorization": f"Bearer {DEMO_API_KEY}"}
        async with aiohttp.ClientSession(headers=headers) as http:

            async def page(offset: int) -> int:
                async with slots, http.get(f"{url}/instances?limit=100&offset={offset}") as answer:
                    return len(decoder.decode(await answer.read()).data)

            spent = 0.0
            for _ in range(2):
                began = time.process_time()
                await asyncio.gather(*(page(offset) for offset in range(0, INSTANCES, 100)))
                spent = time.process_time() - began
            return spent

    return _cpu_s(work)
