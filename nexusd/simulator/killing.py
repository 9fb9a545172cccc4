"""`kill -9` in a simulated process: at a crossing of a port, or at any moment of virtual time.

Between two crossings a process does nothing that anybody outside could see, so a kill at any await is one
of these, told apart by the crossing before it. A dead process's tasks are still unwound by Python, but every
door is shut: whatever they try outside is cancelled first, which no handler of errors catches.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum

from nexusd.simulator.trace import Trace


class Crossing(StrEnum):
    """Where a process touches the world."""

    BEFORE_TRANSACTION = "before a transaction"
    BEFORE_COMMIT = "before a commit"
    AFTER_COMMIT = "after a commit"
    BEFORE_POST = "before a POST"
    POST_SENT = "during a POST"
    POST_ANSWERED = "after a POST"
    BEFORE_READING = "before reading the cloud"
    AFTER_READING = "after reading the cloud"


AT_A_MOMENT = "at a moment"
MEAN_LIFE_S = 8.0
LONGEST_LIFE_S = 20.0


class KilledError(Exception):
    """The daemon died while somebody outside waited for its answer."""


class Life:
    """One process's, from its start to its kill. `died` is set by the kill."""

    def __init__(self, number: int, trace: Trace, kills: Counter[str]) -> None:
        self.number = number
        self.died = asyncio.Event()
        self._trace = trace
        self._kills = kills
        self._at: Crossing | None = None
        self._crossings_left = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def alive(self) -> bool:
        return not self.died.is_set()

    def doom(self, rng: random.Random) -> None:
        """Choose how it will end: at a crossing, if it comes to that one soon enough, else at a moment."""
        later = asyncio.get_running_loop().call_later
        if rng.random() < 0.2:
            self._timer = later(rng.expovariate(1 / MEAN_LIFE_S), self.kill, AT_A_MOMENT)
            return
        self._at = rng.choice(list(Crossing))
        often = self._at in {Crossing.BEFORE_TRANSACTION, Crossing.BEFORE_COMMIT, Crossing.AFTER_COMMIT}
        self._crossings_left = 1 + int(rng.expovariate(1 / 20.0 if often else 1.0))
        self._timer = later(LONGEST_LIFE_S, self.kill, AT_A_MOMENT)

    def spare(self) -> None:
        """Not doomed any more."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def crossed(self, where: Crossing) -> None:
        """Called at every crossing. Raises `CancelledError` when the process is dead or dies here."""
        self.require()
        if where is not self._at:
            return
        self._crossings_left -= 1
        if self._crossings_left <= 0:
            self.kill(where.value)
            self.require()

    def require(self) -> None:
        """Raises `CancelledError` when the process is dead."""
        if self.died.is_set():
            raise asyncio.CancelledError("killed")

    @contextmanager
    def seen_from_outside(self) -> Iterator[None]:
        """A call into the process by one who outlives it. Raises `KilledError` when it dies meanwhile."""
        try:
            self.require()
            yield
        except asyncio.CancelledError:
            if self.alive:
                raise
            raise KilledError from None

    def kill(self, where: str) -> None:
        if self.died.is_set():
            return
        self.spare()
        self._kills[where] += 1
        self._trace.happened(f"process {self.number} is killed {where}")
        self.died.set()
