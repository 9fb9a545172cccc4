"""The cadence of polls, in virtual time and with the wall clock stepped under APScheduler's feet."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import time_machine
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]

from nexusd.runtime import schedule as schedule_module
from nexusd.runtime.schedule import PollTiming, Schedule
from tests.virtual_time import VIRTUAL_EPOCH, VirtualClock, in_virtual_time

STEADY = PollTiming(interval_s=15.0, jitter=0.0, min_gap_s=1.0)


class Rig:
    """A schedule with one poll, `regions`, and a task that takes its turns for `work_s` each."""

    def __init__(self, timing: PollTiming = STEADY, work_s: float = 0.0, seed: int = 1) -> None:
        self.loop = asyncio.get_running_loop()
        self.work_s = work_s
        self.starts: list[float] = []
        self.skipped: list[str] = []
        self.running = self.most_running = 0
        self.schedule = Schedule(
            VirtualClock(), random.Random(seed), {"regions": _copy(timing)}, self.skipped.append
        )

    async def run(self, for_s: float, *events: tuple[float, Callable[[], object]]) -> list[float]:
        """The loop times at which polls began, over `for_s` seconds, with things done at given times."""
        async with self.schedule, asyncio.TaskGroup() as group:
            began = self.loop.time()
            worker = group.create_task(self._poll())
            for at_s, action in sorted(events, key=lambda event: event[0]):
                await asyncio.sleep(began + at_s - self.loop.time())
                action()
            await asyncio.sleep(began + for_s - self.loop.time())
            worker.cancel()
        return self.starts

    async def _poll(self) -> None:
        while True:
            async with self.schedule.turn("regions"):
                self.starts.append(self.loop.time())
                self.running += 1
                self.most_running = max(self.most_running, self.running)
                await asyncio.sleep(self.work_s)
                self.running -= 1


def _copy(timing: PollTiming) -> PollTiming:
    return PollTiming(timing.interval_s, timing.jitter, timing.min_gap_s)


def gaps(starts: list[float]) -> list[float]:
    return [b - a for a, b in pairwise(starts)]


@in_virtual_time
async def test_the_first_poll_is_at_once_and_the_others_every_interval() -> None:
    starts = await Rig().run(61.0)
    assert starts == pytest.approx([0.0, 15.0, 30.0, 45.0, 60.0], abs=1e-3)


@in_virtual_time
async def test_jitter_spreads_the_polls_within_its_share() -> None:
    starts = await Rig(PollTiming(interval_s=100.0, jitter=0.1)).run(100_000.0)
    assert min(gaps(starts)) >= 90.0 - 1e-3
    assert max(gaps(starts)) <= 110.0 + 1e-3
    assert max(gaps(starts)) - min(gaps(starts)) > 15.0
    assert sum(gaps(starts)) / len(gaps(starts)) == pytest.approx(100.0, rel=0.01)


@in_virtual_time
async def test_the_same_seed_gives_the_same_cadence() -> None:
    timing = PollTiming(interval_s=10.0, jitter=0.2)
    began = asyncio.get_running_loop().time()
    first = gaps(await Rig(timing, seed=7).run(500.0))
    assert asyncio.get_running_loop().time() == began + 500.0
    assert gaps(await Rig(timing, seed=7).run(500.0)) == pytest.approx(first, abs=1e-3)


@in_virtual_time
async def test_a_poll_that_still_runs_is_not_started_twice_and_the_skip_is_counted() -> None:
    rig = Rig(work_s=40.0)
    starts = await rig.run(100.0)
    assert rig.most_running == 1
    assert starts == pytest.approx([0.0, 45.0, 90.0], abs=1e-3)
    assert rig.skipped == ["regions"] * 4  # at 15, 30, 60 and 75


@in_virtual_time
async def test_a_hurried_poll_runs_soon_and_the_interval_counts_from_it() -> None:
    rig = Rig()
    starts = await rig.run(35.0, (5.0, lambda: rig.schedule.hurry("regions")))
    assert starts == pytest.approx([0.0, 5.0, 20.0, 35.0][: len(starts)], abs=1e-3)
    assert len(starts) >= 3


@in_virtual_time
async def test_hurrying_all_the_time_keeps_the_minimum_gap() -> None:
    rig = Rig(PollTiming(interval_s=60.0, jitter=0.0, min_gap_s=2.0))
    wishes = [(0.1 * n, lambda: rig.schedule.hurry("regions")) for n in range(1, 100)]
    starts = await rig.run(20.0, *wishes)
    assert min(gaps(starts)) >= 2.0 - 1e-3
    assert len(starts) == 6  # 0, 2, 4, 6, 8 and the one that the last wish asked for


@in_virtual_time
async def test_a_wish_during_a_poll_is_met_by_another_poll_after_it() -> None:
    rig = Rig(work_s=3.0)
    starts = await rig.run(10.0, (1.0, lambda: rig.schedule.hurry("regions")))
    assert starts == pytest.approx([0.0, 3.0], abs=1e-3)
    assert rig.skipped == []


@in_virtual_time
async def test_a_shorter_interval_counts_from_the_last_poll() -> None:
    rig = Rig(PollTiming(interval_s=100.0, jitter=0.0))
    starts = await rig.run(31.0, (5.0, lambda: rig.schedule.set_interval("regions", 10.0)))
    assert starts == pytest.approx([0.0, 10.0, 20.0, 30.0], abs=1e-3)
    assert rig.schedule.interval_s("regions") == 10.0


@in_virtual_time
async def test_a_longer_interval_postpones_the_next_poll() -> None:
    rig = Rig()
    starts = await rig.run(121.0, (20.0, lambda: rig.schedule.set_interval("regions", 50.0)))
    assert starts == pytest.approx([0.0, 15.0, 65.0, 115.0], abs=1e-3)


@in_virtual_time
async def test_setting_the_same_interval_changes_nothing() -> None:
    rig = Rig()
    wishes = [(float(n), lambda: rig.schedule.set_interval("regions", 15.0)) for n in range(1, 40)]
    assert await rig.run(46.0, *wishes) == pytest.approx([0.0, 15.0, 30.0, 45.0], abs=1e-3)


async def _starts_while_the_wall_steps(step_s: float) -> list[float]:
    """Poll starts over ten intervals; the wall clock follows the loop and is stepped after the fourth."""
    with time_machine.travel(datetime.fromtimestamp(VIRTUAL_EPOCH, UTC), tick=False) as traveller:
        rig = Rig()
        stepped_s = 0.0

        def follow() -> None:
            wall = VIRTUAL_EPOCH + rig.loop.time() + stepped_s
            traveller.move_to(datetime.fromtimestamp(wall, UTC))

        def step() -> None:
            nonlocal stepped_s
            stepped_s = step_s

        ticks: list[tuple[float, Callable[[], object]]] = [(0.5 * n, follow) for n in range(1, 300)]
        return await rig.run(150.0, (50.25, step), *ticks)


@pytest.mark.parametrize("step_s", [-7200.0, 7200.0, -3600.0, 3600.0])
def test_a_stepped_wall_clock_changes_no_gap(step_s: float) -> None:
    starts = in_virtual_time(_starts_while_the_wall_steps)(step_s)
    assert gaps(starts) == pytest.approx([15.0] * 9, abs=1e-2)


def test_the_wall_clock_test_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """With APScheduler on its usual clock, the same two hours back silence the polls."""

    def on_the_wall_clock(**options: Any) -> AsyncIOScheduler:
        return AsyncIOScheduler(**{**options, "timezone": UTC})

    monkeypatch.setattr(schedule_module, "AsyncIOScheduler", on_the_wall_clock)
    starts = in_virtual_time(_starts_while_the_wall_steps)(-7200.0)
    assert 3 <= len(starts) <= 5, "polled on after the step: the test above proves nothing"


class SuspendingClock(VirtualClock):
    """A clock that went on while the loop's own stood still: the machine slept."""

    slept_s = 0.0

    def now(self) -> float:
        return super().now() + self.slept_s


@in_virtual_time
async def test_after_a_suspend_the_next_poll_is_within_an_interval() -> None:
    rig = Rig()
    clock = SuspendingClock()
    rig.schedule = Schedule(clock, random.Random(1), {"regions": _copy(STEADY)}, rig.skipped.append)

    def suspend() -> None:
        clock.slept_s = timedelta(hours=9).total_seconds()

    starts = await rig.run(100.0, (50.0, suspend))
    assert max(gaps(starts)) <= 15.0 + 1e-3


@in_virtual_time
async def test_nothing_is_left_in_the_loop_after_the_end() -> None:
    rig = Rig()
    await rig.run(20.0)
    handles = [h for h in getattr(rig.loop, "_scheduled", []) if not h.cancelled()]
    assert handles == []
