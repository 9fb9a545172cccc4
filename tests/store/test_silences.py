"""Silences, on both databases."""

from __future__ import annotations

from dataclasses import replace

from nexusd.core.matchers import parse_matcher
from nexusd.core.silences import Silence
from nexusd.store.store import SqlStore

NIGHT = Silence(
    "6f1c2a52-0f0e-4b2a-9d53-6d6a53c2b9b1",
    tuple(map(parse_matcher, ("alertname=InstanceStopped", 'name=~"web-.*|ü"', 'region!="eu"', "a!~b"))),
    starts_at=10.0,
    ends_at=20.0,
    updated_at=9.5,
    created_by="ünï",
    comment="maintenance\n🌙",
)


async def test_a_silence_comes_back_as_it_was_and_matches(store: SqlStore) -> None:
    await store.run(lambda tx: tx.silences.save([NIGHT]))
    found = await store.run(lambda tx: tx.silences.get(NIGHT.id))
    assert found == NIGHT
    assert found.matches({"alertname": "InstanceStopped", "name": "web-1"})
    assert not found.matches({"alertname": "InstanceStopped", "name": "api-1"})
    assert await store.run(lambda tx: tx.silences.get("unknown")) is None


async def test_it_is_replaced_by_its_id(store: SqlStore) -> None:
    longer = replace(NIGHT, ends_at=30.0)
    await store.run(lambda tx: tx.silences.save([NIGHT]))
    await store.run(lambda tx: tx.silences.save([longer]))
    assert await store.run(lambda tx: tx.silences.newest(10)) == [longer]


async def test_open_are_those_that_are_not_over(store: SqlStore) -> None:
    await store.run(lambda tx: tx.silences.save([NIGHT, replace(NIGHT, id="later", ends_at=40.0)]))
    for now, expected in ((19.9, ["later", NIGHT.id]), (20.0, ["later"]), (40.0, [])):
        assert [s.id for s in await store.run(lambda tx, at=now: tx.silences.open(at))] == expected


async def test_an_unchanged_silence_is_the_same_object_at_each_pass(store: SqlStore) -> None:
    async def read() -> Silence:
        [found] = await store.run(lambda tx: tx.silences.open(10.0))
        return found

    await store.run(lambda tx: tx.silences.save([NIGHT]))
    first = await read()
    assert await read() is first
    await store.run(lambda tx: tx.silences.save([replace(NIGHT, ends_at=30.0)]))
    assert (await read()).ends_at == 30.0


async def test_the_newest_are_those_that_end_last(store: SqlStore) -> None:
    await store.run(lambda tx: tx.silences.save(replace(NIGHT, id=str(n), ends_at=n) for n in range(5)))
    assert [s.id for s in await store.run(lambda tx: tx.silences.newest(2))] == ["4", "3"]


async def test_those_that_ended_long_ago_are_forgotten_within_a_bound(store: SqlStore) -> None:
    await store.run(lambda tx: tx.silences.save(replace(NIGHT, id=str(n), ends_at=n) for n in range(5)))
    assert await store.run(lambda tx: tx.silences.forget(3.0)) == 3
    assert await store.run(lambda tx: tx.silences.forget(3.0)) == 0
    assert [s.id for s in await store.run(lambda tx: tx.silences.newest(9))] == ["4", "3"]
