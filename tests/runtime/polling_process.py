"""A process that polls every half second and prints when (monotonic seconds); driven by `test_faketime.py`.

With the argument `naive`, APScheduler keeps its usual clock: the broken variant.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from datetime import UTC
from functools import partial

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]

from nexusd.runtime import schedule as schedule_module
from nexusd.runtime.clock import SystemClock
from nexusd.runtime.schedule import PollTiming, Schedule

INTERVAL_S = 0.5


async def poll_until_killed(schedule: Schedule, clock: SystemClock) -> None:
    async with schedule:
        while True:
            async with schedule.turn("regions"):
                print(f"{time.monotonic():.3f} {time.time():.0f} {clock.utc_offset_s():.0f}", flush=True)


def on_the_wall_clock(timezone: object, **options: object) -> AsyncIOScheduler:
    return partial(AsyncIOScheduler, timezone=UTC)(**options)


def main() -> None:
    if "naive" in sys.argv[1:]:
        vars(schedule_module)["AsyncIOScheduler"] = on_the_wall_clock
    clock = SystemClock()
    timings = {"regions": PollTiming(INTERVAL_S, jitter=0.1, min_gap_s=0.1)}
    asyncio.run(poll_until_killed(Schedule(clock, random.Random(1), timings, print), clock))


if __name__ == "__main__":
    main()
