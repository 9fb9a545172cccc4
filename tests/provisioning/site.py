"""The real worker, intake and store against a cloud in memory, in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from nexusd.core.comparing import compare
from nexusd.core.errors import UnavailableError
from nexusd.core.events import Event
from nexusd.core.lifecycle import Outcome, Placement, State
from nexusd.core.placement import PlacementPolicy, PlacementRequest
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.records import Region
from nexusd.core.regions import next_snapshot
from nexusd.core.sweeps import SweepPolicy
from nexusd.core.world import World
from nexusd.provisioning.following import FollowOptions
from nexusd.provisioning.intake import Intake
from nexusd.provisioning.worker import Provisioner, ProvisioningOptions
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore
from tests.fakes import FakeCloudApi, NullMetrics
from tests.virtual_time import VirtualClock

EAST = Region("us-east-1", "Virginia, US", "healthy", 12.0, capacity=True)
WEST = Region("eu-west-2", "London, UK", "healthy", 45.0, capacity=True)
SETTLE_S = 300.0
OPTIONS = ProvisioningOptions(PlacementPolicy(), FollowOptions(settle_s=SETTLE_S))


class Site:
    """A world that is polled every 10 s, and the parts under test."""

    def __init__(
        self,
        store: SqlStore,
        clock: VirtualClock,
        cloud: FakeCloudApi,
        options: ProvisioningOptions = OPTIONS,
    ) -> None:
        now = clock.now()
        self.cloud = cloud
        self.store = store
        self.clock = clock
        self.world = World({name: PollState(name, 10.0, now) for name in (REGIONS, INSTANCES)})
        self.worker = Provisioner(self.world, store, cloud, clock, NullMetrics(), options, self._tell)
        self.told: list[tuple[list[Event], bool]] = []
        rng = random.Random(1)
        self.intake = Intake(self.world, store, clock, rng, options.policy, lambda _: self.worker.wake())

    def _tell(self, events: list[Event]) -> None:
        """Each with whether a placement was followed by then."""
        self.told.append((events, self.worker.following))

    async def poll(self) -> None:
        """Poll both kinds once. A failure changes nothing but the state of its poll."""
        await self._poll_regions()
        await self._poll_instances()

    async def _poll_regions(self) -> None:
        try:
            answer = await self.cloud.read_regions()
        except UnavailableError as error:
            self._failed(REGIONS, error)
            return
        self.world.regions, _ = next_snapshot(self.world.regions, answer)
        self._answered(REGIONS)

    async def _poll_instances(self) -> None:
        try:
            sweep = await self.cloud.sweep_instances()
        except UnavailableError as error:
            self._failed(INSTANCES, error)
            return
        self._answered(INSTANCES)
        delta = compare(self.world.inventory, sweep, SweepPolicy())
        self.world.inventory.apply(delta)
        if delta.hold is None:
            self.worker.swept(delta.vanished)

    def _failed(self, resource: str, error: UnavailableError) -> None:
        now = self.clock.now()
        poll = self.world.polls[resource].failed(error.reason, str(error), None, 0.0, now)
        self.world.polls = {**self.world.polls, resource: poll}

    def _answered(self, resource: str) -> None:
        poll = self.world.polls[resource].succeeded(self.clock.now(), 0.0)
        self.world.polls = {**self.world.polls, resource: poll}

    async def polls(self) -> None:
        while True:
            await asyncio.sleep(10.0)
            await self.poll()

    async def placement(self, placement: Placement) -> Placement:
        stored = await self.store.run(lambda tx: tx.placements.get(placement.id))
        assert stored is not None
        return stored

    async def place(self, name: str = "worker-01", **more: object) -> Placement:
        request = PlacementRequest(name=name, plan="pro", **more)  # type: ignore[arg-type]
        return await self.intake.accept(request, None)

    async def until(self, placement: Placement, *states: State, within_s: float = 3600.0) -> Placement:
        async with asyncio.timeout(within_s):
            while (stored := await self.placement(placement)).state not in states:
                await asyncio.sleep(1.0)
        return stored

    async def outcomes(self, placement: Placement) -> list[tuple[str, Outcome | None]]:
        attempts = await self.store.run(lambda tx: tx.placements.attempts(placement.id))
        return [(a.region, a.outcome) for a in attempts]


@asynccontextmanager
async def site(
    folder: Path, cloud: FakeCloudApi | None = None, options: ProvisioningOptions = OPTIONS
) -> AsyncIterator[Site]:
    """Polled once, then polling and placing until the block ends, which is like `kill -9`."""
    clock = VirtualClock()
    cloud = cloud if cloud is not None else FakeCloudApi(clock, [EAST, WEST])
    url = f"sqlite:///{folder / 'nexusd.db'}"
    store = open_store(StoreOptions(url, f"test {clock.now()} {id(clock)}"), clock, InlineExecutor())
    here = Site(store, clock, cloud, options)
    here.world.cooling_off = await store.run(lambda tx: tx.regions.cooling_off())
    await here.poll()
    tasks = [asyncio.ensure_future(here.worker.run()), asyncio.ensure_future(here.polls())]
    try:
        yield here
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.close()
