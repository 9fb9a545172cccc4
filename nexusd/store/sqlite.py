"""SQLite: one file, one daemon, every commit synced (WAL, `synchronous=FULL`)."""

from __future__ import annotations

import os
import re
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from weakref import WeakSet

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.pool import NullPool

from nexusd.core.errors import StartError, StoreBrokenError, StoreError, StoreUnavailableError
from nexusd.store.database import one_line
from nexusd.store.files import DaemonLock, Identities, find_changed, identify, unusable
from nexusd.store.statements import Insert, Session, Statement, Upsert, Values

log = structlog.get_logger(__name__)

_UNAVAILABLE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_BROKEN = frozenset({sqlite3.SQLITE_IOERR})
_ADVICE = {
    sqlite3.SQLITE_BUSY: "end the program that locks it, such as a backup",
    sqlite3.SQLITE_FULL: "free some space",
}
_UNDECODABLE = "Could not decode to UTF-8"
"""How the sqlite3 module begins the message about a stored text that is not valid UTF-8."""
_IO_BUT_PASSING = frozenset({sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_NOMEM})
"""Reported as I/O errors, but caused by a full disk or want of memory."""

_IN_MEMORY = "PRAGMA temp_store = MEMORY"  # the root file system may be read-only
_OPEN_LOG = "PRAGMA schema_version"  # only then the log and its index exist
_SETTINGS = (
    _IN_MEMORY,
    "PRAGMA cache_size = -8192",  # KiB: holds the ends of all indexes, which 2 MB do not
    "PRAGMA synchronous = FULL",  # an acknowledged commit survives a power cut (I2)
    "PRAGMA foreign_keys = ON",
    "PRAGMA wal_autocheckpoint = 16384",  # pages, 64 MiB; `tidy` does it long before
    "PRAGMA journal_size_limit = 67108864",  # give disk back after a large transaction
    _OPEN_LOG,
)


TIDY_AFTER = 300
"""Rows written since what is committed was last carried from the log into the file: then it is done again
once nobody waits. SQLite by itself does it within a commit, which everybody waits for.
"""
TIDY_AT_ONCE_AFTER = 5_000
"""Then it is not waited for a pause any more."""
LONGEST_LOG = 8_192
"""Pages (32 MiB) of log that readers may keep from being carried."""

BLOCK = 20
"""Rows inserted by one statement; of more it is not quicker."""
_ROW = re.compile(r"VALUES \((:\w+(?:, :\w+)*)\)")


class SqliteSession(Session):
    _begin = "BEGIN IMMEDIATE"  # waits for the lock at once, bounded, instead of failing half-way

    def __init__(self, connection: sqlite3.Connection, dialect: sa.Dialect, path: Path) -> None:
        super().__init__(connection, dialect)
        self.open = True
        self.files = identify(path)
        self._blocks: dict[Statement, _Block] = {}
        self._tidied_at = 0

    def tidy(self, *, idle: bool) -> None:
        """Carry what is committed from the log into the file, as far as readers let it. Commits stay as
        durable as they are (SQLite's manual, Write-Ahead Logging, Checkpointing).
        """
        written: int = self._connection.total_changes - self._tidied_at
        if written < (TIDY_AFTER if idle else TIDY_AT_ONCE_AFTER):
            return
        _, logged, carried = self._cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if carried < logged and logged > LONGEST_LOG:
            # Somebody is always reading: wait for the one who reads now, and begin the log anew.
            self._cursor.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
        self._tidied_at += written

    def begin(self) -> None:
        self._check_files()
        super().begin()

    def commit(self) -> None:
        super().commit()
        self._check_files()  # no caller may rely on what went to files that are no longer there

    def _check_files(self) -> None:
        """Raise an error if a file was replaced.

        With a write-ahead log, SQLite does not notice, and its commits are lost with the file.
        """
        changed = find_changed(self.files)
        if changed is not None:
            raise _moved(changed)

    def close(self) -> None:
        self.open = False
        super().close()

    def many(self, statement: Statement, rows: Iterable[Values]) -> int:
        """New rows go in blocks: half the time of one at a time, and a thread that runs beside this one gets
        and gives the interpreter once a block, not once a row.
        """
        block = self._block(statement)
        if block is None:
            return super().many(statement, rows)
        count = 0
        remaining = iter(rows)
        for values in iter(lambda: list(islice(remaining, BLOCK)), []):
            self.wrote = True
            if len(values) == BLOCK:
                self._cursor.execute(block.sql, block.flat(values))
                count += self._cursor.rowcount
            else:
                count += super().many(statement, values)
        return count

    def _insert_numbered(self, statement: Insert, rows: Sequence[Values]) -> list[int]:
        """Of what one transaction inserts the numbers follow one another: nobody writes beside it."""
        self.many(statement, rows)
        last: int = self._cursor.execute("SELECT last_insert_rowid()").fetchone()[0]
        return list(range(last - len(rows) + 1, last + 1))

    def _block(self, statement: Statement) -> _Block | None:
        """The statement for many rows; None for one that inserts none."""
        if not isinstance(statement, Insert | Upsert):
            return None
        block = self._blocks.get(statement)
        if block is None:
            block = self._blocks[statement] = _Block(self._compile(statement)[0])
        return block


class _Block:
    """`BLOCK` rows of the values of a statement for one."""

    def __init__(self, sql: str) -> None:
        row = _ROW.search(sql)
        if row is None:
            raise ValueError(f"a statement that inserts no row: {sql}")
        names = [name.strip().removeprefix(":") for name in row[1].split(",")]
        marks = f"({', '.join('?' * len(names))})"
        self.sql = f"{sql[: row.start()]}VALUES {', '.join([marks] * BLOCK)}{sql[row.end() :]}"
        self._row = itemgetter(*names)

    def flat(self, rows: Iterable[Values]) -> list[object]:
        return list(chain.from_iterable(map(self._row, rows)))


class SqliteReader(SqliteSession):
    _begin = "BEGIN"  # a snapshot of what is committed; waits for nobody


class SqliteDatabase:
    """`path` is made when absent, for its owner only. `busy_timeout_s` bounds the wait for a lock."""

    errors: tuple[type[Exception], ...] = (sqlite3.Error, UnicodeDecodeError)
    """The second where SQLite's own message quotes damaged text."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self.path = path.resolve()
        self.label = f"SQLite file {self.path}"
        self._busy_timeout_s = busy_timeout_s
        self._lock = DaemonLock(self.path)
        self._file: Identities = {}
        self._sessions: WeakSet[SqliteSession] = WeakSet()
        self._connecting = threading.Lock()
        self._dialect = SQLiteDialect_pysqlite(paramstyle="named")

    def claim(self) -> None:
        self._check_folder()
        self._lock.take()
        try:
            self._make_file()
            self._lock.take_database()
            self._check_file()
            self._check_mode()
        except BaseException:
            self.release()
            raise

    def connect(self) -> Session:
        return self._session(lambda: SqliteSession(self._connect(), self._dialect, self.path))

    def connect_to_read(self) -> Session:
        if not self._file and not self.path.is_file():
            raise StartError(
                f"there is no SQLite file {self.path}: the daemon makes it; set store.url to its"
            )
        return self._session(lambda: SqliteReader(self._connect_to_read(), self._dialect, self.path))

    def _session(self, connect: Callable[[], SqliteSession]) -> SqliteSession:
        """Connect, and compare the files with those of this process's other connections.

        SQLite would open another database, or a new log for the same one, without an error.
        """
        with self._connecting:
            session = connect()
            for other in self._sessions:
                changed = find_changed(other.files) if other.open else None
                if changed is not None:
                    session.close()
                    raise _moved(changed)
            self._sessions.add(session)
        return session

    def engine(self) -> sa.Engine:
        engine = sa.create_engine("sqlite://", creator=self._connect_for_migration, poolclass=NullPool)

        @sa.event.listens_for(engine, "begin")
        def _begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

        return engine

    def tables(self, session: Session) -> frozenset[str]:
        rows = session.script("SELECT name FROM sqlite_master WHERE type = 'table'")
        return frozenset(row[0] for row in rows)

    def error_for(self, error: Exception, *, committing: bool = False) -> StoreError:  # noqa: ARG002 - SQLite knows how its COMMIT ended
        code = getattr(error, "sqlite_errorcode", None)
        text = f"{self.label}: {one_line(error)}"
        if code == sqlite3.SQLITE_READONLY_DBMOVED:
            return StoreBrokenError(text)
        if _is_damage(error):
            return StoreBrokenError(self._damaged(_damage(error)))
        if str(error).startswith(_UNDECODABLE):
            return StoreError(f"{text}: restore the file from a backup, or correct the value with sqlite3")
        if code is not None and code & 0xFF in _BROKEN and code not in _IO_BUT_PASSING:
            return StoreBrokenError(text)
        if code is not None and (code & 0xFF in _UNAVAILABLE or code in _IO_BUT_PASSING):
            return StoreUnavailableError(text)
        return StoreError(text)

    def start_advice(self, error: Exception) -> str:
        if _is_damage(error):
            return self._damaged(_damage(error))
        code: int = getattr(error, "sqlite_errorcode", None) or 0
        advice = _ADVICE.get(code & 0xFF, "check the file and its folder")
        return f"cannot use the {self.label}: {one_line(error)}: {advice}, or set another store.url"

    def migration_lock(self) -> None:
        return None  # the file lock is held already

    def release(self) -> None:
        self._lock.release()

    def _check_folder(self) -> None:
        folder = self.path.parent
        if not folder.is_dir():
            raise StartError(f"the folder {folder} does not exist: create it, or set store.url to another")
        if self.path.is_dir():
            raise StartError(f"{self.path} is a folder: store.url must name a file")

    def _make_file(self) -> None:
        """Before SQLite opens it, so that nobody else can ever read it; its companions copy its mode."""
        try:
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise unusable(self.path, error) from error

    def _check_mode(self) -> None:
        """Warn of a file that other users may read or change: it holds every notification."""
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & 0o077:
            log.warning(
                "store_accessible_to_others",
                file=str(self.path),
                mode=f"{mode:04o}",
                advice=f"chmod 600 {self.path}*",
            )

    def _check_file(self) -> None:
        try:
            session = self.connect()
        except self.errors as error:
            raise StartError(self.start_advice(error)) from error
        try:
            problems = [row[0] for row in session.script("PRAGMA quick_check(1)") if row[0] != "ok"]
            tables = self.tables(session)
        except self.errors as error:
            raise StartError(self.start_advice(error)) from error
        finally:
            session.close()
        if problems:
            raise StartError(self._damaged(" ".join(problems[0].split())))
        if tables and "alembic_version" not in tables:
            raise StartError(f"{self.path} is the database of something else: set another store.url")

    def _connect_to_read(self) -> sqlite3.Connection:
        self._check_identity()
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=ro",
            uri=True,
            timeout=self._busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        return _prepared(connection, _IN_MEMORY, _OPEN_LOG)

    def _check_identity(self) -> None:
        """Check that the file is the one that the process's first connection opened."""
        self._file = self._file or {str(self.path): identify(self.path)[str(self.path)]}
        if find_changed(self._file) is not None:
            raise _moved(str(self.path))

    def _connect(self) -> sqlite3.Connection:
        self._check_identity()
        # mode=rw: a file that was deleted while in use must not come back empty.
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        return _prepared(connection, *_SETTINGS, wal=True)

    def _connect_for_migration(self) -> sqlite3.Connection:
        connection = self._connect()
        # Alembic rebuilds tables by copy and drop, which must not cascade.
        connection.execute("PRAGMA foreign_keys = OFF")
        return connection

    def _damaged(self, what: str) -> str:
        return (
            f"{self.path} is damaged or not a database ({what}): "
            "restore it from a backup, or move it and its -wal file away to begin anew"
        )


def _prepared(connection: sqlite3.Connection, *settings: str, wal: bool = False) -> sqlite3.Connection:
    """Apply the settings; a connection that refuses one is closed."""
    try:
        if wal:
            _require_wal(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        for setting in settings:
            connection.execute(setting).fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _require_wal(mode: str) -> None:
    """Some file systems cannot share memory, and then SQLite quietly keeps another journal."""
    if mode != "wal":
        raise sqlite3.OperationalError(f"write-ahead logging is not possible here (got {mode!r})")


def _is_damage(error: Exception) -> bool:
    code: int = getattr(error, "sqlite_errorcode", None) or 0
    return code & 0xFF in _DAMAGED or isinstance(error, UnicodeDecodeError)


def _damage(error: Exception) -> str:
    return "its schema is not valid text" if isinstance(error, UnicodeDecodeError) else one_line(error)


def _moved(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(
        f"{Path(name).name} was moved, deleted or replaced while in use: "
        "restore the files from a backup, or move them away to start empty; then start nexusd again"
    )
    error.sqlite_errorcode = sqlite3.SQLITE_READONLY_DBMOVED
    return error
