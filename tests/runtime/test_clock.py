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


class Server:
    """A remote clock, some seconds ahead of the wall clock.

    `takes_s`: how long reading it takes.
    """

    def __init__(self, clocks: Clocks, ahead_s: float) -> None:
        self.clocks = clocks
        self.ahead_s = ahead_s
        self.takes_s = 0.0

    def read(self) -> float:
        self.clocks.pass_s(self.takes_s / 2)
        at = self.clocks.wall + self.ahead_s
        self.clocks.pass_s(self.takes_s / 2)
        return at


@pytest.mark.parametrize("ahead_s", [600.0, -600.0])
def test_the_first_measurement_of_a_followed_clock_sets_it(ahead_s: float) -> None:
    clocks = Clocks()
    clock, server = clocks.clock(), Server(clocks, ahead_s)
    server.takes_s = 0.2
    clock.follow(server.read)
    assert clock.now() == pytest.approx(clocks.wall + ahead_s)
    assert clock.utc_offset_s() == 0.0
    assert clock.ahead_of_wall_s() == pytest.approx(ahead_s)
    clocks.wall += 3600.0  # a step here means nothing to it
    assert clock.utc_offset_s() == 0.0


@pytest.mark.parametrize("step_s", [30.0, -30.0])
def test_it_approaches_a_followed_clock_that_steps_without_stepping(step_s: float) -> None:
    clocks = Clocks()
    clock, server = clocks.clock(), Server(clocks, 600.0)
    clock.follow(server.read)
    server.ahead_s += step_s
    clock.follow(server.read)
    assert clock.utc_offset_s() == pytest.approx(step_s)
    before = clock.now()
    for _ in range(1200):
        clocks.pass_s(5.0)
        clock.follow(server.read)
        assert 4.9 < clock.now() - before < 5.1
        before = clock.now()
    assert clock.now() == pytest.approx(server.read())
    assert clock.utc_offset_s() == 0.0


def test_a_slow_measurement_is_ignored() -> None:
    clocks = Clocks()
    clock, server = clocks.clock(), Server(clocks, 600.0)
    clock.follow(server.read)
    server.ahead_s, server.takes_s = 700.0, 10.0
    clock.follow(server.read)
    assert clock.utc_offset_s() == 0.0


def test_a_reader_in_another_thread_sees_no_step_while_the_clock_is_measured() -> None:
    """The store's thread measures; the event loop reads the time at any moment of it."""
    clocks = Clocks()
    clock, server = clocks.clock(), Server(clocks, 0.0)
    clock.follow(server.read)
    server.ahead_s = 30.0
    clock.follow(server.read)
    clocks.pass_s(100.0)
    seen: list[float] = []
    replaced = type(clock).__setattr__

    class Observed(SystemClock):
        def __setattr__(self, name: str, value: object) -> None:
            replaced(self, name, value)
            seen.append(self.now())

    clock.__class__ = Observed
    before = clock.now()
    clock.follow(server.read)
    assert seen == pytest.approx([before] * len(seen), abs=1e-3, rel=0.0)
