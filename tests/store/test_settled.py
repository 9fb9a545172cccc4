"""No event is missed, in whatever order transactions commit."""

from __future__ import annotations

import random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from nexusd.core.events import Event, Subject
from nexusd.core.settling import NOBODY, PATIENCE_S, Doubt, Settled, number
from nexusd.store.events import Events
from nexusd.store.opening import StoreOptions, database_for
from nexusd.store.schema import meta
from nexusd.store.statements import Session
from nexusd.store.store import SqlStore
from nexusd.store.transaction import SqlTransaction
from tests.effort import examples
from tests.fakes import EPOCH

SUBJECT = Subject("instance", "i-1")


def event(at: float = EPOCH) -> Event:
    return Event(at, "InstanceAppeared", SUBJECT)


class Replicas(Events):
    """The table as one replica sees it while others write: at each look they go on by a few random steps."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._last = 0
        self._started = 0
        self._open: dict[str, list[int]] = {}
        self.committed: set[int] = set()
        self.steps_a_look = 3

    def since(self, event_id: int | None, at: float | None, limit: int) -> list[Event]:
        self._go_on()
        assert event_id is not None
        after = sorted(n for n in self.committed if n > event_id)[:limit]
        return [Event(EPOCH, "InstanceAppeared", SUBJECT, id=n) for n in after]

    def writers(self) -> frozenset[str]:
        self._go_on()
        return frozenset(self._open)

    def end_all(self) -> None:
        for name in list(self._open):
            self._end(name)
        self.steps_a_look = 0

    def _go_on(self) -> None:
        for _ in range(self._rng.randint(0, self.steps_a_look)):
            self._rng.choice((self._begin, self._append, self._append, self._end_any))()

    def _begin(self) -> None:
        self._started += 1
        self._open[f"transaction {self._started}"] = []

    def _append(self) -> None:
        if self._open:
            self._last += 1
            self._open[self._rng.choice(sorted(self._open))].append(self._last)

    def _end_any(self) -> None:
        if self._open:
            self._end(self._rng.choice(sorted(self._open)))

    def _end(self, name: str) -> None:
        ids = self._open.pop(name)
        if self._rng.random() < 0.7:
            self.committed |= set(ids)


class Hasty(Replicas):
    """The broken variant: whoever is writing is not waited for."""

    def writers(self) -> frozenset[str]:
        super().writers()
        return NOBODY


def follow(replicas: Replicas, limit: int, looks: int) -> list[int]:
    """What a reader is given that always goes on from the last id it was told is settled."""
    told: list[int] = []
    after, doubt = 0, None
    for look in range(looks + 20):
        if look == looks:
            replicas.end_all()
        read = replicas.settled(after, doubt, limit, EPOCH)
        assert all(after < number(e) <= read.upto for e in read.events)
        told += [number(e) for e in read.events]
        after, doubt = read.upto, read.doubt
        while look >= looks and read.more:
            read = replicas.settled(after, doubt, limit, EPOCH)
            told += [number(e) for e in read.events]
            after, doubt = read.upto, read.doubt
    return told


@settings(max_examples=examples(300), deadline=None)
@given(seed=st.integers(0, 2**32), limit=st.integers(1, 12))
def test_every_committed_event_is_told_once_and_in_order(seed: int, limit: int) -> None:
    replicas = Replicas(random.Random(seed))
    assert follow(replicas, limit, looks=40) == sorted(replicas.committed)


def test_without_waiting_for_writers_events_are_missed() -> None:
    def missed(seed: int) -> bool:
        replicas = Hasty(random.Random(seed))
        return follow(replicas, 10, looks=40) != sorted(replicas.committed)

    assert any(missed(seed) for seed in range(20))


async def read(store: SqlStore, after: int, doubt: Doubt | None = None, now: float = EPOCH) -> Settled:
    return await store.run(lambda tx: tx.events.settled(after, doubt, 100, now))


async def append(store: SqlStore, count: int) -> list[Event]:
    return await store.run(lambda tx: tx.events.append([event() for _ in range(count)]))


async def test_events_are_settled_at_once_where_nobody_else_writes(store: SqlStore) -> None:
    stored = await append(store, 3)
    found = await read(store, number(stored[0]) - 1)
    assert (found.events, found.upto, found.doubt) == (stored, stored[-1].id, None)


async def test_a_transaction_that_was_undone_holds_nothing_back(store: SqlStore) -> None:
    (first,) = await append(store, 1)

    def fails(tx: Any) -> None:
        tx.events.append([event()])
        raise LookupError

    with pytest.raises(LookupError):
        await store.run(fails)
    (last,) = await append(store, 1)
    assert (await read(store, number(first))).events == [last]


async def test_events_that_were_forgotten_hold_nothing_back(store: SqlStore) -> None:
    stored = await append(store, 3)
    await store.run(lambda tx: tx.events.forget(EPOCH + 1))
    (last,) = await append(store, 1)
    assert (await read(store, number(stored[0]))).events == [last]


async def test_a_page_ends_where_it_is_full_and_says_that_there_is_more(store: SqlStore) -> None:
    stored = await append(store, 5)
    found = await store.run(lambda tx: tx.events.settled(number(stored[0]), None, 2, EPOCH))
    assert (found.events, found.more) == (stored[1:3], True)


class Other:
    """Another replica's transaction, held open."""

    def __init__(self, url: str) -> None:
        self.session: Session = database_for(StoreOptions(url, "other")).connect()
        self.session.begin()

    def append(self) -> int:
        (appended,) = SqlTransaction(self.session).events.append([event()])
        return number(appended)


on_postgres = pytest.mark.parametrize("url", ["postgresql"], indirect=True)
"""Only there are several replicas."""


@on_postgres
async def test_an_id_taken_elsewhere_holds_back_what_comes_after_it_until_it_is_committed(
    store: SqlStore, url: str
) -> None:
    (first,) = await append(store, 1)
    other = Other(url)
    taken = other.append()
    (later,) = await append(store, 1)

    held = await read(store, number(first))
    assert (held.events, held.upto) == ([], first.id)
    again = await read(store, held.upto, held.doubt)
    assert again.events == []
    other.session.commit()
    told = await read(store, again.upto, again.doubt)
    other.session.close()

    assert [e.id for e in told.events] == [taken, later.id]


@on_postgres
async def test_an_id_taken_elsewhere_and_rolled_back_is_passed(store: SqlStore, url: str) -> None:
    (first,) = await append(store, 1)
    other = Other(url)
    other.append()
    (later,) = await append(store, 1)
    held = await read(store, number(first))
    other.session.rollback()
    told = await read(store, held.upto, held.doubt)
    other.session.close()
    assert (told.events, told.doubt) == ([later], None)


@on_postgres
async def test_who_began_to_write_later_is_not_waited_for(store: SqlStore, url: str) -> None:
    (first,) = await append(store, 1)
    early, late = Other(url), Other(url)
    early.append()
    (second,) = await append(store, 1)
    held = await read(store, number(first))
    late.append()
    early.session.rollback()
    told = await read(store, held.upto, held.doubt)
    for other in (early, late):
        other.session.close()
    assert told.events == [second]


@on_postgres
async def test_a_writer_that_never_ends_is_given_up(store: SqlStore, url: str) -> None:
    (first,) = await append(store, 1)
    other = Other(url)
    other.append()
    (later,) = await append(store, 1)
    held = await read(store, number(first))
    told = await read(store, held.upto, held.doubt, EPOCH + PATIENCE_S)
    other.session.close()
    assert told.events == [later]


@on_postgres
async def test_who_only_reads_or_writes_elsewhere_is_no_writer(store: SqlStore, url: str) -> None:
    other = Other(url)
    SqlTransaction(other.session).events.since(0, None, 1)
    other.session.execute(sa.update(meta).values(value=meta.c.value))
    writers = await store.run(lambda tx: tx.events.writers())
    other.session.close()
    assert writers == NOBODY
