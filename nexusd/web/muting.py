"""What is muted at this moment, for those who show alerts one by one."""

from __future__ import annotations

from collections.abc import Iterable

from nexusd.core.errors import StoreError
from nexusd.core.muting import Muting, mute
from nexusd.core.silences import Silence
from nexusd.core.world import World
from nexusd.ports import Store
from nexusd.web.beside import about_alerts
from nexusd.web.tallies import within


async def muting_now(world: World, store: Store, timeout_s: float, now: float) -> Muting:
    """By the silences that the store has, one that was taken in just now included; without the store by those
    last known.
    """
    silences: Iterable[Silence]
    try:
        silences = await within(timeout_s, store.read(lambda tx: tx.silences.open(now)))
    except StoreError:
        silences = world.silences.values()
    alerts = world.alerts
    return await about_alerts(len(alerts), mute, alerts.values(), silences, now)
