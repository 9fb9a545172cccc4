"""The clients: they place, in bursts and one by one, try again when they were not told, and cancel."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable

from nexusd.core.errors import ConflictError, InputError, NotFoundError, StoreUnavailableError
from nexusd.core.placement import PlacementRequest, Spread
from nexusd.ports import IdempotencyKey
from nexusd.simulator.invariants import Invariants
from nexusd.simulator.killing import KilledError
from nexusd.simulator.process import Process

MEAN_GAP_S = 12.0
LARGEST_BATCH = 9
BURST_CHANCE = 0.012
LARGEST_BURST = 80
DEADLINE_S = (10.0, 600.0)
REGION_SETS = (("us-east-1",), ("us-west-2", "eu-west-2"), ("eu-central-1", "sa-east-1", "ap-south-1"))
AVOIDED = ("us-east-1", "us-west-2")
GROUPS = 3
GROUP_LASTS_S = 1800.0
NAMES = (*["w{:06d}"] * 17, "W{:06d}", "Wörker {:06d} ", f"W{{:06d}}-{'Node' * 15}")
"""Most are in the one form that every cloud keeps."""
PATIENCE = 50
"""How often a client asks again before it gives up."""


class Workload:
    """`process`: the daemon that runs now, if one does."""

    def __init__(
        self,
        rng: random.Random,
        invariants: Invariants,
        process: Callable[[], Process | None],
    ) -> None:
        self._rng = rng
        self._invariants = invariants
        self._process = process
        self._count = 0
        self._used_names: deque[str] = deque(maxlen=500)
        self.acknowledged = 0
        self.refused = 0

    async def run(self, ends_at: float) -> None:
        """Until the loop's time `ends_at`, and until every client has its answer."""
        loop = asyncio.get_running_loop()
        rng = self._rng
        async with asyncio.TaskGroup() as group:
            while loop.time() < ends_at:
                most = LARGEST_BURST if rng.random() < BURST_CHANCE else LARGEST_BATCH
                for _ in range(rng.randint(1, most)):
                    self._count += 1
                    client = self._place(self._count, self._request())
                    group.create_task(client, name=f"client {self._count}")
                await asyncio.sleep(rng.expovariate(1 / MEAN_GAP_S))

    def _request(self) -> PlacementRequest:
        rng = self._rng
        kind = rng.random()
        return PlacementRequest(
            name=self._name(),
            plan="pro" if kind < 0.95 else "starter",
            regions=rng.choice(REGION_SETS) if kind < 0.05 else None,
            avoid_regions=AVOIDED if 0.05 < kind < 0.1 else (),
            where="region.latency_ms < 100.0" if 0.1 < kind < 0.15 else None,
            spread=self._spread() if 0.8 < kind < 0.95 else None,
            priority=rng.choice([0, 0, 0, 1, 5, -1]),
            deadline=self._deadline(),
        )

    def _spread(self) -> Spread:
        """Of a few groups at a time; new ones follow."""
        era = int(asyncio.get_running_loop().time() // GROUP_LASTS_S)
        number = self._rng.randrange(GROUPS)
        return Spread(f"group-{era}-{number}", 1 + number % 2)

    def _deadline(self) -> float | None:
        """Now and then one, by the clock of the daemon of now."""
        process = self._process()
        if process is None or self._rng.random() >= 0.05:
            return None
        return process.now() + self._rng.uniform(*DEADLINE_S)

    def _name(self) -> str:
        """Return a new name, now and then one that an earlier placement had."""
        if self._used_names and self._rng.random() < 0.05:
            return self._rng.choice(self._used_names)
        name = self._rng.choice(NAMES).format(self._count)
        self._used_names.append(name)
        return name

    async def _place(self, number: int, request: PlacementRequest) -> None:
        key = IdempotencyKey(f"key-{number}", "digest")
        placement_id = await self._accepted(request, key)
        if placement_id is None:
            self.refused += 1
            return
        self.acknowledged += 1
        self._invariants.acknowledged(placement_id)
        if self._rng.random() < 0.03:
            await asyncio.sleep(self._rng.expovariate(1 / 5.0))
            await self._cancel(placement_id)

    async def _accepted(self, request: PlacementRequest, key: IdempotencyKey) -> str | None:
        for _ in range(PATIENCE):
            process = self._process()
            if process is not None:
                try:
                    return (await process.accept(request, key)).id
                except (ConflictError, InputError):
                    return None
                except (StoreUnavailableError, KilledError):
                    pass
            await asyncio.sleep(self._rng.uniform(0.5, 10.0))
        return None

    async def _cancel(self, placement_id: str) -> None:
        process = self._process()
        if process is None:
            return
        try:
            await process.cancel(placement_id)
        except (ConflictError, NotFoundError, StoreUnavailableError, KilledError):
            return
