from __future__ import annotations

import time

import pytest

from nexusd.runtime.clock import SystemClock, elapsed_s


class Clocks:
    """A wall clock that can be stepped beside an elapsed one that cannot."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000.0
        self.elapsed = 500.0

    def pass_s(self, seconds: float) -> None:
        self.wall += seconds
        self.elapsed += seconds

    def clock(self) -> SystemClock:
        return SystemClock(lambda: self.wall, lambda: self.elapsed)


def test_it_begins_at_the_wall_clock() -> None:
    clocks = Clocks()
    assert clocks.clock().now() == 1_700_000_000.0


@pytest.mark.parametrize("step_s", [7200.0, -7200.0])
def test_a_step_of_the_wall_clock_moves_only_the_offset(step_s: float) -> None:
    clocks = Clocks()
    clock = clocks.clock()
    clocks.pass_s(10.0)
    clocks.wall += step_s
    assert clock.now() == 1_700_000_010.0
    assert clock.utc_offset_s() == step_s


def test_slewing_is_not_a_step() -> None:
    clocks = Clocks()
    clock = clocks.clock()
    clocks.wall += 0.9
    assert clock.utc_offset_s() == 0.0


def test_the_real_one_agrees_with_the_system() -> None:
    clock = SystemClock()
    assert clock.now() == pytest.approx(time.time(), abs=0.5)
    assert clock.utc_offset_s() == 0.0
    assert elapsed_s() == pytest.approx(time.clock_gettime(time.CLOCK_BOOTTIME), abs=0.5)
