"""Transactions that only read: beside the writing ones, on both databases."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from nexusd.core.errors import NotFoundError, StoreBrokenError, StoreError, StoreUnavailableError
from nexusd.ports import Transaction
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_store
from nexusd.store.store import SqlStore
from tests.fakes import FakeClock
from tests.store.cluster import Cluster
from tests.store.conftest import Opener
from tests.store.test_transactions import gated, write


def names(tx: Transaction) -> list[str]:
    return [event.type for event in tx.events.since(None, None, 1000)]


async def test_a_read_does_not_wait_for_a_transaction_under_way(store: SqlStore) -> None:
    await store.run(lambda tx: write(tx, "before"))
    gate = await gated(store)
    writing = asyncio.ensure_future(store.run(lambda tx: write(tx, "waits")))
    async with asyncio.timeout(10):
        assert await store.read(names) == ["before"]
    assert not writing.done()
    await gate.open()
    await writing


async def test_a_read_sees_what_its_caller_was_told_is_committed(store: SqlStore) -> None:
    async def turn(number: int) -> None:
        name = f"n{number}"
        await store.run(lambda tx: write(tx, name))
        assert name in await store.read(names)

    await asyncio.gather(*map(turn, range(100)))


async def test_a_read_that_waits_for_another_sees_what_was_committed_meanwhile(store: SqlStore) -> None:
    entered, leave = threading.Event(), threading.Event()

    def long(tx: Transaction) -> list[str]:
        first = names(tx)
        entered.set()
        leave.wait(10)
        return [*first, *names(tx)]

    earlier = asyncio.ensure_future(store.read(long))
    await asyncio.to_thread(entered.wait, 10)
    later = asyncio.ensure_future(store.read(names))
    await asyncio.sleep(0)
    await store.run(lambda tx: write(tx, "A"))
    leave.set()
    assert await earlier == []  # all of one transaction is of one moment
    assert await later == ["A"]


async def test_a_read_cannot_write(store: SqlStore) -> None:
    with pytest.raises(StoreError):
        await store.read(lambda tx: write(tx, "lost"))
    assert await store.read(names) == []
    await store.run(lambda tx: write(tx, "A"))
    assert await store.read(names) == ["A"]


async def test_the_error_of_a_read_reaches_its_caller(store: SqlStore) -> None:
    def fail(_tx: Transaction) -> None:
        raise NotFoundError("there is no such thing")

    with pytest.raises(NotFoundError):
        await store.read(fail)
    with pytest.raises(RuntimeError):
        await store.read(lambda tx: next(iter(())))
    assert await store.read(names) == []


async def test_a_cancelled_read_that_waits_is_not_run(store: SqlStore) -> None:
    entered, leave, ran = threading.Event(), threading.Event(), threading.Event()

    def long(_tx: Transaction) -> None:
        entered.set()
        leave.wait(10)

    earlier = asyncio.ensure_future(store.read(long))
    await asyncio.to_thread(entered.wait, 10)
    later = asyncio.ensure_future(store.read(lambda tx: ran.set()))
    await asyncio.sleep(0)
    later.cancel()
    await asyncio.sleep(0)
    leave.set()
    await earlier
    await store.read(names)
    assert not ran.is_set()


async def test_closing_waits_for_who_reads(store: SqlStore) -> None:
    entered, leave = threading.Event(), threading.Event()

    def long(tx: Transaction) -> list[str]:
        entered.set()
        leave.wait(10)
        return names(tx)

    reading, waiting = asyncio.ensure_future(store.read(long)), asyncio.ensure_future(store.read(names))
    await asyncio.to_thread(entered.wait, 10)
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0)
    assert not closing.done()
    leave.set()
    await closing
    assert (await reading, await waiting) == ([], [])


async def test_a_closed_store_is_not_read(opened: Opener) -> None:
    store = opened()
    assert await store.read(names) == []
    await store.close()
    with pytest.raises(StoreUnavailableError):
        await store.read(names)


async def test_inline_reads_run_on_the_event_loops_own_thread(opened: Opener) -> None:
    store = opened(executor=InlineExecutor())
    await store.run(lambda tx: write(tx, "A"))
    assert await store.read(lambda tx: threading.current_thread()) is threading.current_thread()
    assert await store.read(names) == ["A"]
    await store.close()


async def test_a_file_that_was_gone_is_not_trusted_when_it_is_back(
    tmp_path: Path, migrated_file: Path
) -> None:
    path, away = tmp_path / "x.db", tmp_path / "away.db"
    path.write_bytes(migrated_file.read_bytes())
    store = open_store(StoreOptions(f"sqlite:///{path}", "me"), FakeClock(), InlineExecutor())
    assert await store.read(names) == []
    path.rename(away)
    with pytest.raises(StoreBrokenError, match="moved, deleted or replaced"):
        await store.read(names)
    away.rename(path)
    with pytest.raises(StoreBrokenError, match="moved, deleted or replaced"):
        await store.read(names)
    await store.close()


async def test_a_read_connects_again_after_its_connection_was_ended(
    postgres_url: str, cluster: Cluster
) -> None:
    store = open_store(StoreOptions(postgres_url, "me"), FakeClock(), InlineExecutor())
    assert await store.read(names) == []
    cluster.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'nexusd'"
    )
    assert await store.read(names) == []
    await store.close()
