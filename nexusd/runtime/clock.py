"""The daemon's clock: `ports.Clock` over clocks that do not step.

Built by `app.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from nexusd.ports import MAX_SLEW

SMALLEST_STEP_S = 1.0
"""Differences below this are slewing and rounding, not a step."""
MAX_ROUND_TRIP_S = 2.0
"""A measurement that took longer is too inaccurate to follow."""


def elapsed_s() -> float:
    """Seconds on a clock that never steps and, on Linux, counts the time the machine was suspended."""
    boot_clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot_clock is None else time.clock_gettime(boot_clock)


@dataclass(frozen=True, slots=True)
class _Rate:
    """Offset of the clock to the elapsed time.

    `anchor` at the elapsed time `since`, then slewed towards `target`.
    """

    anchor: float
    since: float
    target: float

    def anchor_at(self, elapsed: float) -> float:
        most = MAX_SLEW * max(0.0, elapsed - self.since)
        return self.anchor + min(max(self.target - self.anchor, -most), most)


class SystemClock:
    """Implements `ports.Clock` by elapsed time since one read of the wall clock.

    The wall clock is read at construction.

    Several replicas on one PostgreSQL must agree on stored times, so they `follow` the
    server's clock. The first measurement sets the clock; later ones slew it, so that it never steps.
    `wall` and `elapsed` give seconds; tests pass their own.
    """

    def __init__(
        self, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = elapsed_s
    ) -> None:
        self._wall = wall
        self._elapsed = elapsed
        anchor = wall() - elapsed()
        self._rate = _Rate(anchor, elapsed(), anchor)  # replaced as a whole: other threads read the time
        self._follows = False

    def follow(self, read: Callable[[], float]) -> None:
        """Measure the clock that `read` reads, and approach it. Raises what `read` raises."""
        asked_at = self._elapsed()
        there = read()
        answered_at = self._elapsed()
        first = not self._follows
        if not first and answered_at - asked_at > MAX_ROUND_TRIP_S:
            return
        target = there - (asked_at + answered_at) / 2
        anchor = target if first else self._rate.anchor_at(answered_at)
        self._rate = _Rate(anchor, answered_at, target)
        self._follows = True

    def now(self) -> float:
        """Return seconds since the epoch by the wall clock at start or a followed one."""
        elapsed = self._elapsed()
        return self._rate.anchor_at(elapsed) + elapsed

    def utc_offset_s(self) -> float:
        """Return how far the wall clock, or the followed clock, is ahead of `now`.

        It is 0.0 below one second.
        """
        wall = self._rate.target + self._elapsed() if self._follows else self._wall()
        step_s = wall - self.now()
        return step_s if abs(step_s) >= SMALLEST_STEP_S else 0.0

    def ahead_of_wall_s(self) -> float:
        """Return how far the clock is ahead of this machine's wall clock."""
        return self.now() - self._wall()
