"""How long an event loop is busy at a stretch, looked at each millisecond from within."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

EVERY_S = 0.001


class LoopWatch:
    """Runs from its making to `stop`. `lags_s`: how late each look came by the wall clock, `busy_s`: how much
    CPU the loop's thread had used since the look before it, which others on the machine do not add to.
    """

    def __init__(self) -> None:
        self.lags_s: list[float] = []
        self.busy_s: list[float] = []
        self._looking = asyncio.ensure_future(self._look())

    async def stop(self) -> float:
        """The longest that the loop's thread was busy at a stretch."""
        self._looking.cancel()
        with suppress(asyncio.CancelledError):
            await self._looking
        return max(self.busy_s, default=0.0)

    async def _look(self) -> None:
        while True:
            wall_s, cpu_s = time.perf_counter(), time.thread_time()
            await asyncio.sleep(EVERY_S)
            self.lags_s.append(max(0.0, time.perf_counter() - wall_s - EVERY_S))
            self.busy_s.append(time.thread_time() - cpu_s)
