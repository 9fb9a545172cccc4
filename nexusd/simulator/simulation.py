"""A whole run, put together: read this first."""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from nexusd.core.cooling import LONGEST_WAIT_S
from nexusd.ports import Clock
from nexusd.simulator.cloud import Cloud
from nexusd.simulator.disk import Disk
from nexusd.simulator.invariants import Breach, Invariants
from nexusd.simulator.killing import Life
from nexusd.simulator.ledger import Ledger
from nexusd.simulator.network import Connection, Network
from nexusd.simulator.operator import resolve_held
from nexusd.simulator.options import CREATES_PER_MINUTE, SimulationOptions, engine_options
from nexusd.simulator.process import ObservedStore, Process, Surroundings
from nexusd.simulator.supervisor import Supervisor
from nexusd.simulator.trace import Trace
from nexusd.simulator.variants import VARIANTS
from nexusd.simulator.virtual_time import run_virtual
from nexusd.simulator.weather import Weather
from nexusd.simulator.workload import Workload

DAY_S = 86_400.0
LONGEST_DRAIN_DAYS = 7.0


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run. `breach` None: nothing was broken. Times in seconds."""

    seed: int
    hash: str
    events: int
    virtual_s: float
    real_s: float
    placements: int
    kills: dict[str, int]
    ended: dict[str, int]
    counts: dict[str, int]
    breach: Breach | None


def simulate(options: SimulationOptions, folder: Path, progress: Callable[[Progress], None]) -> Result:
    """Run it in virtual time, with the store's file in `folder`. `progress` is called now and then."""
    with _no_logs(), _rare_collections():
        run = Simulation(options, folder).run(progress)
        return run_virtual(run, limit_s=(options.days + LONGEST_DRAIN_DAYS) * DAY_S)


@contextmanager
def _no_logs() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Collecting garbage by Python's default thresholds would take a third of the time."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, 10, 10)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@dataclass(frozen=True, slots=True)
class Progress:
    """`share` of the virtual time."""

    share: float
    placements: int
    kills: int


class Simulation:
    """Made inside the loop that runs it."""

    def __init__(self, options: SimulationOptions, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._spoil = VARIANTS[options.variant] if options.variant is not None else _as_it_is

    async def run(self, progress: Callable[[Progress], None]) -> Result:
        began_at = time.perf_counter()
        self._build()
        try:
            breach = await self._play(progress)
        finally:
            self._disk.close()
        return Result(
            seed=self._options.seed,
            hash=self._trace.hash,
            events=self._trace.events,
            virtual_s=round(self._loop.time(), 3),
            real_s=round(time.perf_counter() - began_at, 3),
            placements=self._invariants.counts["accepted"],
            kills=dict(sorted(self._supervisor.kills.items())),
            ended=dict(sorted(self._invariants.ended.items())),
            counts=dict(sorted(self._invariants.counts.items())),
            breach=breach,
        )

    def _build(self) -> None:
        options = self._options
        self._loop = asyncio.get_running_loop()
        self._trace = trace = Trace(self._loop)
        self._ledger = ledger = Ledger()
        self._invariants = invariants = ledger.auditor = Invariants(ledger, trace)
        self._weather = weather = Weather(self._dice("weather"), options.faults, trace)
        cloud = Cloud(self._dice("cloud"), weather, trace, invariants)
        self._cloud = invariants.bounds.cloud = cloud
        self._network = Network(self._dice("network"), cloud, weather, trace, invariants)
        self._disk = Disk(self._folder / "nexusd.db", ledger, weather)
        self._supervisor = Supervisor(
            self._dice("supervisor"), self._disk, weather, trace, invariants, self._process
        )
        self._workload = Workload(self._dice("workload"), invariants, lambda: self._supervisor.process)
        weather.killing = self._supervisor.doom

    def _dice(self, name: str) -> random.Random:
        """One for each part, so that another draw in one changes nothing in the others by itself."""
        return random.Random(f"{self._options.seed} {name}")

    def _process(self, life: Life, clock: Clock, rng: random.Random) -> Process:
        store = ObservedStore(self._disk.open(life, clock), self._ledger, life)
        connection = Connection(self._network, life, clock)
        given = Surroundings(store, connection, clock, rng, engine_options())
        return Process(self._spoil(given), life)

    async def _calm(self) -> None:
        self._supervisor.spare()
        await self._supervisor.up.wait()
        await self._invariants.decides()

    async def _play(self, progress: Callable[[Progress], None]) -> Breach | None:
        """Everything at once until the days are over and all work has ended, or something broke."""
        ends_at = self._options.days * DAY_S
        outside = {
            "supervisor": self._supervisor.run(),
            "regions": self._cloud.live(),
            "dry spells": self._cloud.dry_spells(),
            "strangers": self._cloud.strangers(lambda: list(self._ledger.open_by_name)),
            "operator": resolve_held(self._ledger, self._invariants, lambda: self._supervisor.process),
            "progress": self._tell(progress, ends_at),
        }
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work, name=name) for name, work in outside.items()]
            tasks.append(group.create_task(self._days(ends_at), name="the days"))
            broken = group.create_task(self._invariants.broken.wait(), name="broken")
            await asyncio.wait([tasks[-1], broken], return_when=asyncio.FIRST_COMPLETED)
            for task in [*tasks, broken]:
                task.cancel()
        return self._invariants.breach

    async def _days(self, ends_at: float) -> None:
        storms = asyncio.create_task(self._weather.run(self._calm), name="storms")
        try:
            await self._workload.run(ends_at)
        finally:
            storms.cancel()
        self._weather.clear()
        self._cloud.heal()
        await self._calm()
        await self._drain()

    async def _drain(self) -> None:
        """Until what is open now has ended, for as long as that may take (I8). Fleets go on."""
        work = list(self._ledger.open_by_name.values())
        within_s = 2 * LONGEST_WAIT_S + 60.0 * len(work) / CREATES_PER_MINUTE + 1800.0
        until = self._loop.time() + within_s
        while any(record.open for record in work) and self._loop.time() < until:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(10.0)
        self._invariants.drained([record for record in work if record.open], within_s)

    async def _tell(self, progress: Callable[[Progress], None], ends_at: float) -> None:
        while True:
            share = min(1.0, self._loop.time() / ends_at)
            progress(Progress(share, self._invariants.counts["accepted"], self._supervisor.kills.total()))
            await asyncio.sleep(600.0)


def _as_it_is(given: Surroundings) -> Surroundings:
    return given
