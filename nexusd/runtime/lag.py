"""Measures how late the event loop is, and counts its tasks (`nexusd_event_loop_lag_seconds`, `…_tasks`). One
root task in `app.py`.
"""

from __future__ import annotations

import asyncio

from nexusd.ports import Metrics

PERIOD_S = 0.5


async def probe_lag(metrics: Metrics, stop: asyncio.Event, period_s: float = PERIOD_S) -> None:
    """Until `stop` is set, ask to be woken every `period_s` and report by how much the loop was late, and how
    many tasks it has that have not ended.

    A loop that is blocked for B seconds is seen as a lag of between B − `period_s` and B.
    """
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        due = loop.time() + period_s
        await asyncio.sleep(period_s)
        metrics.loop_lag(max(0.0, loop.time() - due))
        metrics.loop_tasks(len(asyncio.all_tasks(loop)))
