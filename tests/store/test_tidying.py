"""What is committed is carried from SQLite's log into its file while nobody waits: the log stays short."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nexusd.core.errors import StoreBrokenError
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_on
from nexusd.store.sqlite import LONGEST_LOG, TIDY_AFTER, SqliteDatabase, SqliteSession
from nexusd.store.statements import Session
from nexusd.store.store import SqlStore
from tests.fakes import FakeClock
from tests.store.test_sqlite_faults import FaultyDatabase, FaultySession, failure, path  # noqa: F401 - a fixture
from tests.store.test_transactions import write

COMMITS = 40
"""Of 1 MB: more than `LONGEST_LOG`."""
LOG_MB = 16
"""More than the rows of `TIDY_AT_ONCE_AFTER` take, less than all that is written here."""


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqlStore]:  # noqa: F811
    made = open_on(FaultyDatabase(path), StoreOptions("sqlite:///", "me"), FakeClock(), InlineExecutor())
    yield made
    await made.close()


def fill(session: Session, number: int) -> None:
    """A commit of 1 MB."""
    rows = [(f"{number}-{row}", "x" * 2000) for row in range(500)]
    session.begin()
    session._cursor.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", rows)
    session.commit()


async def written(store: SqlStore, rows: int) -> None:
    await store.run(lambda tx: [write(tx, "x" * 100) for _ in range(rows)])


async def test_it_is_done_once_enough_was_written(store: SqlStore, path: Path) -> None:  # noqa: F811
    before = path.stat().st_size
    await written(store, TIDY_AFTER - 1)
    assert path.stat().st_size == before
    await written(store, 1)
    assert path.stat().st_size > before


async def test_the_log_stays_short_also_while_others_always_wait(path: Path) -> None:  # noqa: F811
    session = FaultyDatabase(path).connect()
    for number in range(COMMITS):
        fill(session, number)
        session.tidy(idle=False)
    assert path.with_name(path.name + "-wal").stat().st_size < LOG_MB * 2**20 < path.stat().st_size
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


async def test_a_log_that_readers_keep_long_is_begun_anew(path: Path) -> None:  # noqa: F811
    session = SqliteDatabase(path, busy_timeout_s=10.0).connect()
    reader = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM meta").fetchone()
    for number in range(COMMITS):
        fill(session, number)
    leaves = threading.Timer(0.05, reader.close)
    leaves.start()
    session.tidy(idle=True)
    leaves.join()
    fill(session, COMMITS)
    _, logged, _ = session.script("PRAGMA wal_checkpoint(PASSIVE)")[0]
    assert logged < LONGEST_LOG / 10
    session.close()


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


async def test_a_broken_disk_that_shows_so_ends_the_work(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: SqliteSession, *, idle: bool) -> None:
        raise failure(sqlite3.SQLITE_IOERR, "disk I/O error")

    monkeypatch.setattr(FaultySession, "tidy", broken)
    await written(store, 1)
    with pytest.raises(StoreBrokenError, match="disk I/O error"):
        await written(store, 1)
