"""The history, on both databases."""

from __future__ import annotations

import pytest
from msgspec.structs import replace as altered

from nexusd.core.events import Event, Subject
from nexusd.store import events as events_module
from nexusd.store.store import SqlStore

SUBJECT = Subject("instance", "i-1", "web-1", "eu-1")


def event(at: float, **detail: object) -> Event:
    return Event(at, "InstanceAppeared", SUBJECT, detail)


async def append(store: SqlStore, *events: Event) -> list[Event]:
    return await store.run(lambda tx: tx.events.append(events))


async def test_appended_events_get_growing_ids_in_order(store: SqlStore) -> None:
    first = await append(store, event(5.0, n=1), event(4.0, n=2))
    second = await append(store, event(6.0, nested={"a": [1, None, "ü\0"]}))
    ids = [e.id for e in first + second]
    assert None not in ids
    assert ids == sorted(set(ids))
    assert [altered(e, id=None) for e in first] == [event(5.0, n=1), event(4.0, n=2)]
    assert await store.run(lambda tx: tx.events.since(ids[1], None, 10)) == second


async def test_of_very_many_each_has_the_id_that_was_given_back(store: SqlStore) -> None:
    await append(store, event(1.0), event(2.0))
    await store.run(lambda tx: tx.events.forget(3.0))
    appended = await append(store, *(event(4.0, n=n) for n in range(67)))
    assert await store.run(lambda tx: tx.events.since(0, None, 1000)) == appended


async def test_events_since_an_id_begin_after_it(store: SqlStore) -> None:
    stored = await append(store, *(event(float(n)) for n in range(5)))
    assert await store.run(lambda tx: tx.events.since(stored[1].id, None, 2)) == stored[2:4]


async def test_events_since_an_instant_include_it(store: SqlStore) -> None:
    stored = await append(store, *(event(float(n)) for n in range(5)))
    assert await store.run(lambda tx: tx.events.since(None, 3.0, 10)) == stored[3:]
    assert await store.run(lambda tx: tx.events.since(None, 1.0, 2)) == stored[1:3]


async def test_without_a_beginning_the_newest_are_given_oldest_first(store: SqlStore) -> None:
    stored = await append(store, *(event(float(n)) for n in range(5)))
    assert await store.run(lambda tx: tx.events.since(None, None, 2)) == stored[3:]


async def test_an_id_is_never_given_twice_even_after_the_newest_was_forgotten(store: SqlStore) -> None:
    (last,) = await append(store, event(1.0))
    assert await store.run(lambda tx: tx.events.forget(2.0)) == 1
    (after,) = await append(store, event(3.0))
    assert last.id is not None
    assert after.id is not None
    assert after.id > last.id


async def test_forgetting_stops_at_a_bound_and_says_how_many(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events_module, "FORGET_AT_MOST", 3)
    stored = await append(store, *(event(float(n)) for n in range(6)))
    counts = [await store.run(lambda tx: tx.events.forget(5.0)) for _ in range(3)]
    assert counts == [3, 2, 0]
    assert await store.run(lambda tx: tx.events.since(None, None, 10)) == stored[5:]


async def test_more_events_than_one_chunk_keep_their_order(store: SqlStore) -> None:
    stored = await append(store, *(event(1.0, n=n) for n in range(6_000)))
    ids = [e.id for e in stored]
    assert ids == sorted(ids, key=lambda key: key or 0)
    (newest,) = await store.run(lambda tx: tx.events.since(None, None, 1))
    assert newest == stored[-1]
