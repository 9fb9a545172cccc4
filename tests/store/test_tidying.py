"""What is committed is carried from SQLite's log into its file while nobody waits: the log stays short."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_on
from nexusd.store.sqlite import TIDY_AFTER, TIDY_AT_ONCE_AFTER, SqliteSession
from nexusd.store.store import SqlStore
from tests.fakes import FakeClock
from tests.store.test_sqlite_faults import FaultyDatabase, FaultySession, failure, path  # noqa: F401 - a fixture
from tests.store.test_transactions import write

LOG_MB = 16
"""More than rows of `TIDY_AT_ONCE_AFTER` events take, less than those of all that is written here."""


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlStore]:  # noqa: F811
    made = open_on(FaultyDatabase(path), StoreOptions("sqlite:///", "me"), FakeClock(), InlineExecutor())
    yield made
    await made.close()


async def written(store: SqlStore, rows: int) -> None:
    await store.run(lambda tx: [write(tx, "x" * 100) for _ in range(rows)])


async def test_it_is_done_once_enough_was_written(store: SqlStore, path: Path) -> None:  # noqa: F811
    before = path.stat().st_size
    await written(store, TIDY_AFTER - 1)
    assert path.stat().st_size == before
    await written(store, 1)
    assert path.stat().st_size > before


async def test_the_log_stays_short_also_while_others_always_wait(path: Path) -> None:  # noqa: F811
    database = FaultyDatabase(path)
    session = database.connect()
    log = path.with_name(path.name + "-wal")
    for number in range(40):
        session.begin()
        session._cursor.executemany(
            "INSERT INTO meta (key, value) VALUES (?, ?)",
            [(f"{number}-{row}", "x" * 2000) for row in range(TIDY_AT_ONCE_AFTER // 10)],
        )
        session.commit()
        session.tidy(idle=False)
    assert log.stat().st_size < LOG_MB * 2**20 < path.stat().st_size
    session.close()


async def test_a_reader_that_is_under_way_only_puts_it_off(store: SqlStore, path: Path) -> None:  # noqa: F811
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    seen = reader.execute("SELECT count(*) FROM events").fetchone()
    for _ in range(3):
        await written(store, TIDY_AFTER)
    assert reader.execute("SELECT count(*) FROM events").fetchone() == seen
    reader.close()
    before = path.stat().st_size
    await written(store, TIDY_AFTER)
    assert path.stat().st_size > before


async def test_one_that_fails_is_told_and_loses_nothing(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: SqliteSession, *, idle: bool) -> None:
        monkeypatch.undo()
        raise failure(sqlite3.SQLITE_FULL, "database or disk is full")

    monkeypatch.setattr(FaultySession, "tidy", full)
    with capture_logs() as logs:
        await written(store, 2)
        await written(store, 3)
    assert [line["event"] for line in logs] == ["store_not_tidied"]
    assert len(await asyncio.wait_for(store.read(lambda tx: tx.events.since(None, None, 10)), 10)) == 5
