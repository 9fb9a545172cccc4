"""Detects that the process was suspended and requests new data.

A task of `engine` (`core.suspension`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from nexusd.core.suspension import TICK_S
from nexusd.core.world import World
from nexusd.ports import Clock

log = structlog.get_logger(__name__)


async def watch_suspensions(world: World, clock: Clock, resumed: Callable[[], None]) -> None:
    """Call `resumed` after each suspension, until cancelled.

    Any part may have detected the suspension first.
    """
    handled = world.activity.suspensions
    world.activity.tick(clock.now())
    try:
        while True:
            await asyncio.sleep(TICK_S)
            now = clock.now()
            world.observe(now)
            if world.activity.suspensions is handled:
                continue
            handled = world.activity.suspensions
            last = handled.recent[-1]
            log.warning("process_suspended", seconds=round(last.ended_at - last.began_at, 1))
            resumed()
    finally:
        world.activity.stop()
