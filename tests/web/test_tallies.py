"""What the store counts, when it does not answer."""

from __future__ import annotations

import asyncio

from nexusd.core.lifecycle import State
from nexusd.web.page.reading import STORE_TIMEOUT_S, Reading
from nexusd.web.tallies import TallyReader
from tests.virtual_time import VirtualClock, in_virtual_time
from tests.web.fakes import FakeDaemon, FakeStore, placement

TIMEOUT_S = 5.0


@in_virtual_time
async def test_who_waits_less_has_the_last_counts_while_another_waits_on() -> None:
    store, clock = FakeStore(), VirtualClock()
    store.placements.put(placement())
    reader = TallyReader(store, clock, TIMEOUT_S)
    known = await reader.latest()
    store.hangs = True
    await asyncio.sleep(60)
    began_at = clock.now()
    patient = asyncio.create_task(reader.latest())
    await asyncio.sleep(0)
    assert await reader.latest(1.0) == known
    assert clock.now() - began_at == 1.0
    assert await patient == known
    assert clock.now() - began_at == TIMEOUT_S
    assert known.placements[State.QUEUED] == 1


@in_virtual_time
async def test_a_page_waits_for_a_store_that_hangs_no_longer_than_it_says() -> None:
    store, clock = FakeStore(), VirtualClock()
    store.hangs = True
    reading = Reading("1.2.3", FakeDaemon(), store, clock, TallyReader(store, clock, TIMEOUT_S))
    began_at = clock.now()
    view = await reading.view()
    assert view.stored is None
    assert clock.now() - began_at == STORE_TIMEOUT_S
