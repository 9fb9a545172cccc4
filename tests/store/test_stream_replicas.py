"""The event stream of one replica while others write, on PostgreSQL."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from nexusd.core.errors import ConflictError
from nexusd.core.events import Event, Subject
from nexusd.core.settling import number
from nexusd.ports import Transaction
from nexusd.store.opening import StoreOptions, database_for
from nexusd.store.store import SqlStore
from nexusd.store.transaction import SqlTransaction
from nexusd.web.metrics import MetricsRegistry
from nexusd.web.stream import EventStream, Reader, StreamOptions
from tests.fakes import EPOCH, FakeClock
from tests.store.conftest import Opener

OPTIONS = StreamOptions(poll_s=0.01, doubt_s=0.005, gather_s=0.0, keepalive_s=0.05)
EVENT = Event(EPOCH, "PlacementAccepted", Subject("placement", "plc_1"))
pytestmark = pytest.mark.parametrize("url", ["postgresql"], indirect=True)


@asynccontextmanager
async def reading(store: SqlStore, after: int | None = None) -> AsyncIterator[tuple[EventStream, Reader]]:
    stream = EventStream(store, FakeClock(), MetricsRegistry(), OPTIONS)
    running = asyncio.create_task(stream.run(), name="event stream")
    try:
        async with stream.reader(lambda: None, after, None) as reader:
            yield stream, reader
    finally:
        running.cancel()
        await asyncio.wait([running])


async def told(stream: EventStream, reader: Reader, upto: int) -> list[int]:
    """The ids that the reader is given, until it was given that one."""
    found: list[int] = []
    async with asyncio.timeout(20.0):
        while not found or found[-1] < upto:
            piece = await stream.piece(reader)
            found += [int(each) for each in re.findall(rb"^id: (\d+)$", piece, re.MULTILINE)]
            if not piece:
                await stream.news(reader)
    return found


async def append(store: SqlStore, count: int = 1) -> list[int]:
    stored = await store.run(lambda tx: tx.events.append([EVENT] * count))
    return [number(event) for event in stored]


async def test_what_another_replica_wrote_is_told(opened: Opener) -> None:
    ours, theirs = opened(), opened()
    async with reading(ours) as (stream, reader):
        written = await append(theirs, 3)
        assert await told(stream, reader, written[-1]) == written


async def test_an_event_that_is_committed_late_is_told_in_its_place(opened: Opener, url: str) -> None:
    ours = opened()
    other = database_for(StoreOptions(url, "other")).connect()
    async with reading(ours) as (stream, reader):
        other.begin()
        (late,) = (number(event) for event in SqlTransaction(other).events.append([EVENT]))
        (early,) = await append(ours)
        for _ in range(3):
            assert await stream.piece(reader) == b""
            await stream.news(reader)
        other.commit()
        other.close()
        assert await told(stream, reader, early) == [late, early]


async def test_a_stream_that_begins_while_somebody_writes_waits_for_them(opened: Opener, url: str) -> None:
    ours = opened()
    (first,) = await append(ours)
    other = database_for(StoreOptions(url, "other")).connect()
    other.begin()
    SqlTransaction(other).events.append([EVENT])
    (early,) = await append(ours)

    async def read() -> list[int]:
        async with reading(ours, first) as (stream, reader):
            return await told(stream, reader, early)

    waiting = asyncio.create_task(read())
    await asyncio.sleep(10 * OPTIONS.doubt_s)
    assert not waiting.done()
    other.commit()
    other.close()
    assert await waiting == [first + 1, early]


async def test_whatever_replicas_write_and_undo_at_once_is_told_once_and_in_order(opened: Opener) -> None:
    stores, rng = [opened(), opened(), opened()], random.Random(7)
    committed: list[int] = []

    async def write(store: SqlStore, fails: bool, count: int) -> None:  # noqa: FBT001 - drawn by lot
        def transaction(tx: Transaction) -> list[Event]:
            appended = [event for _ in range(count) for event in tx.events.append([EVENT])]
            if fails:
                raise ConflictError("undone")
            return appended

        try:
            committed.extend(number(event) for event in await store.run(transaction))
        except ConflictError:
            return

    async with reading(stores[0], 0) as (stream, reader):
        for _ in range(40):
            await asyncio.gather(
                *(write(rng.choice(stores), rng.random() < 0.2, rng.randint(1, 4)) for _ in range(12))
            )
        assert await told(stream, reader, max(committed)) == sorted(committed)
