"""How much an answer may look at on the event loop itself; more is looked at on a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar

from nexusd.beside import Beside
from nexusd.core.inventory import Inventory
from nexusd.core.records import Instance

T = TypeVar("T")

ALERTS_ON_LOOP = 64
"""About 3 ms of shaping."""
INSTANCES_ON_LOOP = 10_000
"""About 2 ms of holding each against a filter. Merely skipping so many takes 0.1 ms."""

about_alerts = Beside(ALERTS_ON_LOOP)


async def about_instances(looks_at: int, step: Callable[[Iterable[Instance]], T], inventory: Inventory) -> T:
    """The step gets the instances as they are now, in the order in which they were first seen: what becomes
    of them meanwhile it does not see.
    """
    if looks_at <= INSTANCES_ON_LOOP:
        return step(inventory)
    return await asyncio.to_thread(step, inventory.copied().values())
