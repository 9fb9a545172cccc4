from __future__ import annotations

import asyncio
import time
from typing import cast

from nexusd.ports import Metrics
from nexusd.runtime.lag import probe_lag
from tests.virtual_time import in_virtual_time


class Lags:
    """Stands in for the metrics; only lags are reported here."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def loop_lag(self, lag_s: float) -> None:
        self.seen.append(lag_s)


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
