"""Suspensions of the process do not raise alerts (architecture.md, Time).

Causes are SIGSTOP, a suspended VM, or a blocked event loop.

The daemon's parts poll, place and alert in virtual time. The cloud continues while they are suspended, and
does nothing that lasts long enough for an alert, so that every alert is false.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from nexusd.core.alerting import Alerting
from nexusd.core.answers import CreateAnswer, Created, CreateRequest, NotSent, Unknown
from nexusd.core.errors import UnavailableError
from nexusd.core.events import Event
from nexusd.core.notifications import Message, Routing
from nexusd.core.placement import PlacementPolicy, PlacementRequest
from nexusd.core.polls import INSTANCES, REGIONS, PollState
from nexusd.core.records import Instance, Region
from nexusd.core.regions import RegionList
from nexusd.core.rules_default import DEFAULT_RULES
from nexusd.core.sweeps import Sweep
from nexusd.core.world import World
from nexusd.cycle import Cycle, Observers, Parts
from nexusd.ports import OutboxMessage
from nexusd.provisioning.following import FollowOptions
from nexusd.provisioning.intake import Intake
from nexusd.provisioning.worker import Provisioner, ProvisioningOptions
from nexusd.runtime.schedule import PollTiming, Schedule
from nexusd.runtime.suspension import watch_suspensions
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from tests.fakes import NullMetrics
from tests.virtual_time import VirtualClock, VirtualTimeLoop, in_virtual_time

INTERVALS_S = {REGIONS: 15.0, INSTANCES: 30.0}
TIMEOUT_S = 10.0
BOOT_S = 90.0
BLIP_S, BLIP_EVERY_S = 35.0, 400.0
LONGEST_S = 6 * 3600.0


class SteadyCloud:
    """`ports.CloudApi` whose state depends on the time alone.

    It has short blips, and instances that boot and stay.

    `down`: it answers nothing. `latency_s`: of readings, from and to. `violations`:
    creates sent before regions and instances were read again.
    """

    def __init__(self, clock: VirtualClock, rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._made: dict[str, tuple[Instance, float]] = {}
        self._answered_at: dict[str, float] = {}
        self._read_since: set[str] = set()
        self.resumed_at = float("-inf")
        self.down = False
        self.latency_s = (0.1, 2.0)
        self.stopped: set[str] = set()
        self.created = 0
        self.violations: list[str] = []

    def resume(self) -> None:
        self.resumed_at = self._clock.now()
        self._read_since.clear()

    async def read_regions(self) -> RegionList:
        began_at = await self._exchange(REGIONS)
        slugs = ("eu-west-2", "us-east-1", "ap-south-1")
        regions = {slug: self._region(slug, n) for n, slug in enumerate(slugs)}
        return RegionList(began_at, self._clock.now(), regions)

    def _region(self, slug: str, n: int) -> Region:
        """Return a region: during a blip two are degraded, the third has no capacity."""
        blip = self._clock.now() % BLIP_EVERY_S < BLIP_S
        return Region(slug, slug, "degraded" if blip and n else "healthy", 12.0 + n, capacity=not blip)

    async def sweep_instances(self) -> Sweep:
        began_at = await self._exchange(INSTANCES)
        now = self._clock.now()
        return Sweep(began_at, now, {i.id: self._booted(i, at, now) for i, at in self._made.values()})

    def _booted(self, instance: Instance, made_at: float, now: float) -> Instance:
        if instance.id in self.stopped:
            return replace(instance, status="stopped")
        return replace(instance, status="running" if now > made_at + BOOT_S else "provisioning")

    async def create_instance(self, request: CreateRequest, deadline: float) -> CreateAnswer:
        if self._clock.now() > deadline:
            return NotSent("the deadline had passed")
        if self._read_since != {REGIONS, INSTANCES}:
            self.violations.append(f"{request.name}: read since: {sorted(self._read_since)}")
        self.created += 1
        began_at = self._clock.now()
        instance = Instance(f"inst_{self.created}", request.name, "pending", request.region)
        self._made[instance.id] = instance, began_at
        await asyncio.sleep(self._rng.uniform(0.1, 2.0))
        timed_out = self._clock.now() > began_at + TIMEOUT_S
        return Unknown("timeout") if timed_out else Created(instance)

    def last_answer_at(self, resource: str) -> float | None:
        return self._answered_at.get(resource)

    async def _exchange(self, resource: str) -> float:
        began_at = self._clock.now()
        await asyncio.sleep(self._rng.uniform(*self.latency_s))
        if self.down or (self._clock.now() > began_at + TIMEOUT_S and self._rng.random() < 0.5):
            raise UnavailableError("no answer within 10s", "timeout")
        self._answered_at[resource] = self._clock.now()
        if began_at >= self.resumed_at:
            self._read_since.add(resource)
        return began_at


class Daemon:
    """The parts of a daemon that poll, place and alert, and what they send."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = VirtualClock()
        self.cloud = SteadyCloud(self.clock, self.rng)
        options = StoreOptions(f"sqlite:///{folder / 'nexusd.db'}", "test")
        self.store = open_store(options, self.clock, InlineExecutor())
        now = self.clock.now()
        self.world = World({name: PollState(name, s, now) for name, s in INTERVALS_S.items()})
        timings = {name: PollTiming(seconds) for name, seconds in INTERVALS_S.items()}
        self.schedule = Schedule(self.clock, self.rng, timings, lambda _: None)
        metrics = NullMetrics()
        policy = PlacementPolicy()
        placing = ProvisioningOptions(policy, FollowOptions())
        self.provisioner = Provisioner(
            self.world, self.store, self.cloud, self.clock, metrics, placing, self._changed
        )
        observers = Observers(self.provisioner.wake, self.provisioner.swept, lambda _: None)
        self.messages: list[tuple[float, Message]] = []
        alerting = Alerting(tuple(DEFAULT_RULES.values()), Routing({"ops": True}))
        parts = Parts(self.cloud, alerting, self._compose, INTERVALS_S, observers)
        self.cycle = Cycle(self.world, self.store, self.clock, metrics, parts)
        self.intake = Intake(self.world, self.store, self.clock, self.rng, policy, self._changed)

    def _changed(self, _events: list[Event]) -> None:
        self.provisioner.wake()
        self.cycle.wake()

    async def _compose(self, messages: Sequence[Message], now: float) -> list[OutboxMessage]:
        self.messages += [(now, message) for message in messages]
        return []

    async def place(self) -> None:
        request = PlacementRequest(f"worker-{self.rng.getrandbits(40):x}", "pro")
        await self.intake.accept(request, None)

    def suspend(self, seconds: float, *, machine: bool) -> None:
        """Suspend the machine, or stop only the process, whose monotonic clock continues."""
        if machine:
            self.clock.suspend(seconds)
        else:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            loop.block(seconds)
        self.cloud.resume()

    async def events(self, kind: str) -> list[str]:
        """The alerts that had an event of this kind, but for `Watchdog`."""
        found = await self.store.run(lambda tx: tx.events.since(0, None, 1_000_000))
        return [str(e.subject.name) for e in found if e.type == kind and e.subject.name != "Watchdog"]

    async def run(self) -> None:
        def resumed() -> None:
            for resource in INTERVALS_S:
                self.schedule.hurry(resource)

        async with self.schedule, asyncio.TaskGroup() as group:
            group.create_task(self._poll(REGIONS, self.cycle.poll_regions))
            group.create_task(self._poll(INSTANCES, self.cycle.poll_instances))
            group.create_task(self.cycle.run())
            group.create_task(self.provisioner.run())
            group.create_task(watch_suspensions(self.world, self.clock, resumed))

    async def _poll(self, resource: str, poll: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            async with self.schedule.turn(resource):
                await poll()


@asynccontextmanager
async def running(folder: Path, seed: int = 1) -> AsyncIterator[Daemon]:
    daemon = Daemon(folder, seed)
    assert await daemon.store.acquire_lease()
    await daemon.cycle.restore()
    task = asyncio.ensure_future(daemon.run())
    try:
        await asyncio.sleep(60.0)
        yield daemon
    finally:
        task.cancel()
        (ended, *_) = await asyncio.gather(task, return_exceptions=True)
        await daemon.store.close()
        assert isinstance(ended, asyncio.CancelledError), ended


async def suspend_often(folder: Path, seed: int, times: int) -> list[str]:
    """Return failures of suspensions of random length, from 5 s to hours."""
    async with running(folder, seed) as daemon:
        rng = daemon.rng
        for _ in range(times):
            await asyncio.sleep(rng.uniform(0.0, 150.0))
            if rng.random() < 0.5:
                await daemon.place()
                await asyncio.sleep(rng.choice([0.0, 0.0, 1.0]))
            seconds = 5.0 * (LONGEST_S / 5.0) ** rng.random()
            daemon.suspend(seconds, machine=rng.random() < 0.5)
        await asyncio.sleep(1200.0)
        assert daemon.cloud.created
        wrong = [f"fired: {name}" for name in await daemon.events("AlertFired")]
        wrong += [f"inhibited: {name}" for name in await daemon.events("AlertInhibited")]
        return wrong + daemon.cloud.violations


@pytest.mark.parametrize("seed", [1, 2])
@in_virtual_time
async def test_suspensions_cause_no_alert_and_no_placement_on_old_data(tmp_path: Path, seed: int) -> None:
    assert await suspend_often(tmp_path, seed, 20) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13, 14])
@in_virtual_time
async def test_a_thousand_suspensions_cause_none(tmp_path: Path, seed: int) -> None:
    assert await suspend_often(tmp_path, seed, 250) == []


@in_virtual_time
async def test_a_daemon_that_does_not_notice_suspensions_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexusd.core.suspension.MAX_GAP_S", float("inf"))
    wrong = await suspend_often(tmp_path, 1, 30)
    assert any(text.startswith("fired: ") for text in wrong)
    assert any("read since" in text for text in wrong)


@pytest.mark.parametrize("machine", [False, True])
@in_virtual_time
async def test_events_during_a_suspension_are_notified_after_the_first_polls(
    tmp_path: Path,
    machine: bool,  # noqa: FBT001 - a parametrized case
) -> None:
    async with running(tmp_path) as daemon:
        await daemon.place()
        await asyncio.sleep(300.0)
        daemon.cloud.stopped.add("inst_1")
        daemon.suspend(3600.0, machine=machine)
        await asyncio.sleep(25.0)
        assert await daemon.events("AlertFired") == ["InstanceStopped"]
        assert [m.alerts[0].name for _, m in daemon.messages if m.alerts[0].name != "Watchdog"] == [
            "InstanceStopped"
        ]


@pytest.mark.parametrize("machine", [False, True])
@in_virtual_time
async def test_an_outage_that_began_before_or_during_a_suspension_is_reported(
    tmp_path: Path,
    machine: bool,  # noqa: FBT001 - a parametrized case
) -> None:
    async with running(tmp_path) as daemon:
        daemon.cloud.down = True
        daemon.suspend(3600.0, machine=machine)
        await asyncio.sleep(10.0)
        assert await daemon.events("AlertFired") == []
        await asyncio.sleep(80.0)
        assert await daemon.events("AlertFired") == ["CloudAPIUnreachable"]
        daemon.suspend(3600.0, machine=machine)
        await asyncio.sleep(90.0)
        assert await daemon.events("AlertResolved") == []
        daemon.cloud.down = False
        await asyncio.sleep(60.0)
        assert await daemon.events("AlertResolved") == ["CloudAPIUnreachable"]


@pytest.mark.parametrize(("down", "alert"), [(True, "CloudAPIUnreachable"), (False, "SnapshotStale")])
@in_virtual_time
async def test_a_daemon_that_is_blocked_all_the_time_reports_it(
    tmp_path: Path,
    down: bool,  # noqa: FBT001 - a parametrized case
    alert: str,
) -> None:
    """No reading ends without an interruption, so nothing would ever be placed, or reported as an outage."""
    async with running(tmp_path) as daemon:
        daemon.cloud.down, daemon.cloud.latency_s = down, (3.0, 4.0)
        for _ in range(150):
            daemon.suspend(5.0, machine=False)
            await asyncio.sleep(2.0)
        assert await daemon.events("AlertFired") == [alert]
        daemon.cloud.down = False
        await asyncio.sleep(120.0)
        assert await daemon.events("AlertResolved") == [alert]
