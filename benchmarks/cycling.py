"""A whole cycle (fetch, decode, compare, rules, commit) over SQLite, with the client as the daemon has it."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nexusd.cloud.client import CloudNexus
from nexusd.cloud.key import LiteralKey
from nexusd.cloud.options import CloudOptions
from nexusd.core.alerting import Alerting
from nexusd.core.notifications import Routing
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.rules_default import DEFAULT_RULES
from nexusd.core.world import World
from nexusd.cycle import Cycle, Observers, Parts, nobody_is_told
from nexusd.runtime.clock import SystemClock
from nexusd.store.opening import StoreOptions, open_store
from nexusd.web.metrics import MetricsRegistry

INTERVALS_S = {REGIONS: 15.0, INSTANCES: 30.0}
NOBODY = Observers(lambda: None, lambda _: None, lambda _: None)


@asynccontextmanager
async def cycle_over(url: str, concurrency: int) -> AsyncIterator[Cycle]:
    """A cycle that leads and has read the regions."""
    clock, metrics = SystemClock(), MetricsRegistry()
    world = World({name: PollState(name, s, clock.now()) for name, s in INTERVALS_S.items()})
    options = CloudOptions(url, max_concurrent_requests=concurrency, max_requests_per_second=1e6)
    alerting = Alerting(tuple(DEFAULT_RULES.values()), Routing({"ops": True}))
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(StoreOptions(f"sqlite:///{Path(folder) / 'nexusd.db'}", "benchmark"), clock)
        key = LiteralKey("benchmark")
        async with CloudNexus(options, key, clock, random.Random(1), metrics, world.known) as cloud:
            parts = Parts(cloud, alerting, nobody_is_told, INTERVALS_S, NOBODY)
            cycle = Cycle(world, store, clock, metrics, parts)
            if not await store.acquire_lease():
                raise RuntimeError("the store of a benchmark is led by somebody else")
            await cycle.restore()
            await cycle.poll_regions()
            turns = asyncio.ensure_future(cycle.run())
            try:
                yield cycle
            finally:
                turns.cancel()
                await asyncio.gather(turns, return_exceptions=True)
        await store.release_lease()
        await store.close()
