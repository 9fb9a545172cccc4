from __future__ import annotations

import asyncio
import time
from typing import cast

from nexusd.ports import Metrics
from nexusd.runtime.lag import probe_lag
from tests.virtual_time import in_virtual_time


class Lags:
    """Stands in for the metrics; only lags and numbers of tasks are reported here."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self.tasks: list[int] = []

    def loop_lag(self, lag_s: float) -> None:
        self.seen.append(lag_s)

    def loop_tasks(self, count: int) -> None:
        self.tasks.append(count)


@in_virtual_time
async def test_an_idle_loop_has_no_lag_and_the_probe_stops_when_asked() -> None:
    lags, stop = Lags(), asyncio.Event()
    asyncio.get_running_loop().call_later(10.1, stop.set)
    await probe_lag(cast("Metrics", lags), stop)
    assert lags.seen == [0.0] * 21


async def test_a_blocked_loop_is_seen() -> None:
    lags, stop = Lags(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.call_later(0.005, lambda: time.sleep(0.05))
    loop.call_later(0.1, stop.set)
    await probe_lag(cast("Metrics", lags), stop, period_s=0.01)
    assert max(lags.seen) >= 0.03


@in_virtual_time
async def test_tasks_that_have_not_ended_are_counted() -> None:
    lags, stop = Lags(), asyncio.Event()
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(1.2), name="one that ends in time")
        loop.call_later(1.9, stop.set)
        before = len(asyncio.all_tasks())
        await probe_lag(cast("Metrics", lags), stop)
    assert lags.tasks == [before, before, before - 1, before - 1]
