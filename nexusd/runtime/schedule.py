"""Schedule of the polls.

`app.py` builds one `Schedule`; the tasks that poll ask it for their turns.

APScheduler says *when*: each poll is one of its jobs, with a trigger that spreads the beats by jitter. A job
does no work. It marks the poll as wanted, and the task that owns the poll (in the daemon's TaskGroup) takes
its turn.

**Why a stepped wall clock does not matter here.** APScheduler computes everything from
`datetime.now(scheduler.timezone)`, so with an ordinary time zone a step of −2 h silences an interval job for
two hours. Python defines `datetime.now(tz)` as `tz.fromutc(…)`, and the time zone is APScheduler's own public
option, so it is given one whose `fromutc` answers with the injected `Clock` instead: that clock never steps,
counts suspend, and knows no daylight saving. There is nothing to detect and nothing to reschedule, and under
a virtual clock the real scheduler runs in virtual time unpatched. The timer that wakes APScheduler is the
event loop's (monotonic) one, which does not advance while the machine is suspended; `hurry` sets it again for
a job that is overdue.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from types import TracebackType
from typing import Self

from apscheduler.executors.debug import DebugExecutor  # type: ignore[import-untyped]
from apscheduler.job import Job  # type: ignore[import-untyped]
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]
from apscheduler.triggers.base import BaseTrigger  # type: ignore[import-untyped]

from nexusd.ports import Clock


@dataclass(slots=True)
class PollTiming:
    """How often a poll runs.

    `interval_s` between starts; each gap differs from it by up to `jitter` (a share: 0.1 is ±10 %).
    `min_gap_s`: hurried or not, no two starts are closer than this.
    """

    interval_s: float
    jitter: float = 0.1
    min_gap_s: float = 1.0


@dataclass(slots=True)
class _Poll:
    """`again`: it was hurried while it ran, so what it reads may be older than the wish."""

    timing: PollTiming
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    running: bool = False
    again: bool = False
    fired_at: float | None = None
    began_at: float | None = None
    job: Job | None = None


class Schedule:
    """Starts polls, never two of one kind at once. An async context manager: entered, every poll is wanted.

    `skipped` is called with a poll's name when its time came while the one before still ran.
    """

    def __init__(
        self,
        clock: Clock,
        rng: random.Random,
        timings: Mapping[str, PollTiming],
        skipped: Callable[[str], None],
    ) -> None:
        self._clock = clock
        self._rng = rng
        self._skipped = skipped
        self._polls = {name: _Poll(timing) for name, timing in timings.items()}
        self._elapsed_time = _ElapsedTime(clock)
        self._scheduler = AsyncIOScheduler(
            timezone=self._elapsed_time,
            executors={"default": DebugExecutor()},  # jobs run right here: no thread, no task of their own
            job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
        )

    async def __aenter__(self) -> Self:
        self._scheduler.start()
        for name, poll in self._polls.items():
            beat = _Beat(poll.timing, self._rng)
            poll.job = self._scheduler.add_job(self._fire, beat, args=(name,), id=name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for poll in self._polls.values():
            poll.job = None
        self._scheduler.shutdown(wait=False)
        await asyncio.sleep(0)  # its shutdown is itself a callback of the loop

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait until the poll is wanted, and hold its turn while the block runs. One task a name."""
        poll = self._polls[name]
        await poll.wanted.wait()
        poll.wanted.clear()
        poll.running = True
        poll.began_at = self._clock.now()
        try:
            yield
        finally:
            poll.running = False
            if poll.again:
                poll.again = False
                self.hurry(name)

    def hurry(self, name: str) -> None:
        """Run this poll as soon as its `min_gap_s` allows. One that runs is followed by another."""
        poll = self._polls[name]
        if poll.running:
            poll.again = True
            return
        began_at = poll.began_at if poll.began_at is not None else float("-inf")
        self._bring_forward(poll, max(self._clock.now(), began_at + poll.timing.min_gap_s))

    def set_interval(self, name: str, interval_s: float) -> None:
        """Use another interval from now on; the next start is that long after the last one."""
        poll = self._polls[name]
        if interval_s == poll.timing.interval_s:
            return
        poll.timing.interval_s = interval_s
        if poll.job is not None and poll.fired_at is not None:
            due = max(self._clock.now(), poll.fired_at + interval_s)
            poll.job.modify(next_run_time=self._elapsed_time.datetime_of(due))

    def interval_s(self, name: str) -> float:
        return self._polls[name].timing.interval_s

    def _bring_forward(self, poll: _Poll, due: float) -> None:
        if poll.job is None or poll.wanted.is_set():
            return
        at = self._elapsed_time.datetime_of(due)
        overdue = poll.job.next_run_time <= datetime.now(
            self._elapsed_time
        )  # its timer did not advance either
        if overdue or at < poll.job.next_run_time:
            poll.job.modify(next_run_time=at)

    def _fire(self, name: str) -> None:
        poll = self._polls[name]
        poll.fired_at = self._clock.now()
        if poll.running or poll.wanted.is_set():
            self._skipped(name)
            return
        poll.wanted.set()


class _ElapsedTime(tzinfo):
    """UTC by the injected clock: `datetime.now(this)` is the clock's time, whatever the wall clock says.

    Only for APScheduler, and only for instants made here: converting any other into it gives the present.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def datetime_of(self, at: float) -> datetime:
        """An instant of the clock as APScheduler wants it."""
        return datetime.fromtimestamp(at, UTC).replace(tzinfo=self)

    def fromutc(self, _wall: datetime) -> datetime:
        """The clock's time; what the wall clock said is ignored."""
        return self.datetime_of(self._clock.now())

    def utcoffset(self, _at: datetime | None) -> timedelta:
        return timedelta(0)

    def dst(self, _at: datetime | None) -> timedelta:
        return timedelta(0)

    def tzname(self, _at: datetime | None) -> str:
        return "UTC"


class _Beat(BaseTrigger):  # type: ignore[misc]  # APScheduler has no types
    """Fires at once, then every interval, each gap with its own jitter."""

    def __init__(self, timing: PollTiming, rng: random.Random) -> None:
        self._timing = timing
        self._rng = rng

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        if previous_fire_time is None:
            return now
        spread = self._timing.jitter * self._rng.uniform(-1.0, 1.0)
        return now + timedelta(seconds=max(self._timing.interval_s * (1.0 + spread), self._timing.min_gap_s))
