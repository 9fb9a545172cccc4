"""One simulated daemon: the parts that `engine` wires, over a mortal disk, network and clock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from nexusd.core.alerting import Alerting
from nexusd.core.errors import StoreUnavailableError
from nexusd.core.events import Event
from nexusd.core.lifecycle import Placement, State, Verdict
from nexusd.core.notifications import Routing
from nexusd.core.placement import PlacementRequest
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.world import World
from nexusd.cycle import Cycle, Observers, Parts, nobody_is_told
from nexusd.ports import Clock, CloudApi, IdempotencyKey, Store, Transaction
from nexusd.provisioning.fleets import FleetKeeper
from nexusd.provisioning.intake import Intake
from nexusd.provisioning.worker import Provisioner, ProvisioningOptions
from nexusd.runtime.suspension import watch_suspensions
from nexusd.simulator.killing import Life
from nexusd.simulator.ledger import Ledger
from nexusd.simulator.metrics import NoMetrics
from nexusd.simulator.options import FLEETS, POLL_S
from nexusd.store.store import SqlStore

T = TypeVar("T")

FOLLOW_EVERY_S = 5.0
HURRIED = frozenset({State.PROVISIONING.value, State.VERIFYING.value})
RETENTION_S = 3600.0
HOUSEKEEPING_EVERY_S = 600.0


class ObservedStore:
    """`ports.Store` of one process: the real one, with every write noted in the ledger."""

    def __init__(self, store: SqlStore, ledger: Ledger, life: Life) -> None:
        self._store = store
        self._ledger = ledger
        self._life = life

    async def run(self, transaction: Callable[[Transaction], T]) -> T:
        self._life.require()
        value = await self._store.run(self._ledger.observed(transaction))
        self._life.require()
        return value

    async def run_leading(self, transaction: Callable[[Transaction], T]) -> T:
        self._life.require()
        value = await self._store.run_leading(self._ledger.observed(transaction))
        self._life.require()
        return value

    async def read(self, transaction: Callable[[Transaction], T]) -> T:
        return await self.run(transaction)  # the file is open once here

    @property
    def epoch(self) -> int:
        return self._store.epoch

    @property
    def leading(self) -> bool:
        return self._store.leading


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a process is given."""

    store: Store
    cloud: CloudApi
    clock: Clock
    rng: random.Random
    options: ProvisioningOptions


class Process:
    def __init__(self, given: Surroundings, life: Life) -> None:
        now = given.clock.now()
        self._life = life
        self._given = given
        self._world = World({name: PollState(name, POLL_S[name], now) for name in (REGIONS, INSTANCES)})
        metrics = NoMetrics()
        self._world.declare(FLEETS)
        keeper = FleetKeeper(self._world, given.store, given.clock, given.rng, self._changed)
        self.provisioner = Provisioner(
            self._world, given.store, given.cloud, given.clock, metrics, given.options, self._changed, keeper
        )
        self.intake = Intake(
            self._world, given.store, given.clock, given.rng, given.options.policy, self._asked
        )
        observers = Observers(self.provisioner.wake, self.provisioner.swept, lambda _: None)
        parts = Parts(
            given.cloud, Alerting((), Routing({})), nobody_is_told, POLL_S, observers, fleets=FLEETS
        )
        self._cycle = Cycle(self._world, given.store, given.clock, metrics, parts)
        self._hurry = asyncio.Event()

    def now(self) -> float:
        """Its clock's time."""
        return self._given.clock.now()

    async def accept(self, request: PlacementRequest, key: IdempotencyKey) -> Placement:
        """As the web server would. Raises what `Intake` raises, and `KilledError`."""
        with self._life.seen_from_outside():
            return await self.intake.accept(request, key)

    async def cancel(self, placement_id: str) -> Placement:
        """Likewise."""
        with self._life.seen_from_outside():
            return await self.intake.cancel(placement_id)

    async def resolve(self, placement_id: str, verdict: Verdict) -> Placement:
        """Resolve a held placement as the web server would; raises as `accept` does."""
        with self._life.seen_from_outside():
            return await self.intake.resolve(placement_id, verdict)

    async def run(self) -> None:
        """Until killed."""
        await self._cycle.restore()
        tasks: dict[str, Coroutine[Any, Any, None]] = {
            "regions poll": self._poll_regions(),
            "instances poll": self._poll_instances(),
            "cycle": self._cycle.run(),
            "placing": self.provisioner.run(),
            "housekeeping": self._housekeep(),
            "suspensions": watch_suspensions(self._world, self._given.clock, self._hurry.set),
        }
        async with asyncio.TaskGroup() as group:
            for name, work in tasks.items():
                group.create_task(work, name=name)

    async def _poll_regions(self) -> None:
        while True:
            await self._cycle.poll_regions()
            await asyncio.sleep(self._jittered(POLL_S[REGIONS]))

    async def _poll_instances(self) -> None:
        while True:
            await self._cycle.poll_instances()
            wait_s = self._jittered(POLL_S[INSTANCES])
            if self.provisioner.following:
                wait_s = min(wait_s, FOLLOW_EVERY_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._hurry.wait()
                    await asyncio.sleep(1.0)
            self._hurry.clear()

    async def _housekeep(self) -> None:
        while True:
            with suppress(StoreUnavailableError):
                await self._given.store.run_leading(self._forget)
            await asyncio.sleep(HOUSEKEEPING_EVERY_S)

    def _forget(self, tx: Transaction) -> None:
        before = self._given.clock.now() - RETENTION_S
        tx.events.forget(before)
        tx.placements.forget_closed(before)
        tx.placements.forget_keys(before)

    def _jittered(self, interval_s: float) -> float:
        return interval_s * (1.0 + self._given.rng.uniform(-0.1, 0.1))

    def _asked(self, _events: list[Event]) -> None:
        """A client's request was committed."""
        self.provisioner.wake()

    def _changed(self, events: list[Event]) -> None:
        """The cycle, which would look at its alerts again, has none here."""
        if any(event.detail.get("to") in HURRIED for event in events):
            self._hurry.set()
