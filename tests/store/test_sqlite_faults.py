"""SQLite when something is wrong with it: who is told what, what is kept, and when it works again."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from nexusd.core.errors import StoreBrokenError, StoreError, StoreUnavailableError
from nexusd.core.records import Instance
from nexusd.ports import Transaction
from nexusd.store.executors import StoreThread
from nexusd.store.opening import StoreOptions, open_on, open_store
from nexusd.store.sqlite import SqliteDatabase, SqliteSession
from nexusd.store.statements import Session
from nexusd.store.store import SqlStore
from tests.fakes import FakeClock
from tests.store.test_transactions import gated, write, written


class FaultySession(SqliteSession):
    """`before_commit` is called before each COMMIT reaches SQLite."""

    before_commit: Callable[[], None] = staticmethod(lambda: None)

    def commit(self) -> None:
        self.before_commit()
        super().commit()


class FaultyDatabase(SqliteDatabase):
    def __init__(self, path: Path) -> None:
        super().__init__(path, busy_timeout_s=0.05)
        self.before_commit: Callable[[], None] = lambda: None
        self.settings: tuple[str, ...] = ()

    def connect(self) -> Session:
        session = FaultySession(self._connect(), self._dialect, self.path)
        for setting in self.settings:
            session.script(setting)
        session.before_commit = lambda: self.before_commit()
        return session


def failure(code: int, message: str = "it failed") -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorcode = code
    return error


@pytest.fixture
def path(tmp_path: Path, migrated_file: Path) -> Path:
    return Path(shutil.copy(migrated_file, tmp_path))


@pytest.fixture
def database(path: Path) -> FaultyDatabase:
    return FaultyDatabase(path)


@pytest.fixture
async def store(database: FaultyDatabase) -> AsyncIterator[SqlStore]:
    made = open_on(database, StoreOptions("sqlite:///", "me"), FakeClock(), StoreThread())
    yield made
    await made.close()


async def test_every_connection_that_writes_syncs_fully(store: SqlStore) -> None:
    def settings(tx: Transaction) -> list[object]:
        names = ("synchronous", "journal_mode", "foreign_keys", "busy_timeout")
        return [tx.session.script(f"PRAGMA {name}")[0][0] for name in names]  # type: ignore[attr-defined]

    assert await store.run(settings) == [2, "wal", 1, 50]


async def test_success_is_told_only_after_the_commit_has_returned(
    store: SqlStore, database: FaultyDatabase
) -> None:
    reached, leave = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        leave.wait(10)

    database.before_commit = hold
    running = asyncio.ensure_future(store.run(lambda tx: write(tx, "A")))
    await asyncio.to_thread(reached.wait, 10)
    for _ in range(5):
        await asyncio.sleep(0.001)
    assert not running.done()
    leave.set()
    assert await running == "A"


async def test_transactions_that_wait_together_are_committed_together(
    store: SqlStore, database: FaultyDatabase
) -> None:
    commits: list[None] = []
    gate = await gated(store)
    waiting = [asyncio.ensure_future(store.run(lambda tx, n=n: write(tx, f"n{n}"))) for n in range(64)]
    await asyncio.sleep(0)
    database.before_commit = lambda: commits.append(None)
    await gate.open()
    await asyncio.gather(*waiting)
    assert len(commits) == 1


async def test_a_batch_is_bounded(
    store: SqlStore, database: FaultyDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nexusd.store.executors.MAX_BATCH", 10)
    commits: list[None] = []
    gate = await gated(store)
    waiting = [asyncio.ensure_future(store.run(lambda tx, n=n: write(tx, f"n{n}"))) for n in range(29)]
    await asyncio.sleep(0)
    database.before_commit = lambda: commits.append(None)
    await gate.open()
    await asyncio.gather(*waiting)
    assert len(commits) == 3


async def test_a_failed_commit_fails_all_that_wrote_and_keeps_nothing_of_them(
    store: SqlStore, database: FaultyDatabase
) -> None:
    def full() -> None:
        database.before_commit = lambda: None
        raise failure(sqlite3.SQLITE_FULL, "database or disk is full")

    await store.run(lambda tx: write(tx, "before"))
    gate = await gated(store)
    writers = [asyncio.ensure_future(store.run(lambda tx, n=n: write(tx, f"n{n}"))) for n in range(3)]
    reader = asyncio.ensure_future(written(store))
    await asyncio.sleep(0)
    database.before_commit = full
    await gate.open()
    results = await asyncio.gather(*writers, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailableError] * 3
    assert len({id(result) for result in results}) == 3
    assert await reader == ["before"]
    await store.run(lambda tx: write(tx, "after"))
    assert await written(store) == ["before", "after"]


async def test_a_full_disk_is_passing_and_reads_go_on(store: SqlStore, database: FaultyDatabase) -> None:
    big = [Instance(f"i-{n}", "x" * 200, "running", "eu-1") for n in range(5_000)]
    store._commits.close()
    database.settings = ("PRAGMA max_page_count = 80",)
    await store.run(lambda tx: write(tx, "A"))
    for _ in range(2):
        with pytest.raises(StoreUnavailableError, match="full"):
            await store.run(lambda tx: tx.instances.save(big, {}, []))
        assert await written(store) == ["A"]
    store._commits.close()
    database.settings = ()
    await store.run(lambda tx: tx.instances.save(big, {}, []))
    assert len((await store.run(lambda tx: tx.instances.load()))[0]) == 5_000


async def test_a_lock_held_by_another_program_is_waited_for_a_while_and_then_passing(
    store: SqlStore, path: Path
) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailableError, match="locked"):
        await store.run(lambda tx: write(tx, "A"))
    other.execute("COMMIT")
    other.close()
    assert await store.run(lambda tx: write(tx, "A")) == "A"


async def test_a_file_deleted_while_in_use_is_not_written_to_in_silence(store: SqlStore, path: Path) -> None:
    await store.run(lambda tx: write(tx, "A"))
    path.unlink()
    with pytest.raises(StoreBrokenError, match="moved, deleted or replaced"):
        await store.run(lambda tx: write(tx, "B"))
    assert not path.exists()


def delete(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))


def replace(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".new"))
    path.with_suffix(".new").replace(path)


def delete_log(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink()


def replace_log(path: Path) -> None:
    replace(path.with_name(path.name + "-wal"))


@pytest.mark.parametrize("change", [delete, move, replace, delete_log, replace_log])
@pytest.mark.parametrize("first", ["write", "read"])
async def test_changed_files_break_the_store_for_every_caller(
    store: SqlStore, path: Path, change: Callable[[Path], None], first: str
) -> None:
    """The first request got 503, and later callers a connection to other files or none."""
    await store.run(lambda tx: write(tx, "A"))
    await store.read(lambda tx: tx.instances.load())
    change(path)
    request = store.run if first == "write" else store.read
    for _ in range(2):
        with pytest.raises(StoreBrokenError, match="moved, deleted or replaced"):
            await request(lambda tx: tx.instances.load())
    with pytest.raises(StoreBrokenError, match="moved, deleted or replaced"):
        await store.health.wait_broken()


async def test_a_file_that_is_replaced_during_a_commit_confirms_nothing(
    store: SqlStore, database: FaultyDatabase, path: Path
) -> None:
    database.before_commit = lambda: replace(path)
    with pytest.raises(StoreBrokenError, match="moved, deleted or replaced"):
        await store.run(lambda tx: write(tx, "A"))


async def test_a_new_connection_to_another_log_is_refused(database: FaultyDatabase, path: Path) -> None:
    """SQLite itself would create a second log next to that of the other connection."""
    database.claim()
    session = SqliteDatabase.connect(database)
    replace_log(path)
    with pytest.raises(sqlite3.OperationalError, match="-wal was moved"):
        database.connect_to_read()
    session.close()
    database.release()


async def test_a_new_connection_to_another_file_is_refused(database: FaultyDatabase, path: Path) -> None:
    database.claim()
    replace(path)
    for connect in (database.connect, database.connect_to_read):
        with pytest.raises(sqlite3.OperationalError, match="replaced while in use"):
            connect()
    database.release()


async def test_nothing_is_written_after_the_store_broke(store: SqlStore, database: FaultyDatabase) -> None:
    def broken() -> None:
        database.before_commit = lambda: None
        raise failure(sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error")

    database.before_commit = broken
    for _ in range(2):
        with pytest.raises(StoreBrokenError, match="disk I/O error"):
            await store.run(lambda tx: write(tx, "A"))


async def test_a_cancelled_caller_hides_no_broken_store(store: SqlStore, database: FaultyDatabase) -> None:
    reached, leave = threading.Event(), threading.Event()

    def broken() -> None:
        reached.set()
        leave.wait(10)
        raise failure(sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error")

    database.before_commit = broken
    running = asyncio.ensure_future(store.run(lambda tx: write(tx, "A")))
    await asyncio.to_thread(reached.wait, 10)
    running.cancel()
    leave.set()
    with pytest.raises(StoreBrokenError, match="disk I/O error"):
        await store.health.wait_broken()


async def test_a_thread_that_fails_unexpectedly_tells_its_callers_and_goes_on(
    store: SqlStore, database: FaultyDatabase
) -> None:
    def bug() -> None:
        database.before_commit = lambda: None
        raise ZeroDivisionError

    database.before_commit = bug
    with pytest.raises(StoreBrokenError, match="unexpectedly"):
        await store.run(lambda tx: write(tx, "A"))
    with pytest.raises(StoreError):
        await store.run(lambda tx: write(tx, "B"))  # what was left open is rolled back first
    assert await store.run(lambda tx: write(tx, "C")) == "C"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (sqlite3.SQLITE_BUSY, StoreUnavailableError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreUnavailableError),
        (sqlite3.SQLITE_FULL, StoreUnavailableError),
        (sqlite3.SQLITE_READONLY, StoreUnavailableError),
        (sqlite3.SQLITE_CANTOPEN, StoreUnavailableError),
        (sqlite3.SQLITE_IOERR_SHMSIZE, StoreUnavailableError),
        (sqlite3.SQLITE_IOERR_FSYNC, StoreBrokenError),
        (sqlite3.SQLITE_IOERR_READ, StoreBrokenError),
        (sqlite3.SQLITE_CORRUPT, StoreBrokenError),
        (sqlite3.SQLITE_NOTADB, StoreBrokenError),
        (sqlite3.SQLITE_READONLY_DBMOVED, StoreBrokenError),
        (sqlite3.SQLITE_CONSTRAINT_UNIQUE, StoreError),
        (sqlite3.SQLITE_ERROR, StoreError),
    ],
)
def test_each_kind_of_failure_is_told_by_what_to_do(
    code: int, kind: type[StoreError], database: FaultyDatabase
) -> None:
    assert type(database.error_for(failure(code))) is kind


async def test_an_io_error_ends_a_transaction_as_broken(store: SqlStore, database: FaultyDatabase) -> None:
    def broken() -> None:
        raise failure(sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error")

    database.before_commit = broken
    with pytest.raises(StoreBrokenError, match="disk I/O error"):
        await store.run(lambda tx: write(tx, "A"))


async def test_reading_makes_nothing_durable(path: Path) -> None:
    store = open_store(StoreOptions(f"sqlite:///{path}", "me"), FakeClock())
    await store.run(lambda tx: write(tx, "A"))
    wal = path.with_name(path.name + "-wal")
    before = (wal.stat().st_size, wal.stat().st_mtime_ns)
    await written(store)
    assert (wal.stat().st_size, wal.stat().st_mtime_ns) == before
    await store.close()
