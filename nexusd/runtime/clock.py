"""The daemon's clock: `ports.Clock` over clocks that nobody can step. Built by `app.py`."""

from __future__ import annotations

import time
from collections.abc import Callable

SMALLEST_STEP_S = 1.0
"""Differences below this are slewing and rounding, not a step that somebody made."""


def elapsed_s() -> float:
    """Seconds on a clock that never steps and, on Linux, counts the time the machine was suspended."""
    boot_clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_clock is None else time.clock_gettime(boot_clock)


class SystemClock:
    """Implements `ports.Clock`: the wall clock once, at construction; from then on only elapsed time.

    `wall` and `elapsed` give seconds; tests pass their own.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = elapsed_s
    ) -> None:
        self._wall = wall
        self._elapsed = elapsed
        self._anchor = wall() - elapsed()

    def now(self) -> float:
        """UTC seconds since the epoch as the wall clock had them at the start, plus what has passed since."""
        return self._anchor + self._elapsed()

    def utc_offset_s(self) -> float:
        """How far the wall clock was stepped since the start, in seconds; 0.0 below one second."""
        step_s = self._wall() - self.now()
        return step_s if abs(step_s) >= SMALLEST_STEP_S else 0.0
