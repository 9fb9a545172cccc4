"""When what goes wrong: storms, in which several faults overlap, and calms, in which none is on and all that
was in doubt must come to an end (I8).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from nexusd.simulator.options import Fault
from nexusd.simulator.trace import Trace

LONG_STORM_S = 2400.0
USUAL_CHANCE = 0.3
CHANCES = {
    Fault.KILL: 0.8,
    Fault.LOST_ANSWER: 0.5,
    Fault.LIST_LAG: 0.5,
    Fault.AUTH: 0.08,
    Fault.QUOTA: 0.15,
    Fault.PARTITION: 0.15,
    Fault.STORE: 0.2,
}
"""How likely a storm has it. What stops all placing for minutes comes less often, so that more is placed."""
STANDING = frozenset({Fault.DRY, Fault.CLOCK})
"""Faults that have their own times."""


class Weather:
    """`on` is asked by whatever can fail. `killing` is called when kills begin."""

    def __init__(self, rng: random.Random, faults: frozenset[Fault], trace: Trace) -> None:
        self._rng = rng
        self._disk_rng = random.Random(rng.getrandbits(64))
        self._faults = [fault for fault in Fault if fault in faults and fault not in STANDING]
        self._all = faults
        self._trace = trace
        self._on: dict[Fault, bool] = dict.fromkeys(Fault, False)
        self.killing: Callable[[], None] = lambda: None

    def on(self, fault: Fault) -> bool:
        return self._on[fault]

    def may(self, fault: Fault) -> bool:
        """Whether the run has this fault at all."""
        return fault in self._all

    def store_fails(self) -> bool:
        return self._on[Fault.STORE] and self._disk_rng.random() < 0.7

    async def run(self, calm: Callable[[], Awaitable[None]]) -> None:
        """For ever. `calm` is awaited between two storms."""
        while True:
            await self._storm()
            self.clear()
            await calm()
            await asyncio.sleep(self._rng.uniform(0.0, 60.0))

    def clear(self) -> None:
        """Everything works again."""
        for fault in Fault:
            self._set(fault, on=False)

    async def _storm(self) -> None:
        """Each fault comes with its own chance, and goes."""
        long = self._rng.random() < 0.03
        length_s = LONG_STORM_S if long else self._rng.uniform(60.0, 420.0)
        async with asyncio.TaskGroup() as group:
            for fault in self._faults:
                if self._rng.random() < CHANCES.get(fault, USUAL_CHANCE):
                    kill = fault is Fault.KILL
                    begins_s = 0.0 if kill else self._rng.uniform(0.0, 0.5 * length_s)
                    lasts_s = self._rng.uniform(0.7 if kill else 0.3, 1.0) * (length_s - begins_s)
                    group.create_task(self._strike(fault, begins_s, lasts_s), name=f"storm of {fault}")
            await asyncio.sleep(length_s)

    async def _strike(self, fault: Fault, begins_s: float, lasts_s: float) -> None:
        await asyncio.sleep(begins_s)
        self._set(fault, on=True)
        await asyncio.sleep(lasts_s)
        self._set(fault, on=False)

    def _set(self, fault: Fault, *, on: bool) -> None:
        if self._on[fault] is not on:
            self._on[fault] = on
            self._trace.happened(f"fault {fault} {'begins' if on else 'ends'}")
            if on and fault is Fault.KILL:
                self.killing()
