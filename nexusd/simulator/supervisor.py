"""Starts a process, sees it die, starts the next on the same disk: systemd, in short."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

from nexusd.core.errors import StartError, StoreUnavailableError
from nexusd.ports import Clock
from nexusd.simulator.disk import Disk
from nexusd.simulator.invariants import Invariants
from nexusd.simulator.killing import KilledError, Life
from nexusd.simulator.options import Fault
from nexusd.simulator.process import Process
from nexusd.simulator.trace import Trace
from nexusd.simulator.virtual_time import VIRTUAL_EPOCH, VirtualClock
from nexusd.simulator.weather import Weather

LONGEST_STEP_S = 7200.0
STEP_CHANCE = 0.02
UNWOUND_WITHIN_S = 0.001
"""A dead process's tasks end without waiting for anything."""

Build = Callable[[Life, Clock, random.Random], Process]
"""A process on the disk as it is. Raises `StartError`, `KilledError`."""


class Supervisor:
    def __init__(
        self,
        rng: random.Random,
        disk: Disk,
        weather: Weather,
        trace: Trace,
        invariants: Invariants,
        build: Build,
    ) -> None:
        self._rng = rng
        self._disk = disk
        self._weather = weather
        self._trace = trace
        self._invariants = invariants
        self._build = build
        self._shift_s = 0.0
        self._lives = 0
        self._life: Life | None = None
        self.kills: Counter[str] = Counter()
        self.process: Process | None = None
        self.up = asyncio.Event()

    async def run(self) -> None:
        """For ever."""
        while True:
            await self._live_once()
            await asyncio.sleep(self._downtime_s())

    def doom(self) -> None:
        """The process of now is to be killed."""
        if self._life is not None and self._life.alive:
            self._life.doom(self._rng)

    def spare(self) -> None:
        """The process of now is not doomed any more."""
        if self._life is not None:
            self._life.spare()

    async def _live_once(self) -> None:
        self._lives += 1
        life = self._life = Life(self._lives, self._trace, self.kills)
        if self._weather.on(Fault.KILL):
            life.doom(self._rng)
        self._step_clock()
        clock = VirtualClock(epoch=VIRTUAL_EPOCH + self._shift_s)
        self._invariants.restarted(self._disk.open_placements())
        self._trace.happened(f"process {life.number} starts, its clock {self._shift_s:+.0f} s off")
        try:
            with life.seen_from_outside():
                self.process = self._build(life, clock, random.Random(self._rng.getrandbits(64)))
            self.up.set()
            await self._until_death(self.process, life)
        except (StartError, StoreUnavailableError):
            self._trace.happened(f"process {life.number} cannot start: the store fails")
        except KilledError:
            pass
        finally:
            life.spare()
            self.up.clear()
            self.process = None
            self._disk.crash()

    async def _until_death(self, process: Process, life: Life) -> None:
        running = asyncio.create_task(process.run(), name=f"process {life.number}")
        death = asyncio.create_task(life.died.wait(), name=f"death of process {life.number}")
        await asyncio.wait([running, death], return_when=asyncio.FIRST_COMPLETED)
        death.cancel()
        running.cancel()
        _, unwinding = await asyncio.wait([running], timeout=UNWOUND_WITHIN_S)
        if unwinding:
            raise AssertionError(f"{running.get_name()} does not end")
        if not running.cancelled() and not life.died.is_set() and (error := running.exception()) is not None:
            self._ended(error)

    def _ended(self, error: BaseException) -> None:
        if isinstance(error, StartError | StoreUnavailableError):
            self._trace.happened("the process ends: the store fails")
            return
        self._invariants.died(error)

    def _step_clock(self) -> None:
        """Somebody set the wall clock before this process began."""
        if self._weather.may(Fault.CLOCK) and self._rng.random() < STEP_CHANCE:
            self._shift_s = self._rng.uniform(-LONGEST_STEP_S, LONGEST_STEP_S)
            self._invariants.bounds.clock_stepped()

    def _downtime_s(self) -> float:
        return self._rng.uniform(20.0, 120.0) if self._rng.random() < 0.02 else self._rng.uniform(0.1, 4.0)
