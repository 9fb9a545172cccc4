"""Taking silences in, over a real store, and the cycle that obeys them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from nexusd import silencing
from nexusd.core.errors import ConflictError, InputError, NotFoundError
from nexusd.core.matchers import parse_matcher
from nexusd.core.silences import SilenceRequest, SilenceState
from nexusd.silencing import Silencing
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore
from tests.fakes import EPOCH, FakeClock
from tests.test_cycle import HELD, watch
from tests.virtual_time import in_virtual_time

REQUEST = SilenceRequest((parse_matcher("alertname=PlacementHeld"),), EPOCH, EPOCH + 3600.0, "me", "why")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    opened = open_store(StoreOptions(f"sqlite:///{tmp_path}/n.db", "me"), FakeClock(), InlineExecutor())
    yield opened
    await opened.close()


class Desk:
    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.clock = FakeClock()
        self.changes = 0
        self.silencing = Silencing(store, self.clock, random.Random(1), self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def events(self) -> list[str]:
        return [e.type for e in await self.store.run(lambda tx: tx.events.since(0, None, 100))]


async def test_it_is_durable_when_it_is_taken_in(store: SqlStore) -> None:
    desk = Desk(store)
    silence = await desk.silencing.put(REQUEST)
    assert await store.run(lambda tx: tx.silences.open(EPOCH)) == [silence]
    assert (desk.changes, await desk.events()) == (1, ["SilenceCreated"])


async def test_a_change_keeps_its_id_and_another_one_ends_it(store: SqlStore) -> None:
    desk = Desk(store)
    first = await desk.silencing.put(REQUEST)
    desk.clock.advance(60.0)
    longer = await desk.silencing.put(replace(REQUEST, id=first.id, ends_at=EPOCH + 7200.0))
    assert longer.id == first.id
    other = await desk.silencing.put(replace(REQUEST, id=first.id, matchers=(parse_matcher("a=b"),)))
    assert other.id != first.id
    stored = {s.id: s.state(desk.clock.now()) for s in await store.run(lambda tx: tx.silences.newest(9))}
    assert stored == {first.id: SilenceState.EXPIRED, other.id: SilenceState.ACTIVE}
    assert await desk.events() == ["SilenceCreated", "SilenceChanged", "SilenceExpired", "SilenceCreated"]


async def test_it_is_expired_once(store: SqlStore) -> None:
    desk = Desk(store)
    silence = await desk.silencing.put(REQUEST)
    first = await desk.silencing.expire(silence.id)
    desk.clock.advance(1.0)
    assert await desk.silencing.expire(silence.id) == first
    assert await desk.events() == ["SilenceCreated", "SilenceExpired"]


async def test_what_is_refused_leaves_nothing(store: SqlStore) -> None:
    desk = Desk(store)
    with pytest.raises(NotFoundError):
        await desk.silencing.put(replace(REQUEST, id="unknown"))
    with pytest.raises(NotFoundError):
        await desk.silencing.expire("unknown")
    with pytest.raises(InputError):
        await desk.silencing.put(replace(REQUEST, matchers=()))
    assert (desk.changes, await desk.events()) == (0, [])


async def test_there_are_only_so_many(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silencing, "MOST_OPEN", 2)
    desk = Desk(store)
    first = await desk.silencing.put(REQUEST)
    await desk.silencing.put(REQUEST)
    with pytest.raises(ConflictError):
        await desk.silencing.put(REQUEST)
    await desk.silencing.put(replace(REQUEST, id=first.id, ends_at=EPOCH + 7200.0))
    await desk.silencing.expire(first.id)
    await desk.silencing.put(REQUEST)


@in_virtual_time
async def test_the_cycle_obeys_it_at_once_and_again_after_a_restart(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        await here.put_held()
        here.cycle.wake()
        desk = Silencing(here.store, here.clock, random.Random(1), here.cycle.wake)
        now = here.clock.now()
        silence = await desk.put(replace(REQUEST, starts_at=now, ends_at=now + 3600.0))
        await asyncio.sleep(1.0)
        mark = next(f for f, a in here.world.alerts.items() if a.name == "PlacementHeld")
        assert here.world.muting.muted[mark].silenced_by == (silence.id,)
        await here.cycle.restore()
        assert here.world.muting.muted[mark].silenced_by == (silence.id,)
        await desk.expire(silence.id)
        await asyncio.sleep(1.0)
        assert here.world.muting.muted == {}
        assert here.world.silences == {}
        assert HELD.id in dict(here.world.alerts[mark].labels).values()


@in_virtual_time
async def test_the_cycle_obeys_within_a_minute_what_another_replica_took_in(tmp_path: Path) -> None:
    async with watch(tmp_path) as here:
        await here.put_held()
        here.cycle.wake()
        desk = Silencing(here.store, here.clock, random.Random(1), lambda: None)
        now = here.clock.now()
        await desk.put(replace(REQUEST, starts_at=now, ends_at=now + 3600.0))
        await asyncio.sleep(61.0)
        assert len(here.world.muting.muted) == 1
        await asyncio.sleep(3600.0)
        assert here.world.muting.muted == {}
