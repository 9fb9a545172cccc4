"""The muting in effect now, for views that show single alerts."""

from __future__ import annotations

from collections.abc import Mapping

from nexusd.core.errors import StoreError
from nexusd.core.muting import Muting, mute
from nexusd.core.silences import Silence
from nexusd.core.world import World
from nexusd.ports import Store
from nexusd.web.beside import about_alerts
from nexusd.web.tallies import within


async def muting_now(world: World, store: Store, timeout_s: float, now: float) -> Muting:
    """Return the muting by the stored silences, including one created just now.

    Without the store, the silences of the last pass count. Where these are the same, so is the muting of that
    pass: no alert is compared with all silences again.
    """
    silences: Mapping[str, Silence]
    try:
        found = await within(timeout_s, store.read(lambda tx: tx.silences.open(now)))
        silences = {silence.id: silence for silence in found}
    except StoreError:
        silences = world.silences
    if silences == world.silences and _lasts(world.muting, now):
        return world.muting
    alerts = world.alerts
    return await about_alerts(len(alerts), mute, alerts.values(), silences.values(), now)


def _lasts(muting: Muting, now: float) -> bool:
    return muting.next_due is None or now < muting.next_due
