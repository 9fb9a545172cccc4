"""The disk under the store: the real SQLite file, with a kill before and after every commit, and times when
it takes nothing.

A simulated kill is no power cut: what was written stays written, so the file is not synced here
(`tests/store/power_cut.py` cuts the power). The connection outlives the processes, rolled back at a kill as
SQLite does at the next opening; everything above it is made anew by each process.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from nexusd.ports import Clock
from nexusd.simulator.killing import Crossing, Life
from nexusd.simulator.ledger import Ledger
from nexusd.simulator.weather import Weather
from nexusd.store.executors import InlineExecutor
from nexusd.store.opening import StoreOptions, open_on
from nexusd.store.sqlite import SqliteDatabase, SqliteSession
from nexusd.store.statements import Session, Statement
from nexusd.store.store import SqlStore
from nexusd.store.upgrade import bring_up_to_date

SETTINGS = (
    "PRAGMA synchronous = OFF",
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA foreign_keys = ON",
    "PRAGMA temp_store = MEMORY",
)


class Disk:
    """Outlives every process; `close` it.

    `compiled`: the SQL of all statements, shared by all processes.
    """

    def __init__(self, path: Path, ledger: Ledger, weather: Weather) -> None:
        self.path = path
        self.ledger = ledger
        self.weather = weather
        self.dialect = SQLiteDialect_pysqlite(paramstyle="named")
        self.compiled: dict[Statement, tuple[str, dict[str, object]]] = {}
        _create_tables(path)
        self.connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
        for setting in SETTINGS:
            self.connection.execute(setting)

    def open(self, life: Life, clock: Clock) -> SqlStore:
        """The store of a new process. Raises `StartError`, or `KilledError`."""
        options = StoreOptions(f"sqlite:///{self.path}", f"process {life.number}")
        return open_on(MortalDatabase(self, life), options, clock, InlineExecutor())

    def crash(self) -> None:
        """What the dead process had not committed is gone."""
        self.ledger.undo()
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def open_placements(self) -> dict[str, str]:
        """The state of every open placement, by id, as the file has it."""
        rows = self.connection.execute(
            "SELECT id, state FROM placements"
            " WHERE state NOT IN ('running', 'failed', 'cancelled', 'expired')"
        )
        return dict(rows.fetchall())

    def close(self) -> None:
        self.connection.close()


def _create_tables(path: Path) -> None:
    database = SqliteDatabase(path, busy_timeout_s=5.0)
    database.claim()
    try:
        session = database.connect()
        try:
            bring_up_to_date(database, session)
        finally:
            session.close()
    finally:
        database.release()


class MortalDatabase(SqliteDatabase):
    """The file as one process has it open."""

    def __init__(self, disk: Disk, life: Life) -> None:
        super().__init__(disk.path, busy_timeout_s=5.0)
        self._disk = disk
        self._life = life

    def claim(self) -> None:
        """Nobody else can have it here."""

    def connect(self) -> MortalSession:
        self._life.require()
        self._disk.crash()
        return MortalSession(self._disk, self._life)

    def engine(self) -> sa.Engine:
        raise AssertionError("migrated before the first process began")


class MortalSession(SqliteSession):
    def __init__(self, disk: Disk, life: Life) -> None:
        super().__init__(disk.connection, disk.dialect, disk.path)
        self._compiled = disk.compiled
        self._disk = disk
        self._life = life

    def begin(self) -> None:
        self._life.crossed(Crossing.BEFORE_TRANSACTION)
        self._fail_in_bad_weather()
        Session.begin(self)  # the file is not moved here: no look at it each time

    def commit(self) -> None:
        self._life.crossed(Crossing.BEFORE_COMMIT)
        self._fail_in_bad_weather()
        Session.commit(self)
        self._disk.ledger.commit()
        self._life.crossed(Crossing.AFTER_COMMIT)

    def rollback(self) -> None:
        self._disk.ledger.undo()
        super().rollback()

    def tidy(self, *, idle: bool) -> None:
        """No commit waits for a disk here."""

    def close(self) -> None:
        """The connection is the disk's."""

    def _fail_in_bad_weather(self) -> None:
        if self._disk.weather.store_fails():
            full = sqlite3.OperationalError("database or disk is full")
            full.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise full
